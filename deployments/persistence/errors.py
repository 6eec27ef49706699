"""Everything that can go wrong while keeping a decision, as one tree; and who is told of corruption.

PersistenceError
├── SpoolError              the local spool did not take, or could not give, a payload
│   ├── SpoolFull           no room; nothing was written; try again after the database has caught up
│   ├── SpoolFailed         a write, fsync or read failed; the payload was not promised
│   └── SpoolClosed         used before `start` or after `close`
├── MessageTooLarge         what goes to the writer does not fit into one message between deployments
├── KeyRefused              no such API key, or one more than a client may have
├── InvalidCursor           a page cursor that this service did not make
├── PruningRefused          what was asked to be removed is too young, or evidence of a rollout under way
├── BackupMissing           what is about to happen needs a backup that is not there, or too old
├── InvalidBackup           a file is no whole backup, or could not be written
├── PayloadMismatch         a payload is not the one that was promised under this decision id
└── DatabaseError           the database did not do what was asked; messages are one line, without secrets
    ├── DatabaseUnavailable     it may work in a moment: unreachable, busy, deadlock, connection lost
    ├── DataRejected            it will never accept this row, whoever asks
    ├── DatabaseAccessDenied    wrong user, password or grants
    ├── InvalidDatabaseUrl      the URL names no database that Gantry can use
    └── SchemaMismatch          the schema is older or newer than this program

Corruption is a payload that is not what its digest says, or a second one under a decision's id. Whoever finds one
reports it to the `CorruptionLog`, which counts it, raises the alarm and tells its listeners, of which the guardrail of
the rollout is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from env.errors import GantryError

_log = logging.getLogger(__name__)


class PersistenceError(GantryError):
    """Root of all errors of this room; `advice` says what to do about it, in words that name no host, user or file."""

    advice = "the log of the writer has the cause"


class SpoolError(PersistenceError):
    """The spool on local disk failed the caller."""

    advice = "the disk of the spool fails: look at `gantry db spool status`"


class SpoolFull(SpoolError):
    """Nothing was written: the spool has reached its bound or the disk has no space left."""


class SpoolFailed(SpoolError):
    """The disk failed; the payload was not promised, and the segment takes no more."""


class SpoolClosed(SpoolError):
    """The spool was used before it was started or after it was closed."""


class MessageTooLarge(PersistenceError):
    """A batch for the writer is larger than a message between deployments may be."""

    advice = "it is larger than a message between deployments: raise RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"


class KeyRefused(PersistenceError):
    """What was asked of the stored API keys cannot be; the message says why and what to do."""


class InvalidCursor(PersistenceError):
    """The cursor of a page was not made by `DecisionRepository.page`."""


class PruningRefused(PersistenceError):
    """Something younger than the instant may still be needed; the message says what, and since when."""


class BackupMissing(PersistenceError):
    """What is about to happen needs a backup that there is not, or that is too old."""


class InvalidBackup(PersistenceError):
    """The file is not a whole backup, or cannot become one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The decision, the SHA-256 that was asked for, and the one that was found (None: unreadable)."""

    decision_id: str
    wanted_sha256: str
    found_sha256: str | None


class PayloadMismatch(PersistenceError):
    """Two payloads under one decision id, or a stored payload that is not what its digest says."""

    def __init__(self, mismatches: Iterable[Mismatch]) -> None:
        self.mismatches = tuple(mismatches)
        super().__init__("; ".join(_described(mismatch) for mismatch in self.mismatches))

    def __reduce__(self) -> tuple[type[PayloadMismatch], tuple[tuple[Mismatch, ...]]]:
        return (type(self), (self.mismatches,))


class DatabaseError(PersistenceError):
    """The database refused, for a reason that a person has to look at."""

    advice = "run `gantry db check`, which says what is wrong with it"


class DatabaseUnavailable(DatabaseError):
    """The database may do the same in a moment."""

    advice = "it is unreachable, read-only or busy, and is tried again by itself"


class DataRejected(DatabaseError):
    """The database will never accept this data."""

    advice = "the database rejects what is in it"


class DatabaseAccessDenied(DatabaseError):
    """The user, the password or the grants are wrong."""

    advice = "user, password or grants are wrong: mend GANTRY_DATABASE_URL or the grants"


class InvalidDatabaseUrl(DatabaseError):
    """The URL is malformed, or names a kind of database that Gantry does not use."""

    advice = "GANTRY_DATABASE_URL names no database that can be used"


class SchemaMismatch(DatabaseError):
    """The schema of the database is not the one that this program was written for."""

    advice = "its schema is not the one of this program: run `gantry db upgrade`"


class FoundBy(StrEnum):
    """Who found it: a reader of the decision, the background sample, the writer, or the spool."""

    READ = "read"
    SAMPLE = "sample"
    WRITE = "write"
    SPOOL = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionEvent:
    """One finding; `detail` names the decision and both digests, or the damaged place."""

    found_by: FoundBy
    detail: str


CorruptionListener = Callable[[CorruptionEvent], None]


class CorruptionLog:
    """All events of this process. `report` is for the event loop's thread and never blocks."""

    def __init__(self) -> None:
        self.count = 0
        self.last: CorruptionEvent | None = None
        self._listeners: list[CorruptionListener] = []

    def listen(self, listener: CorruptionListener) -> None:
        """`listener` is told each further event; it must neither block nor raise."""
        self._listeners.append(listener)

    def report(self, event: CorruptionEvent) -> None:
        """Count it, log it as an alarm and pass it on."""
        self.count += 1
        self.last = event
        _log.error("corruption found by %s: %s", event.found_by.value, event.detail, extra={"alarm": "corruption"})
        for listener in self._listeners:
            listener(event)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around a read of payloads: a damaged one is reported before it is raised on."""
        try:
            yield
        except PayloadMismatch as mismatch:
            self.report(CorruptionEvent(found_by=FoundBy.READ, detail=str(mismatch)))
            raise

    def found_by_writer(self, detail: str) -> None:
        """Report a second payload under a decision's id."""
        self.report(CorruptionEvent(found_by=FoundBy.WRITE, detail=detail))


def _described(mismatch: Mismatch) -> str:
    found = mismatch.found_sha256 or "unreadable"
    return f"payload of decision {mismatch.decision_id} must have SHA-256 {mismatch.wanted_sha256}, was {found}"
