"""The database over the years.

| module | what it holds |
|---|---|
| archive, backup | all tables in one file, restored into an empty database, and the proof that both are equal |
| backup_history | which backups are kept, which were proven and when, the start that asks for one |
| pruning | sizes, what is old enough to go, tables cut into months |
| checks | what may lose data or time in a database; the background sample of stored decisions |
| query_plans | how a database answers each query of the API |
"""
