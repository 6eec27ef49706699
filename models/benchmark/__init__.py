"""How good schedules are beside others, and the documents that say so.

| module | what it holds |
|---|---|
| benchmark | rules, the policy, its search at several budgets and CP-SAT x instances -> judged cells, kept on disk |
| cpsat, cpsat_model | a problem for OR-Tools CP-SAT: the competitor |
| leaderboard | how each competitor stands, who beats whom, and one document of it |
| quality_page | that document as Markdown and as pictures |
| speed | what a pass, a rule and a judgement cost, and how that grows |
| performance_report, model_card | the documents, and the given figures that they are held against |
"""
