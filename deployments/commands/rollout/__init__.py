"""`gantry rollout`: the rollout of the running service, and rollouts tried out.

| module | what it holds |
|---|---|
| operate | the group, and status, promote, pause, resume, rollback, report |
| simulate | whole rollouts on simulated traffic |
| replay | what this plant's own windows say of theirs |
"""
