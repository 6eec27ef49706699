"""What survives: the spool on local disk first, then the database.

| room | what it holds |
|---|---|
| spool | payloads on local disk, fsynced before a request is answered |
| delivery | from the spool to the database, exactly once |
| decisions | what is stored, as records and as repositories |
| maintenance | backups, checks, samples, and how the database is kept from growing for ever |
| tables | the SQLAlchemy schema, for SQLite and MariaDB alike, and the least rights that the service needs in it |
| database | engines, the schema's revisions, the database's clock |
| failures | what a database error means |
| errors | every error of this room, as one tree, and who is told of corruption |
| migrations | Alembic revisions |
"""
