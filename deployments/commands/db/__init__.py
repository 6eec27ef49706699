"""`gantry db`: the database and the spool, beside the service.

| module | what it holds |
|---|---|
| schema | the group, the newest revision, rights of the service's user, plant data from files, sizes, old decisions |
| spool | what waits on local disk, and its replay |
| backup | check, backup, restore, verify, drill |
"""
