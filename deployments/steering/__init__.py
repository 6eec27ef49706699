"""The rollout at work: what a router knows and tells, and what the controller makes of it. Plain asyncio, no Ray.

| room | what it holds |
|---|---|
| messages | what a router and the controller say to each other every 200 ms |
| whole_file | small files that are replaced as a whole, fsynced |
| latch_file | a rollback on local disk |
| position | what one router knows, how fresh it is, and what it has not told yet |
| exchange | the router's background tasks that tell and fetch, and look for a neighbour's latch |
| recomputing | what the Counterfactual deployment does with one request |
| counterfactuals | the bounded queue of arms that did not serve, and the task that has them computed |
| control_journal | the controller's own memory on disk: transitions, incidents, statistics |
| statistics | guardrails and comparison of one ramp, fed once with every event |
| ledger | what was decided, in order, kept before it is in force |
| recovery | what a starting controller takes for the truth |
| control | THE CONTROLLER: owns the stage, evaluates guardrails, rolls back, takes orders |
| filing | the controller's background task that brings transitions and incidents to the database |
| webhook, told | tells somebody, signed, with bounded retries, and what was told survives the controller |
"""
