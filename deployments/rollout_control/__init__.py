"""The control plane: what a router knows and tells of the rollout, and what the controller makes of it.

Plain asyncio, no Ray.

| module | what it holds |
|---|---|
| controller | THE CONTROLLER: owns the stage, evaluates guardrails, rolls back, takes orders |
| transition_log | what was decided: on disk before it is in force, then passed on |
| ramp_statistics | guardrails and comparison of one ramp, fed once with every event |
| recovery | what a starting controller takes for the truth |
| database_sync | brings transitions and incidents to the database |
| webhook | tells somebody outside, signed, each thing once; remembers what was delivered |
| protocol | what a router and the controller say to each other every 200 ms |
| router_view | what one router knows, its own rollback on local disk, and the tasks that tell and fetch |
| rollout_client | where operators' orders arrive: asks the controller, and rolls back without it |
| stored_report | the rollout's trail and report, from the database |
"""
