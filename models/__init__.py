"""THE LEARNER: how a policy is trained, kept on disk, and run.

Only `network` and `training` need torch and Stable-Baselines3 (extra `train`); whatever serves a
policy imports numpy and numba alone.

| room | what it holds |
|---|---|
| network | candidate scorer and pooled critic as a Stable-Baselines3 policy (torch) |
| config | everything that a training run depends on |
| training | TrainingConfig -> trained MaskablePPO, stage by stage (torch) |
| demonstrations, imitation | searched schedules as decisions, and learning to choose like them |
| lookahead, lookahead_training | what rival choices lead to, and learning to prefer the better |
| sampling, group_training | sampled episodes, and learning from groups of them |
| slots, validation | episodes for Stable-Baselines3, and the fixed set that checkpoints are compared on |
| artefact | a policy on disk: an SB3 zip for each network, weights and a manifest with hashes |
| publishing, gates | what a policy must hold, and the copy into full_production (torch) |
| predictor | artefact -> schedule: the only inference path |
| justification | a schedule shifted right and left again, which closes what it leaves idle |
| search | what a time budget buys: policy pass, sampled passes, local search |
| local_search | the two searches that improve a schedule, behind one interface |
| disjunctive_graph, tabu_search | makespans: a schedule as a graph, and moves on its critical paths |
| plan, timing, annealing | every constraint and objective: a plan, its times anew where it changes, moves on it |
| repair | an earlier plan, kept where it can be |
| random_numbers | for the compiled searches |
| exact, exact_model, open_axis | a problem for OR-Tools CP-SAT: the competitor, and proven optima for tests |
| contest, contestants, benchmark_plants | who competes on which instances, cell by cell, kept on disk |
| standings, quality, quality_page | how they stand, as one document, as Markdown and as a picture |
| runs, performance_report, model_card, pictures | the figures that are kept, and the documents made from them |
| published_results | what others published and what was asked for |
| speed, decoder_speed | what a pass and a judgement cost, and how that grows |
| evaluation, report | policies x instances -> table, and as files |
| full_production/ | the published policy |
"""
