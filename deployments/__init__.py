"""THE SERVICE: Gantry over HTTP. Everything that touches a network, a disk or a clock lives on this floor.

Imports go down only (deployments -> models -> env). Only the deployments themselves know Ray.

| room | what it holds |
|---|---|
| settings | where the service runs: environment variables and `.env`, checked before anything starts |
| database_tls | how the way to MariaDB is protected |
| errors | every error of the service, as one drawn tree |
| logs | JSON log lines that carry the request id and no secret |
| access | API keys, scopes, clients and their plants |
| contracts | the words of the wire and their translation to and from the domain |
| budgeting | how much of its time budget a request gets under load |
| scheduling | the use case: assign an arm, propose, judge, fall back, record |
| ports | what the use case needs from elsewhere |
| questioning | from a request to the question that it asks |
| standing | who may serve, as one router knows it at one moment |
| attempting | arms are asked in turn, and each proposal meets the same judge |
| evaluating | what the arms made of one request, as rows and as events |
| comparing | the arm that did not serve, to be computed outside the request |
| proposal | a schedule that nobody has judged yet |
| decision | one decision: who was asked, who served, what the judge said; as answer and as record |
| history | how long the latest schedules of each plant are |
| completing | requests that leave machines or jobs to the database |
| idempotency, stored_claims | requests with an Idempotency-Key are decided once; their claims in the database |
| corruption, integrity | payloads that are not what was promised: who is told, and the background sample |
| off_loop | keeps work that grows with the request away from the event loop |
| rollout | which arm a request gets, when it gets more of one, and every reason to stop |
| persistence | the spool on local disk and the database behind it |
| api | HTTP over plain objects: routes, problem details, documentation page |
| adapters | the ports of the use case over Serve handles, spool and database |
| plants | the plant data that such requests ask for |
| plant_data, plant_calendar | plant data from CSV and JSON files, checked line by line |
| steering | the rollout at work: what a router knows and tells, and the controller |
| rollout_settings, goal_settings, setting_types | its settings, those of its goals, and what settings share |
| reporting | the rollout's trail and report, from the database |
| registry, predictors | policies registered while running, and those that a replica holds |
| router, policy, validator, writer, counterfactual, controller | the Ray Serve deployments: thin shells |
| counterfactual_process | what computes for the Counterfactual replica |
| niced_process | a process of the lowest priority that is replaced when it fails |
| routing, monitor | what one router holds, and what it knows about its neighbours |
| freight, replica, memory, warming | what replicas send each other, do first, give back and compile |
| app, arguments | the composition root that `serve_config.yaml` names, and its arguments |
| serving, cluster, processes, serve_config | one Ray Serve instance on this machine, from nothing to nothing |
| listeners | which ports processes listen on, and for whom |
| ops | what runs beside the service: firewall rules |
| gantt_svg | a schedule as a chart that every browser shows |
| cli, commands | the `gantry` command |
"""
