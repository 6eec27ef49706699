"""`gantry db`: the database and the spool, beside the service.

| module | what it holds |
|---|---|
| schema | the group, the schema's newest revision, the rights of the service's own user, sizes, old decisions |
| spool | what waits on local disk, and its replay |
| backup | check, backup, restore, verify |
| import_plant | plant data from files |
"""
