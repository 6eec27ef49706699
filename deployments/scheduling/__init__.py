"""THE USE CASE: a request becomes a safe and durable schedule. Knows neither Ray nor SQL.

| module | what it holds |
|---|---|
| use_case | assign an arm, propose, judge, fall back, record |
| question | from a request to the question that it asks, filled from the plant's data where it leaves them out |
| arms | arms are asked in turn, and each proposal meets the same judge; for how long either is waited for |
| evaluations | what the arms made of a request, as rows and events; what is left to compute in shadow |
| decision | one decision: who was asked, who served, what the judge said; as answer and as record |
| idempotency | requests with an Idempotency-Key are decided once |
| plan_runs | plans that nobody waits for: taken by any router, planned one at a time |
| time_budget | what load costs: smaller budgets; and what must leave the event loop |
| ports | what the use case needs from elsewhere: arms, and what they propose by a policy or by the planner's rule |
"""
