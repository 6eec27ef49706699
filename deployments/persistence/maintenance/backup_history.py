"""Backups over time: which are kept, which were proven and when, and the start that asks for a proven one.

What was backed up, verified and drilled stands in the audit trail of the database, where nobody can take it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, select

from deployments.persistence.decisions.audit_repository import AuditRepository, audit_work
from deployments.persistence.decisions.records import AuditEvent
from deployments.persistence.errors import BackupMissing
from deployments.persistence.maintenance.archive import ENCRYPTED_SUFFIX
from deployments.persistence.tables import DECISION

BACKED_UP, VERIFIED, DRILLED, FIRST_START = "db.backup", "db.verify", "db.drill", "service.first_start"
PROVEN = frozenset({VERIFIED, DRILLED})
MAX_BACKUP_AGE = timedelta(hours=26)
"""A day, and what a timer and a busy machine may add to it."""
MAX_DRILL_AGE = timedelta(days=8)
MAX_FIRST_START_AGE = timedelta(hours=24)
_MAX_EVENTS = 1_000
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(rf"gantry-(\d{{8}}T\d{{6}}Z)\.backup(?:{re.escape(ENCRYPTED_SUFFIX)})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupProof:
    """One backup and what became of it: written, verified, or drilled, which took `restore_seconds`."""

    file: str
    created_at: datetime
    rows: int
    decisions: int
    at: datetime
    restore_seconds: float | None = None

    @property
    def detail(self) -> str:
        """For the audit trail."""
        values = asdict(self) | {"created_at": self.created_at.isoformat()}
        del values["at"]
        return json.dumps(values)

    @classmethod
    def of(cls, event: AuditEvent) -> BackupProof | None:
        """What an audit row says; None for one that is none of these, or of a newer version."""
        try:
            values = json.loads(event.detail or "")
            return cls(**values | {"created_at": datetime.fromisoformat(values["created_at"]), "at": event.occurred_at})
        except (ValueError, KeyError, TypeError):
            return None


def name_of(now: datetime, *, is_encrypted: bool) -> str:
    """What a backup is called that was made then."""
    return f"gantry-{now.astimezone(UTC):{_TIME}}.backup{ENCRYPTED_SUFFIX if is_encrypted else ''}"


def backups_in(folder: Path) -> list[Path]:
    """Backups that bear a name as `name_of` gives it, the newest first; no links. Raises `OSError`."""
    found = [path for path in folder.iterdir() if _time_of(path) and path.is_file() and not path.is_symlink()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _time_of(path: Path) -> datetime | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        return datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def kept(backups: Iterable[Path], *, daily: int, weekly: int, proven: Collection[str]) -> set[Path]:
    """Of backups, newest first: the last of each of the newest days and weeks that have any, in UTC.

    Always the newest, and the newest of those named in `proven`, so that there is one that is known to be good.
    """
    backups = list(backups)
    good = [path for path in backups if path.name in proven]
    stay = {*backups[:1], *good[:1]}
    periods: tuple[tuple[int, Callable[[datetime], tuple[int, ...]]], ...] = (
        (daily, lambda at: (at.year, at.month, at.day)),
        (weekly, lambda at: tuple(at.isocalendar())[:2]),
    )
    for count, period_of in periods:
        newest: dict[tuple[int, ...], Path] = {}
        for path in backups:
            at = _time_of(path)
            assert at is not None, "only backups by their name are looked at"
            newest.setdefault(period_of(at), path)
        stay.update(list(newest.values())[:count])
    return stay


def newest_proof(engine: Engine, actions: Collection[str]) -> BackupProof | None:
    """The newest backup to which one of these happened, by when it was made. Raises `DatabaseError`."""
    with audit_work(engine) as trail:
        return _newest(trail, actions)


def proven_names(engine: Engine) -> set[str]:
    """Files of backups that were verified or drilled. Raises `DatabaseError`."""
    with audit_work(engine) as trail:
        return {proof.file for event in trail.newest_of(PROVEN, _MAX_EVENTS) if (proof := BackupProof.of(event))}


def record(engine: Engine, event: AuditEvent, proof: BackupProof) -> None:
    """Writes into the audit trail what became of a backup. Raises `DatabaseError`."""
    with audit_work(engine) as trail:
        trail.insert([replace(event, target=proof.file, detail=proof.detail)])


def require_backup(engine: Engine, event: AuditEvent, *, is_asked: bool) -> None:
    """The first start on a database that holds decisions needs a proven backup; `event` records that start.

    So does every other start that `is_asked` to. Raises `BackupMissing` or `DatabaseError`.
    """
    with audit_work(engine) as trail:
        is_first = not trail.newest_of({FIRST_START})
        if not (is_first or is_asked):
            return
        has_decisions = trail.connection.execute(select(DECISION.c.decision_id).limit(1)).first() is not None
        proof = _newest(trail, PROVEN)
        if has_decisions and (proof is None or event.occurred_at - proof.created_at > MAX_FIRST_START_AGE):
            raise BackupMissing(_missing(proof, event.occurred_at, is_first=is_first))
        trail.insert([replace(event, action=FIRST_START, detail=None if proof is None else proof.detail)])


def _missing(proof: BackupProof | None, now: datetime, *, is_first: bool) -> str:
    found = "was none" if proof is None else f"was {proof.file}, {age_in_words(now - proof.created_at)} old"
    start = "its first start in production" if is_first else "a start with --first or GANTRY_FIRST_START"
    hours = f"{MAX_FIRST_START_AGE.total_seconds() / 3600:g} h"
    return (
        f"the database holds decisions, and {start} needs a verified backup of the last {hours}, there {found}: run "
        "`gantry db backup --verify` (or `gantry db drill`, where backups are encrypted) and start again"
    )


def _newest(trail: AuditRepository, actions: Collection[str]) -> BackupProof | None:
    proofs = [proof for event in trail.newest_of(actions, _MAX_EVENTS) if (proof := BackupProof.of(event))]
    return max(proofs, key=lambda proof: proof.created_at, default=None)


def age_in_words(age: timedelta) -> str:
    """ "5 h 03 min", "3 days 4 h"."""
    minutes = max(0, int(age.total_seconds()) // 60)
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // (24 * 60)} days {minutes // 60 % 24} h"
