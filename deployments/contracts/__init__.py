"""The words of the wire and their translation. Only this package knows both vocabularies.

A wire "family" is a job of the domain, and a wire "job" is an operation; hours and datetimes of the
wire are whole seconds from `schedule_start` inside.

| room | what it holds |
|---|---|
| wire | what all models of the wire share, and the scalar types |
| amounts | hours <-> seconds and instants, exactly |
| request, calendar | the body of `POST /schedule` |
| reading | bytes of a body -> a model, or everything that is wrong with them |
| translation | request -> problem, or every reason why not |
| eligibility | which machines may do a job, and why none may |
| plant, public_holidays | its machines, closures and working hours |
| setups | the setup matrix |
| manual_plan | the planner's own plan in a request |
| pins | work that must not move, and why it may not stay |
| plant_data, cells | what the database knows of a plant, and requests that leave it to the database |
| freezing | an earlier schedule: what of it stays |
| precheck | proofs that nobody could schedule a problem |
| open_hours, earliest | what those proofs need: open time, and when work could end at the earliest |
| notices | the warnings of an answer |
| answer | schedule and verdict -> the answer |
| validation | the body and the answer of `POST /v1/validate` |
| stored | stored decisions as they are read back |
| revisiting | a stored decision -> the question and the schedule that it was |
| explanation | why each late job is late |
| rollout | the bodies and answers of the rollout's routes |
| feedback | what planners say of a schedule, and when its jobs were really done |
| comparison | what another schedule would change |
| health | the answers of the probes |
| problem_details | errors as RFC 9457 problem details |
"""
