"""The SQLAlchemy schema, one for SQLite and MariaDB.

A decision is one immutable row; rows per job exist only for the latest plan of a plant. Plant data keep
the words, units and defaults of the wire, so `lcd_date` is text: without a zone it means the plant's clock.
Other instants are UTC and end in `_at`; every constraint has a name. Text that clients choose is compared
byte by byte in both databases: two clients whose names differ in case, or in a trailing blank, are two.

The service's own user needs little: it can neither change the schema nor delete what was decided. Migrations, imports,
backups and `gantry keys` run as the owner of the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator

from deployments.persistence.errors import InvalidDatabaseUrl

NAME_LENGTH = 255
"""Longest text, in characters, that a client may choose for an id or a name."""


class UtcInstant(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC with microseconds. Raises `ValueError` for a naive one."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "mariadb":
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"an instant must have a time zone, was {value.isoformat()}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

_ID = CHAR(36).with_variant(mysql.CHAR(36, charset="ascii", collation="ascii_bin"), "mariadb")
_SHA256 = CHAR(64).with_variant(mysql.CHAR(64, charset="ascii", collation="ascii_bin"), "mariadb")
_KEY_ID = CHAR(12).with_variant(mysql.CHAR(12, charset="ascii", collation="ascii_bin"), "mariadb")
# Floats also from MariaDB, whose DOUBLE SQLAlchemy would hand out as a decimal of ten digits.
_FLOAT = Float().with_variant(mysql.DOUBLE(asdecimal=False), "mariadb")
_BLOB = LargeBinary().with_variant(mysql.LONGBLOB(), "mariadb")
_BIG = BigInteger()
_NAME = String(NAME_LENGTH)
_INSTANT_TEXT = String(40)
_JSON = Text().with_variant(mysql.LONGTEXT(), "mariadb")
_OPTIONS: dict[str, Any] = {
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}

DECISION = Table(
    "decision",
    METADATA,
    Column("decision_id", _ID, primary_key=True),
    Column("created_at", UtcInstant, nullable=False),
    Column("client", _NAME, nullable=False),
    Column("request_id", _NAME),
    Column("plant_id", _NAME),
    Column("line_id", _NAME),
    Column("unit", Text, nullable=False),
    Column("bucket", _FLOAT, nullable=False),
    Column("seed", _NAME, nullable=False),
    Column("hash_version", Integer, nullable=False),
    Column("stage", _NAME, nullable=False),
    Column("share", _FLOAT, nullable=False),
    Column("arm", _NAME, nullable=False),
    Column("algorithm_used", _NAME, nullable=False),
    Column("model", _NAME),
    Column("fallback_reason", Text),
    Column("objective", _NAME, nullable=False),
    Column("time_budget_ms", Integer, nullable=False),
    Column("job_count", Integer, nullable=False),
    Column("machine_count", Integer, nullable=False),
    Column("makespan_seconds", _BIG, nullable=False),
    Column("tardiness_seconds", _BIG, nullable=False),
    Column("setup_seconds", _BIG, nullable=False),
    Column("completion_percent", _FLOAT, nullable=False),
    Column("utilisation_percent", _FLOAT, nullable=False),
    Column("on_time_percent", _FLOAT, nullable=False),
    Column("important_on_time_percent", _FLOAT, nullable=False),
    Column("flow_time_mean_seconds", _FLOAT),
    Column("safety_score", _FLOAT, nullable=False),
    Column("generation_ms", _FLOAT, nullable=False),
    Column("request", _BLOB),
    Column("answer", _BLOB),
    Column("payload_sha256", _SHA256, nullable=False),
    Column("rollout_version", _BIG, nullable=False, server_default=text("0")),
    Column("is_forced", Boolean, nullable=False, server_default=false()),
    Column("job_list_sha256", _SHA256),
    **_OPTIONS,
)

# Newest first for one client: all of it, one plant of it, one request of it. The ids make the order total.
NEWEST = Index(None, DECISION.c.client, DECISION.c.created_at, DECISION.c.decision_id)
NEWEST_OF_PLANT = Index(None, DECISION.c.client, DECISION.c.plant_id, DECISION.c.created_at, DECISION.c.decision_id)
NEWEST_OF_REQUEST = Index(None, DECISION.c.client, DECISION.c.request_id, DECISION.c.created_at, DECISION.c.decision_id)

PLANT_MACHINE = Table(
    "plant_machine",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("machine_id", _BIG, primary_key=True, autoincrement=False),
    Column("machine_name", _NAME, nullable=False),
    Column("machine_type", _BIG),
    Column("status", _NAME, nullable=False),
    Column("current_load", _FLOAT, nullable=False),
    **_OPTIONS,
)

PLANT_JOB = Table(
    "plant_job",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("job_id", _NAME, primary_key=True),
    Column("family_id", _NAME),
    Column("sequence", Integer, nullable=False),
    Column("processing_time", _FLOAT),
    Column("machine_types", _JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("is_important", Boolean, nullable=False),
    Column("lcd_date", _INSTANT_TEXT),
    Column("setup_time", _FLOAT, nullable=False),
    Column("machine_options", _JSON),
    Column("release_at", _INSTANT_TEXT),
    Column("deadline_at", _INSTANT_TEXT),
    Column("weight", _FLOAT),
    Column("interruptible", Boolean, nullable=False),
    Column("setup_group", _NAME),
    Column("pinned", _JSON),
    Column("requires_all_machines", _JSON),
    **_OPTIONS,
)

PLANT_CALENDAR = Table(
    "plant_calendar",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("breaks", _JSON),
    Column("holidays", _JSON, nullable=False),
    Column("country", CHAR(2)),
    **_OPTIONS,
)

# `from` and `to` of the wire are words of SQL.
PLANT_CLOSURE = Table(
    "plant_closure",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("machine_id", _BIG, primary_key=True, autoincrement=False),
    Column("closed_from", _INSTANT_TEXT, primary_key=True),
    Column("closed_to", _INSTANT_TEXT, primary_key=True),
    Column("reason", Text, nullable=False),
    **_OPTIONS,
)

# A plant without lines has the line "", because a key must not be null.
PLAN = Table(
    "plan",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("line_id", _NAME, primary_key=True),
    Column("decision_id", _ID, nullable=False),
    Column("created_at", UtcInstant, nullable=False),
    **_OPTIONS,
)

PLANNED_JOB = Table(
    "planned_job",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("line_id", _NAME, primary_key=True),
    Column("job_id", _NAME, primary_key=True),
    Column("machine_id", _BIG, nullable=False),
    Column("machine_name", _NAME, nullable=False),
    Column("machine_ids", _JSON),
    Column("start_at", UtcInstant, nullable=False),
    Column("end_at", UtcInstant, nullable=False),
    Column("setup_hours", _FLOAT, nullable=False),
    **_OPTIONS,
)

# What a person put in force, and took back: rows are inserted and read, never changed. After the newest version the
# decision is in force, or nobody's (null); `released_version` is the release that put it there, 0 for none.
PLAN_RELEASE = Table(
    "plan_release",
    METADATA,
    Column("plant_id", _NAME, primary_key=True),
    Column("line_id", _NAME, primary_key=True),
    Column("version", _BIG, primary_key=True, autoincrement=False),
    Column("action", String(16), nullable=False),
    Column("decision_id", _ID),
    Column("released_version", _BIG, nullable=False),
    Column("previous_id", _ID),
    Column("is_what_if", Boolean, nullable=False),
    Column("client", _NAME, nullable=False),
    Column("actor", _NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcInstant, nullable=False),
    **_OPTIONS,
)

# What one arm made of the request of one decision. No foreign key: arms that were not served arrive later,
# in any order, and stand for themselves in the statistics.
EVALUATION = Table(
    "evaluation",
    METADATA,
    Column("decision_id", _ID, primary_key=True),
    Column("arm", _NAME, primary_key=True),
    Column("role", _NAME, nullable=False),
    Column("created_at", UtcInstant, nullable=False),
    Column("plant_id", _NAME, nullable=False),
    Column("unit", Text, nullable=False),
    Column("stage", _NAME, nullable=False),
    Column("share", _FLOAT, nullable=False),
    Column("rollout_version", _BIG, nullable=False),
    Column("ramp", _BIG, nullable=False),
    Column("is_forced", Boolean, nullable=False),
    Column("job_list_sha256", _SHA256, nullable=False),
    Column("is_served", Boolean, nullable=False),
    Column("status", _NAME, nullable=False),
    Column("outcome", _NAME),
    Column("reason", Text),
    Column("model", _NAME),
    Column("source", _NAME),
    Column("baseline", _NAME, nullable=False),
    Column("time_budget_ms", Integer, nullable=False),
    Column("job_count", Integer, nullable=False),
    Column("makespan_seconds", _BIG),
    Column("tardiness_seconds", _BIG),
    Column("setup_seconds", _BIG),
    Column("completion_percent", _FLOAT),
    Column("utilisation_percent", _FLOAT),
    Column("on_time_percent", _FLOAT),
    Column("important_on_time_percent", _FLOAT),
    Column("flow_time_mean_seconds", _FLOAT),
    Column("safety_score", _FLOAT),
    Column("violation_count", Integer, nullable=False),
    Column("violations", _JSON, nullable=False),
    Column("proposal_ms", _FLOAT),
    Column("judge_ms", _FLOAT),
    Column("pairing", _JSON),
    **_OPTIONS,
)
NEWEST_EVALUATION = Index(None, EVALUATION.c.created_at, EVALUATION.c.decision_id)

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("feedback_id", _ID, primary_key=True),
    Column("decision_id", _ID, nullable=False),
    Column("client", _NAME, nullable=False),
    Column("created_at", UtcInstant, nullable=False),
    Column("rating", Integer),
    Column("comment", Text),
    Column("actual_completions", _JSON, nullable=False),
    Column("author", _NAME),
    **_OPTIONS,
)
FEEDBACK_OF_DECISION = Index(None, FEEDBACK.c.decision_id)
NEWEST_FEEDBACK = Index(None, FEEDBACK.c.created_at, FEEDBACK.c.feedback_id)

ROLLOUT_TRANSITION = Table(
    "rollout_transition",
    METADATA,
    Column("version", _BIG, primary_key=True, autoincrement=False),
    Column("created_at", UtcInstant, nullable=False),
    Column("from_stage", _NAME, nullable=False),
    Column("to_stage", _NAME, nullable=False),
    Column("actor", _NAME, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", _JSON, nullable=False),
    Column("configuration_sha256", _SHA256, nullable=False),
    Column("state", _JSON, nullable=False),
    **_OPTIONS,
)

# One row: who may change the rollout, until when by the database's clock. Each owner's token is higher than the last.
ROLLOUT_LEASE = Table(
    "rollout_lease",
    METADATA,
    Column("lease_id", Integer, primary_key=True, autoincrement=False),
    Column("owner_id", _ID, nullable=False),
    Column("owner_name", _NAME, nullable=False),
    Column("token", _BIG, nullable=False),
    Column("expires_at", UtcInstant, nullable=False),
    **_OPTIONS,
)

INCIDENT = Table(
    "incident",
    METADATA,
    Column("incident_id", _ID, primary_key=True),
    Column("created_at", UtcInstant, nullable=False),
    Column("trigger", _NAME, nullable=False),
    Column("stage", _NAME, nullable=False),
    Column("rollout_version", _BIG, nullable=False),
    Column("action", _NAME, nullable=False),
    Column("evidence", _JSON, nullable=False),
    **_OPTIONS,
)
# Never deleted, so that an old audit row still finds its key. A key that is neither revoked nor expired holds
# one of its client's two slots; the others hold none, and null is equal to nothing.
API_KEY = Table(
    "api_key",
    METADATA,
    Column("key_id", _KEY_ID, primary_key=True),
    Column("client", _NAME, nullable=False),
    Column("key_name", _NAME, nullable=False),
    Column("digest", _SHA256, nullable=False),
    Column("scopes", _JSON, nullable=False),
    Column("plants", _JSON),
    Column("slot", Integer),
    Column("created_at", UtcInstant, nullable=False),
    Column("created_by", _NAME, nullable=False),
    Column("expires_at", UtcInstant),
    Column("revoked_at", UtcInstant),
    Column("last_used_at", UtcInstant),
    UniqueConstraint("digest"),
    UniqueConstraint("client", "slot"),
    **_OPTIONS,
)

# Who did what beyond scheduling: rows are inserted and read, never changed.
AUDIT_EVENT = Table(
    "audit_event",
    METADATA,
    Column("event_id", _ID, primary_key=True),
    Column("occurred_at", UtcInstant, nullable=False),
    Column("actor", _NAME, nullable=False),
    Column("client", _NAME),
    Column("key_id", _KEY_ID),
    Column("action", _NAME, nullable=False),
    Column("target", Text, nullable=False),
    Column("status", Integer),
    Column("request_id", _NAME),
    Column("detail", Text),
    **_OPTIONS,
)

NEWEST_AUDIT = Index(None, AUDIT_EVENT.c.occurred_at, AUDIT_EVENT.c.event_id)

# A status that is null: somebody is at it. The owner is whose spool its decision goes to.
IDEMPOTENCY_CLAIM = Table(
    "idempotency_claim",
    METADATA,
    Column("client", _NAME, primary_key=True),
    Column("route", String(64), primary_key=True),
    Column("idempotency_key", _NAME, primary_key=True),
    Column("request_sha256", _SHA256, nullable=False),
    Column("decision_id", _ID, nullable=False),
    Column("owner_id", _ID, nullable=False),
    Column("leased_until", UtcInstant, nullable=False),
    Column("expires_at", UtcInstant, nullable=False),
    Column("status", Integer),
    Column("answer", _BLOB),
    **_OPTIONS,
)
EXPIRED_CLAIMS = Index(None, IDEMPOTENCY_CLAIM.c.expires_at)

SPOOL_OWNER = Table(
    "spool_owner",
    METADATA,
    Column("owner_id", _ID, primary_key=True),
    Column("drained_until", UtcInstant, nullable=False),
    **_OPTIONS,
)

PLAN_RUN = Table(
    "plan_run",
    METADATA,
    Column("run_id", _ID, primary_key=True),
    Column("client", _NAME, nullable=False),
    Column("plant_id", _NAME, nullable=False),
    Column("idempotency_key", _NAME, nullable=False),
    Column("request_sha256", _SHA256, nullable=False),
    Column("request", _BLOB),
    Column("is_strict", Boolean, nullable=False),
    Column("budget_ms", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcInstant, nullable=False),
    Column("changed_at", UtcInstant, nullable=False),
    Column("owner_id", _ID),
    Column("leased_until", UtcInstant),
    Column("is_stop_wanted", Boolean, nullable=False),
    Column("best", Text),
    Column("reason", Text),
    UniqueConstraint("client", "idempotency_key"),
    **_OPTIONS,
)
RUNS_BY_STATE = Index(None, PLAN_RUN.c.state, PLAN_RUN.c.created_at)

VIEWS = ("machine_source", "job_source", "closure_source", "latest_plan")
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.%-]{1,64}")
_WHOLE_ROWS = "SELECT, INSERT, UPDATE, DELETE"
# Rows that are never deleted. The update is of the key to itself, which is how an insert leaves an existing row
# alone; MariaDB wants the right to update every inserted column for it, not only the key.
_KEPT = (DECISION, EVALUATION, FEEDBACK, ROLLOUT_LEASE, INCIDENT)
_ONLY_ADDED = (AUDIT_EVENT, ROLLOUT_TRANSITION, PLAN_RELEASE)
_READ_ONLY = (PLANT_MACHINE, PLANT_JOB, PLANT_CALENDAR, PLANT_CLOSURE)


def service_grants(database: str, user: str, host: str) -> Iterator[str]:
    """The statements for the owner to run, one for each table and view. Raises `InvalidDatabaseUrl` for odd names."""
    for name in (database, user, host):
        if not _IDENTIFIER.fullmatch(name):
            raise InvalidDatabaseUrl(f"name must consist of letters, digits, _, ., - and %, was {name!r}")
    account = f"'{user}'@'{host}'"
    for table in METADATA.sorted_tables:
        yield f"GRANT {_privileges(table)} ON `{database}`.`{table.name}` TO {account};"
    for name in VIEWS:
        # Without the second, no query on a view can be explained (`gantry db check`).
        yield f"GRANT SELECT, SHOW VIEW ON `{database}`.`{name}` TO {account};"
    yield f"GRANT SELECT ON `{database}`.`alembic_version` TO {account};"


def _privileges(table: Table) -> str:
    if table in _ONLY_ADDED:
        return "SELECT, INSERT"
    if table in _KEPT:
        return "SELECT, INSERT, UPDATE"
    if table in _READ_ONLY:
        return "SELECT"
    return f"SELECT, UPDATE (`{API_KEY.c.last_used_at.name}`)" if table is API_KEY else _WHOLE_ROWS
