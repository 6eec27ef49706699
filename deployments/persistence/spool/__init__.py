"""The spool: what was appended here is on disk, whatever dies next, until it is acknowledged.

| module | what it holds |
|---|---|
| spool | THE SPOOL: append, batches, acknowledge |
| segment_folder | all segments of one spool, whose they are, and which are taken over |
| segment | one file, and the frames in it |
| disk | the few disk operations that durable files stand on |
| dead_letters | payloads that no database takes |
"""
