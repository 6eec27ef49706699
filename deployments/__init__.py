"""THE SERVICE: Gantry over HTTP. Everything that touches a network, a disk or a clock lives on this floor.

Imports go down only (deployments -> models -> env); so they do between the rooms, each uses those below it.

| room | what it holds |
|---|---|
| cli, commands | the `gantry` command |
| app | THE COMPOSITION ROOT: which deployment holds what, and who is bound to whom; `serve_config.yaml` names it |
| local_cluster | one Ray Serve instance on this machine, from nothing to nothing |
| serve | the six Ray Serve deployments, what each holds, and how they speak to each other |
| api | HTTP over plain objects: routes, problem details, documentation page |
| shadow | the arm that did not serve, computed and judged outside the request |
| rollout_control | the control plane: the controller's state, and what a router knows and tells |
| scheduling | THE USE CASE: assign an arm, propose, judge, fall back, record |
| plants | plant data from files and from the database, for requests that leave them to it |
| contracts | the words of the wire and their translation to and from the domain |
| persistence | the spool on local disk and the database behind it |
| settings | where the service runs and what the plant asks for, checked before anything starts |
| access | API keys, scopes, clients and their plants |
| rollout | which arm a request gets, when it gets more of one, and every reason to stop |
| runtime | what everything that lives long stands on: background tasks, durable files, the clock |
| errors | every error of the service, as one drawn tree |
| logs | JSON log lines that carry the request id and no secret |
| examples, static, templates, ops | files: a plant to try, the documentation page, plant data to fill in, firewall |
"""
