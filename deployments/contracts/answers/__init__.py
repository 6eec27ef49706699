"""What is answered, from domain objects and stored rows.

| module | what it holds |
|---|---|
| figures | the key figures of a schedule, as answered and as read back |
| schedule | schedule and verdict -> the answer |
| calendar | the calendar that an answer assumed, in words and as data |
| validation | the body and the answer of `POST /v1/validate` |
| stored | stored decisions as they are read back, plans in force, and the questions that they answered |
| plan_files | a plan as CSV, XLSX, iCalendar and dispatch lists |
| chart | a plan as a Gantt chart: SVG, and a page to zoom in |
| planners | why each late job is late, what another schedule would change, what planners say of one |
| service | probes, the audit trail, the rollout, errors as RFC 9457 problem details |
"""
