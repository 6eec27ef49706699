"""What a time budget buys: numpy and numba, no torch.

| module | what it holds |
|---|---|
| anytime | policy pass, sampled passes, local search, until the budget ends |
| local_search | an earlier plan repaired, and the two searches that improve a schedule, behind one interface |
| graph, tabu | makespans: a schedule as a disjunctive graph, and moves on its critical paths |
| solution, timing | every constraint and objective: a plan, its times anew where it changes |
| annealing | moves on such a plan, and random numbers for all searches |
| warm_up | everything compiled before anyone waits for it |
"""
