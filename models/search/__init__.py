"""What a time budget buys: numpy and numba, no torch.

| module | what it holds |
|---|---|
| anytime | policy pass, sampled passes, local search, until the budget ends |
| local_search | an earlier plan repaired, and the two searches that improve a schedule, behind one interface |
| graph, tabu | makespans: a schedule as a disjunctive graph, and moves on its critical paths |
| solution, timing, annealing | every constraint and objective: a plan, its times anew where it changes, moves on it |
| random_numbers | for the compiled searches |
| warm_up | everything compiled before anyone waits for it |
"""
