"""The control plane: what a router knows and tells of the rollout, and what the controller makes of it.

Plain asyncio, no Ray.

| module | what it holds |
|---|---|
| controller | THE CONTROLLER: owns the stage, evaluates guardrails, rolls back, takes orders |
| transition_log | what was decided, here or elsewhere: kept on disk, and passed on |
| ramp_statistics | guardrails of one ramp and the comparison of its arms, fed once with every event |
| agreement | how controller and database come to one truth, at the start and ever after |
| database_sync | the lease of the rollout; transitions and incidents to the database and back |
| webhook | tells somebody outside, signed, each thing once; remembers what was delivered |
| notifications | tells people the same in words, by Apprise: mail, chat and more |
| protocol | what a router and the controller say to each other every 200 ms |
| router_view | what one router knows, how fresh it is, and its own rollback on local disk |
| rollout_client | where orders arrive, and the exchange of news: asks the controller, and rolls back without it |
| stored_report | the rollout's trail and report, from the database |
"""
