"""The least that the service's database user needs: it can neither change the schema nor delete what was decided.

Migrations, imports, backups and `gantry keys` run as the owner of the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Table

from deployments.persistence.errors import InvalidDatabaseUrl
from deployments.persistence.tables import (
    API_KEY,
    AUDIT_EVENT,
    DECISION,
    EVALUATION,
    FEEDBACK,
    INCIDENT,
    METADATA,
    PLANT_CALENDAR,
    PLANT_CLOSURE,
    PLANT_JOB,
    PLANT_MACHINE,
    ROLLOUT_LEASE,
    ROLLOUT_TRANSITION,
)

VIEWS = ("machine_source", "job_source", "closure_source", "latest_plan")
_NAME = re.compile(r"[A-Za-z0-9_.%-]{1,64}")
_WHOLE_ROWS = "SELECT, INSERT, UPDATE, DELETE"
# Rows that are never deleted. The update is of the key to itself, which is how an insert leaves an existing row
# alone; MariaDB wants the right to update every inserted column for it, not only the key.
_KEPT = (DECISION, EVALUATION, FEEDBACK, ROLLOUT_LEASE, INCIDENT)
_ONLY_ADDED = (AUDIT_EVENT, ROLLOUT_TRANSITION)
_READ_ONLY = (PLANT_MACHINE, PLANT_JOB, PLANT_CALENDAR, PLANT_CLOSURE)


def service_grants(database: str, user: str, host: str) -> Iterator[str]:
    """The statements for the owner to run, one for each table and view. Raises `InvalidDatabaseUrl` for odd names."""
    for name in (database, user, host):
        if not _NAME.fullmatch(name):
            raise InvalidDatabaseUrl(f"name must consist of letters, digits, _, ., - and %, was {name!r}")
    account = f"'{user}'@'{host}'"
    for table in METADATA.sorted_tables:
        yield f"GRANT {_privileges(table)} ON `{database}`.`{table.name}` TO {account};"
    for name in (*VIEWS, "alembic_version"):
        yield f"GRANT SELECT ON `{database}`.`{name}` TO {account};"


def _privileges(table: Table) -> str:
    if table in _ONLY_ADDED:
        return "SELECT, INSERT"
    if table in _KEPT:
        return "SELECT, INSERT, UPDATE"
    if table in _READ_ONLY:
        return "SELECT"
    return f"SELECT, UPDATE (`{API_KEY.c.last_used_at.name}`)" if table is API_KEY else _WHOLE_ROWS
