"""THE SHOP FLOOR: what a plant, its work and a schedule are, and how work is dispatched.

Knows no learning and no serving; imports go down only (deployments -> models -> env).

| room | what it holds |
|---|---|
| errors | every domain error, as one drawn tree |
| problem | Job, Operation, Machine, WorkingHours, Problem: the plant's question |
| schedule | a plan and its measures: makespan, lateness, utilisation |
| feasibility | the judge: violations(problem, schedule); shares no code with the simulator |
| judge_case, judge_work, judge_plan | a schedule beside what it is held to, and the rules of one work and of all |
| verdict, anomalies | what the judge finds, and what merely looks odd |
| judge_page | the docs page of the judge, from its codes |
| judge_calendar, planner_words | the judge's own calendar, and amounts and instants as planners read them |
| explanation | why late work is late: where its time went |
| comparison | what differs between two schedules |
| shop_calendar | working hours -> openings a compiled binary search can use |
| compilation | how the compiled core is cached |
| problem_arrays | a Problem as the arrays of the compiled core |
| calendar_tables, special_work | its openings; its setups by sequence and its pinned work |
| placing | where work goes on a machine |
| block_minima | the least of an array that changes, without reading all of it |
| simulation | the compiled state transition: the only dispatch semantics |
| candidates | the conflict set: what competes to be dispatched next |
| observation | state -> candidate rows: the only encoding |
| mirror | the same work backwards in time |
| reward | what one dispatch was worth |
| objective | what makespan, tardiness and balanced weigh |
| dispatching_rules | FIFO, EDD, SPT, MWKR, ATCS, the composite and the planner's rule |
| generator | problems from a numpy Generator, and a toy problem with a known optimum |
| benchmarks | readers of .fjs and .jsp files |
| gantt | a schedule as text and as pixels |
| episode | one problem being played: what an action does |
| gym_env, vector_env | the gymnasium adapter and its batched version |
| registration | what makes gymnasium find the environment |
"""

from contextlib import suppress

# gymnasium finds environments only if importing their package registers them; serving leaves gymnasium out.
with suppress(ImportError):
    from env.registration import register_environments

    register_environments()
