"""What survives: the spool on local disk first, then the database.

| room | what it holds |
|---|---|
| errors | every error of this room, as one tree |
| records | DecisionRecord: one decision as it is stored, and its bytes in the spool |
| evaluations, evaluation_rows | what one arm made of a request, and what planners said: rows beside decisions |
| spool | payloads on local disk, fsynced before a request is answered |
| segment_folder, segment, framing, disk | the spool's files: all of them, one, its bytes, the disk below |
| ownership | whose segments lie there, and which owners have departed |
| inspection | a spool seen from outside, and its replay without the service |
| dead_letters | payloads that no database takes |
| drain | the background task from the spool to the database |
| writing | a batch into the database, exactly once |
| tables | the SQLAlchemy schema, for SQLite and MariaDB alike |
| repository | every query, and the unit of work that commits |
| latest_plan | the latest plan of each plant as rows |
| key_repository | API keys by their digests |
| audit_event, audit_repository | who did what beyond scheduling |
| claim_words, claims | who may act on an idempotency key, until when, and what came of it |
| plant_repository | machines, pending jobs and calendars of each plant |
| clock | what time it is in the database, and how far that is from here |
| database, failures | engines and revisions; what a database error means |
| archive, backup | all tables in one file, restored into an empty database, and the proof that both are equal |
| sizes | how much room each table takes |
| pruning, partitioning, id_order | what is old enough to go, and tables cut into months by their ids |
| checking, plans | what may lose data or time in a database, and how it answers each query |
| grants | the least rights that the service's database user needs |
| migrations | Alembic revisions |
"""
