"""From a trained model to the published policy.

| module | what it holds |
|---|---|
| publish | the copy into full_production, once every gate is passed |
| evaluation | what a policy must hold, and the comparison of policies and rules: a table, and files |
"""
