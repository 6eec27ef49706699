"""The auditor: clients write, everything dies again and again, and afterwards the books must balance.

| room | what it holds |
|---|---|
| ledger | what clients sent and heard, and how that compares with the rows of the database |
| proxy | a TCP proxy that resets, stalls, delays and cuts |
| faults | every way in which the service and its surroundings are made to fail |
| clients | those who write |
| application | the service with a disk that can be full |
| report | what an audit was to do, and what came of it |
| audit | one audit from start to report |

`python -m tests.system.auditing --help` runs one.
"""
