"""THE LEARNER: how a policy is trained, kept on disk, and run.

Only `network`, `training` and `publishing` need torch and Stable-Baselines3 (extra `train`); whatever serves a
policy imports numpy and numba alone.

| room | what it holds |
|---|---|
| network | candidate scorer and pooled critic as a Stable-Baselines3 policy; published zips name this module |
| policy | what serves: a policy on disk, and its run on a problem |
| search | what a time budget buys beyond the policy's pass |
| training | TrainingConfig -> trained MaskablePPO, stage by stage |
| publishing | what a policy must hold, and the copy into full_production |
| benchmark | how good schedules are beside others, and the documents that say so |
| full_production/ | the published policy |
"""
