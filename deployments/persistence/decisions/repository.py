"""Every query, the unit of work that alone commits, and the decisions as the event loop asks for them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import sys
import time
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Insert, RowMapping, Select, and_, func, literal, or_, select, update
from sqlalchemy.dialects import mysql, sqlite

from deployments.persistence.database import address_of, max_packet_bytes
from deployments.persistence.decisions.audit_repository import insert_audit
from deployments.persistence.decisions.claims import finish_claims
from deployments.persistence.decisions.latest_plan import keep_latest_plans
from deployments.persistence.decisions.records import (
    ANY_DECISION,
    MAX_PAGE_SIZE,
    AuditEvent,
    DecisionFilter,
    DecisionPage,
    DecisionRecord,
    EvaluationRecord,
    FeedbackRecord,
    Record,
    columns_of,
    made_at,
    payload_digest,
    with_figures,
)
from deployments.persistence.decisions.rollout_repository import evaluations_of, insert_evaluations, insert_feedback
from deployments.persistence.errors import (
    CorruptionLog,
    DataRejected,
    InvalidCursor,
    Mismatch,
    PayloadMismatch,
)
from deployments.persistence.failures import database_errors
from deployments.persistence.tables import DECISION
from deployments.runtime.background import Threads

_PAYLOAD = ("request", "answer")
_STATEMENT_OVERHEAD_BYTES = 64 * 1024
# PyMySQL writes a byte as two hexadecimal digits.
_WRITTEN_BYTES = 2
# A batch is in the database within a fraction of a second, unless the database is in trouble.
_PATIENCE_SECONDS = 2.0
_LOOK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """`verified` decisions are what their digests say; `mismatches` are not."""

    verified: int
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Giant:
    """Bodies that follow their row in parts, because one statement cannot hold them."""

    decision_id: str
    part_bytes: int
    values: dict[str, bytes]


@contextmanager
def unit_of_work(engine: Engine) -> Iterator[DecisionRepository]:
    """One transaction: committed when the block ends, rolled back when it raises.

    Whatever the database refuses comes out as a `DatabaseError` of this room.
    """
    with database_errors(address_of(engine)), engine.begin() as connection:
        yield DecisionRepository(connection)


class DecisionRepository:
    """The decisions, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert(self, records: Sequence[Record]) -> None:
        """Makes sure that each record is there, exactly once; one that already is stays untouched.

        Raises `PayloadMismatch` when another payload is stored under a decision id (roll back then),
        `DataRejected` for a record that is larger than a value may be. The latest plans of their
        plants and lines, and the claims of their idempotency keys, follow.
        """
        decisions = [record for record in records if isinstance(record, DecisionRecord)]
        evaluations = [record for record in records if isinstance(record, EvaluationRecord)]
        for decision in decisions:
            evaluations += decision.evaluations
        if decisions:
            self._insert_decisions(decisions)
        insert_evaluations(self._connection, evaluations)
        insert_feedback(self._connection, [record for record in records if isinstance(record, FeedbackRecord)])
        insert_audit(self._connection, [record for record in records if isinstance(record, AuditEvent)])

    def _insert_decisions(self, records: Sequence[DecisionRecord]) -> None:
        rows = [_row_of(record) for record in records]
        packet_bytes = max_packet_bytes(self._connection)
        bound = sys.maxsize if packet_bytes is None else packet_bytes
        giants = [_begun(row, bound) for row in rows if _is_giant(row, bound)]
        self._connection.execute(self._insert_once(), rows)
        self._require_digests(records)
        for giant in giants:
            self._append_parts(giant)
        keep_latest_plans(self._connection, records)
        finish_claims(self._connection, records)

    def get(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        """The decision with its payload, None when `client` (None: nobody) has it. Raises `PayloadMismatch`."""
        try:
            canonical = str(uuid.UUID(decision_id))
        except ValueError:
            return None
        query = select(DECISION).where(DECISION.c.decision_id == canonical)
        if client is not None:
            query = query.where(DECISION.c.client == client)
        row = self._connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return replace(_record_of(row), evaluations=evaluations_of(self._connection, canonical))

    def page(
        self,
        client: str | None,
        *,
        before: str | None = None,
        limit: int = 50,
        wanted: DecisionFilter = ANY_DECISION,
        plants: frozenset[str] | None = None,
        with_payload: bool = False,
    ) -> DecisionPage:
        """The newest `wanted` decisions of `client` (None: of all), at most `limit` (1 to `MAX_PAGE_SIZE`), before a
        cursor.

        `plants` leaves out the decisions of all others. Raises `InvalidCursor`; `PayloadMismatch` when
        payloads are asked for and one is damaged.
        """
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise ValueError(f"limit must be in 1..{MAX_PAGE_SIZE}, was {limit}")
        # One row more than asked for tells whether there is a next page.
        older_than = None if before is None else _cursor_parts(before)
        query = newest_query(client, wanted, before=older_than, with_payload=with_payload).limit(limit + 1)
        if plants is not None:
            query = query.where(DECISION.c.plant_id.in_(sorted(plants)))
        rows = self._connection.execute(query).mappings().all()
        records = tuple(_record_of(row) for row in rows[:limit])
        return DecisionPage(records=records, next_cursor=_cursor(records[-1]) if len(rows) > limit else None)

    def id_bounds(self) -> tuple[str, str] | None:
        """The least and the greatest decision id, None when there is no decision."""
        row = self._connection.execute(select(func.min(DECISION.c.decision_id), func.max(DECISION.c.decision_id))).one()
        return None if row[0] is None else (row[0], row[1])

    def inspect(self, first_id: str, limit: int) -> Inspection:
        """Verifies the payloads of up to `limit` decisions from `first_id` on."""
        query = select(DECISION).where(DECISION.c.decision_id >= first_id).order_by(DECISION.c.decision_id).limit(limit)
        mismatches: list[Mismatch] = []
        rows = self._connection.execute(query).mappings().all()
        for row in rows:
            try:
                _record_of(row)
            except PayloadMismatch as mismatch:
                mismatches += mismatch.mismatches
        return Inspection(verified=len(rows) - len(mismatches), mismatches=tuple(mismatches))

    def _insert_once(self) -> Insert:
        if self._connection.dialect.name == "sqlite":
            return sqlite.insert(DECISION).on_conflict_do_nothing(index_elements=[DECISION.c.decision_id])
        # Not INSERT IGNORE, which would also swallow values that do not fit.
        return mysql.insert(DECISION).on_duplicate_key_update(decision_id=DECISION.c.decision_id)

    def _require_digests(self, records: Sequence[DecisionRecord]) -> None:
        ids = [record.decision_id for record in records]
        query = select(DECISION.c.decision_id, DECISION.c.payload_sha256).where(DECISION.c.decision_id.in_(ids))
        found = {row.decision_id: row.payload_sha256 for row in self._connection.execute(query)}
        mismatches = [
            Mismatch(
                decision_id=record.decision_id,
                wanted_sha256=record.payload_sha256,
                found_sha256=found.get(record.decision_id),
            )
            for record in records
            if found.get(record.decision_id) != record.payload_sha256
        ]
        if mismatches:
            raise PayloadMismatch(mismatches)

    def _append_parts(self, giant: _Giant) -> None:
        """Fills in what was too large for one statement; whoever reads the row sees it after the commit, whole."""
        for name, value in giant.values.items():
            column = DECISION.c[name]
            for offset in range(0, len(value), giant.part_bytes):
                part = literal(value[offset : offset + giant.part_bytes], column.type)
                # Cut first, so that it does not matter whether this was done before.
                longer = func.concat(func.left(column, offset), part, type_=column.type)
                statement = update(DECISION).where(DECISION.c.decision_id == giant.decision_id)
                self._connection.execute(statement.values({name: longer}))


class StoredDecisions:
    """The decisions in the database, read in threads of their own: a slow query delays only whoever reads.

    Whoever has just got a schedule may ask for it while it is still on its way from the spool of some router. An id is
    made when its request arrives, which takes up to `request_seconds` to answer; one that may have been answered a
    moment ago is looked for `patience_seconds` long.
    """

    def __init__(
        self,
        engine: Engine,
        corruption: CorruptionLog,
        threads: Threads,
        patience_seconds: float = _PATIENCE_SECONDS,
        request_seconds: float = 0.0,
    ) -> None:
        self._engine = engine
        self._corruption = corruption
        self._threads = threads
        self._patience_seconds = patience_seconds
        self._request_seconds = request_seconds

    async def get(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        """One decision with its payload, None when `client` (None: nobody) has it.

        Raises `DatabaseError` or `Overloaded`; `PayloadMismatch`, after it was reported, when the payload is damaged.
        """
        made = made_at(decision_id)
        oldest_seconds = self._request_seconds + self._patience_seconds
        age_seconds = oldest_seconds if made is None else max(0.0, time.time() - made)
        deadline = time.monotonic() + min(self._patience_seconds, oldest_seconds - age_seconds)
        while (record := await self._read(decision_id, client)) is None and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return record

    async def _read(self, decision_id: str, client: str | None) -> DecisionRecord | None:
        def read() -> DecisionRecord | None:
            with unit_of_work(self._engine) as decisions:
                return decisions.get(decision_id, client)

        with self._corruption.reading():
            return await self._threads.run(read)

    async def page(
        self,
        client: str | None,
        *,
        before: str | None,
        limit: int,
        plants: frozenset[str] | None = None,
        wanted: DecisionFilter = ANY_DECISION,
    ) -> DecisionPage:
        """At most `limit` `wanted` decisions of `plants` (None: of all), newest first, without payload.

        Raises `InvalidCursor`, `DatabaseError` or `Overloaded`.
        """

        def read() -> DecisionPage:
            with unit_of_work(self._engine) as decisions:
                return decisions.page(client, before=before, limit=limit, plants=plants, wanted=wanted)

        return await self._threads.run(read)


def newest_query(
    client: str | None,
    wanted: DecisionFilter = ANY_DECISION,
    *,
    before: tuple[datetime, str] | None = None,
    with_payload: bool = False,
) -> Select[Any]:
    """The `wanted` decisions of a client, newest first, older than the instant and id of `before`.

    Of all clients (None) they come by their ids, which are in the order of time and the primary key.
    """
    columns = [column for column in DECISION.c if with_payload or column.name not in _PAYLOAD]
    query = select(*columns)
    if client is not None:
        query = query.where(DECISION.c.client == client)
    for name in ("plant_id", "line_id", "request_id", "arm"):
        if (value := getattr(wanted, name)) is not None:
            # The line "" is that of a plant without lines, which is null here.
            query = query.where(DECISION.c[name] == (value or None))
    if wanted.since is not None:
        query = query.where(DECISION.c.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(DECISION.c.created_at < wanted.until)
    if wanted.is_late is not None:
        tardiness = DECISION.c.tardiness_seconds
        query = query.where(tardiness > 0 if wanted.is_late else tardiness == 0)
    if client is None:
        query = query if before is None else query.where(DECISION.c.decision_id < before[1])
        return query.order_by(DECISION.c.decision_id.desc())
    if before is not None:
        query = _older_than(query, *before)
    return query.order_by(DECISION.c.created_at.desc(), DECISION.c.decision_id.desc())


def _older_than(query: Select[Any], created_at: datetime, decision_id: str) -> Select[Any]:
    # Spelled out: MariaDB finds no range for the row comparison (created_at, decision_id) < (…).
    return query.where(
        DECISION.c.created_at <= created_at,
        or_(
            DECISION.c.created_at < created_at,
            and_(DECISION.c.created_at == created_at, DECISION.c.decision_id < decision_id),
        ),
    )


def _cursor(record: DecisionRecord) -> str:
    words = f"{record.created_at.astimezone(UTC).isoformat()} {record.decision_id}"
    return base64.urlsafe_b64encode(words.encode()).decode().rstrip("=")


def _cursor_parts(cursor: str) -> tuple[datetime, str]:
    try:
        words = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
        instant, decision_id = words.split(" ")
        created_at = datetime.fromisoformat(instant)
        if created_at.tzinfo is None:
            raise ValueError("the instant has no time zone")
        return created_at, str(uuid.UUID(decision_id))
    except (ValueError, binascii.Error) as error:
        raise InvalidCursor(f"cursor must be one that an earlier page gave, was {cursor[:100]!r}") from error


def _row_of(record: DecisionRecord) -> dict[str, Any]:
    row = columns_of(record)
    # Evaluations are rows of their own, and a claim is finished where it stands.
    del row["evaluations"], row["claim"]
    for name in _PAYLOAD:
        row[name] = None if row[name] is None else zlib.compress(row[name])
    return row


def _record_of(row: RowMapping) -> DecisionRecord:
    values: dict[str, Any] = dict.fromkeys(_PAYLOAD) | with_figures(dict(row))
    try:
        for name in _PAYLOAD:
            values[name] = None if values[name] is None else zlib.decompress(values[name])
    except zlib.error as error:
        raise _mismatch(values, None) from error
    if any(values[name] is not None for name in _PAYLOAD):
        digest = payload_digest(values["request"], values["answer"])
        if digest != values["payload_sha256"]:
            raise _mismatch(values, digest)
    return DecisionRecord(**values)


def _mismatch(values: dict[str, Any], found_sha256: str | None) -> PayloadMismatch:
    wanted = Mismatch(
        decision_id=values["decision_id"], wanted_sha256=values["payload_sha256"], found_sha256=found_sha256
    )
    return PayloadMismatch([wanted])


def max_body_bytes(packet_bytes: int) -> int:
    """How large a compressed body may be where one statement may have `packet_bytes`: no value may be larger."""
    return packet_bytes - _STATEMENT_OVERHEAD_BYTES


def stored_bytes(body: bytes) -> int:
    """What a body takes in its row, compressed as it is there."""
    return len(zlib.compress(body))


def _is_giant(row: dict[str, Any], packet_bytes: int) -> bool:
    written = _WRITTEN_BYTES * sum(len(row[name] or b"") for name in _PAYLOAD)
    return written + _STATEMENT_OVERHEAD_BYTES > packet_bytes


def _begun(row: dict[str, Any], packet_bytes: int) -> _Giant:
    """Takes the bodies out of a row that is to be inserted. Raises `DataRejected` for one that no value can hold."""
    values = {name: row[name] for name in _PAYLOAD if row[name] is not None}
    for name, value in values.items():
        if len(value) > (limit := max_body_bytes(packet_bytes)):
            rejected = DataRejected(
                f"{name} of decision {row['decision_id']} must have at most {limit:,} bytes when compressed, for the "
                f"server's max_allowed_packet of {packet_bytes:,}, had {len(value):,}"
            )
            rejected.advice = "it is larger than the database takes: raise max_allowed_packet"
            raise rejected
        row[name] = b""
    return _Giant(decision_id=row["decision_id"], part_bytes=packet_bytes // (2 * _WRITTEN_BYTES), values=values)
