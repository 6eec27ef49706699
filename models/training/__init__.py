"""How a policy is trained: torch and Stable-Baselines3.

| module | what it holds |
|---|---|
| config | everything that a training run depends on |
| train | TrainingConfig -> trained MaskablePPO, stage by stage |
| imitation | searched schedules as decisions, and learning to choose like them |
| groups | sampled episodes, and learning from groups of them |
| lookahead | what rival choices lead to, and learning to prefer the better |
| validation | the fixed problems that checkpoints are compared on |
"""
