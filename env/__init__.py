"""THE SHOP FLOOR: what a plant, its work and a schedule are, and how work is dispatched.

Knows no learning and no serving; imports go down only (deployments -> models -> env).

| room | what it holds |
|---|---|
| problem | Job, Operation, Machine, WorkingHours, Problem: the plant's question |
| schedule | a plan, its measures (makespan, lateness, utilisation), and what differs between two |
| objective | what makespan, tardiness and balanced weigh |
| judge | whether a schedule may be served; shares no code with the simulator |
| simulator | the compiled core: the only dispatch semantics, for training, rules, search and serving |
| gym | the gymnasium environment, and many episodes at once |
| instances | problems drawn from a generator, and readers of benchmark files |
| insight | why work is late, Gantt charts |
| errors | every domain error, as one drawn tree |
"""
