"""The compiled core: the only dispatch semantics, for training, rules, search and serving alike.

| module | what it holds |
|---|---|
| arrays | a Problem as the arrays of the compiled core |
| calendar | working hours as openings, and one table of them |
| calendar_fit | where work goes on a machine |
| state | where an episode stands, and what waits for each machine |
| simulation | THE STATE TRANSITION: what happens when an operation is dispatched |
| candidates | the conflict set: what competes to be dispatched next |
| observation | state -> candidate rows: the only encoding |
| rules | FIFO, EDD, SPT, MWKR, ATCS, the composite and the planner's rule |
| reservation | places for the work that pins wait for |
| episode | one problem being played: what an action does, and what it was worth |
| compilation | how the compiled core is cached |
"""
