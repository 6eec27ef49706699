"""From a trained model to the published policy.

| module | what it holds |
|---|---|
| publish | the copy into full_production, once every gate is passed |
| gates | what a policy must hold, and the comparison with the published one |
| evaluation | policies and rules x problems -> a table, and files |
"""
