"""The commands of `gantry`, one file each. Each has a `register(app)`.

| room | what it holds |
|---|---|
| serve | `gantry serve` on this machine, and `gantry cluster` for a Ray cluster |
| keys | `gantry keys`, and `gantry audit` |
| demo, solve, validate, schedules, settings, selftest, notify | those commands |
| train | trains, evaluates, publishes and warms |
| db, rollout, bench | groups of commands |
| database | what commands on the database share: the way to it, which one it is, who works on it |
| terminal | what commands on a terminal share: a console that shows words as they are, a progress bar |
"""
