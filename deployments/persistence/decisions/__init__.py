"""What is stored: plain records, and the repositories that alone query.

| module | what it holds |
|---|---|
| records | decisions, evaluations, feedback, audit events, claims: plain data, and its bytes in the spool |
| repository | every query of decisions, and the unit of work that commits |
| rollout_repository | evaluations, feedback, the rollout's trail and its incidents |
| claims | who may act on an idempotency key, until when, and what came of it |
| plan_run | a plan that nobody waits for: its request, its state, the best so far |
| plan_run_repository | who plans what, until when, and what is left of it |
| latest_plan | the plan in force of each plant as rows |
| releases | what a person put in force and took back, by compare-and-set |
| plant_repository | machines, pending jobs and calendars of each plant |
| key_repository | API keys by their digests |
| audit_repository | who did what beyond scheduling |
"""
