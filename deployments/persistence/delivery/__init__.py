"""From the spool to the database.

| module | what it holds |
|---|---|
| drain | the background task: a batch is acknowledged after it was committed |
| batch_writer | a batch into the database, exactly once |
| inspection | a spool seen from outside, and its replay without the service |
"""
