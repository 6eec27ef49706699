"""`gantry db`: the database and the spool, beside the service.

| module | what it holds |
|---|---|
| schema | the group, the schema's newest revision, and the rights of the service's own user |
| spool | what waits on local disk, and its replay |
| backup | check, backup, restore, verify |
| prune | sizes, old decisions, partitions |
| import_plant | plant data from files |
"""
