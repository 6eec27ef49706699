"""What clients sent and heard, and how that compares with the rows of the database."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from deployments.persistence.decisions.records import payload_digest

# After these a client knows that nothing was decided; after anything else but a 200 it does not know.
REFUSED = frozenset({400, 401, 403, 404, 409, 413, 422, 429})


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One request on the wire. `status` None: no answer came. `body_sha256` is of the body of a 200."""

    request_id: str
    key: str | None
    status: int | None = None
    decision_id: str | None = None
    body_sha256: str | None = None
    is_replayed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether its client never learned what came of it."""
        return self.status != 200 and self.status not in REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One decision as it stands in the database; `is_intact` says whether its payload is what its digest says."""

    decision_id: str
    request_id: str
    answer_sha256: str
    is_intact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The audit's verdict; `replayed` counts answers that were given again under a key."""

    attempts: int
    acknowledged: int
    replayed: int
    rows: int
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    mismatched: tuple[str, ...]
    unexplained: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.duplicated or self.mismatched or self.unexplained)


@dataclass(slots=True)
class TransitionLog:
    """All attempts, in the order in which they were made."""

    attempts: list[Attempt] = field(default_factory=list)

    def open(self, request_id: str, key: str | None) -> Attempt:
        """A new attempt, before it is sent."""
        attempt = Attempt(request_id=request_id, key=key)
        self.attempts.append(attempt)
        return attempt

    def balance(self, rows: Iterable[Row]) -> Balance:
        """Every 200 exactly once with an equal hash; every other row explained by an attempt without an outcome.

        A request id belongs to one attempt, or to all attempts under one key: in both cases at most one row.
        """
        rows = list(rows)
        by_id = {row.decision_id: row for row in rows}
        promised = {attempt.decision_id: attempt for attempt in self.attempts if attempt.status == 200}
        open_ids = {attempt.request_id for attempt in self.attempts if attempt.is_open}
        return Balance(
            attempts=len(self.attempts),
            acknowledged=len(promised),
            replayed=sum(attempt.is_replayed for attempt in self.attempts),
            rows=len(rows),
            lost=tuple(str(decision_id) for decision_id in promised if decision_id not in by_id),
            duplicated=tuple(self._duplicated(rows)),
            mismatched=tuple(row.decision_id for row in rows if _is_mismatched(row, promised.get(row.decision_id))),
            unexplained=tuple(
                row.decision_id for row in rows if row.decision_id not in promised and row.request_id not in open_ids
            ),
        )

    def _duplicated(self, rows: list[Row]) -> list[str]:
        stored = Counter(row.request_id for row in rows)
        answered: dict[str, set[str | None]] = {}
        for attempt in self.attempts:
            if attempt.status == 200:
                answered.setdefault(attempt.request_id, set()).add(attempt.decision_id)
        twice_answered = [request_id for request_id, ids in answered.items() if len(ids) > 1]
        return [request_id for request_id, number in stored.items() if number > 1] + twice_answered


def row_of(decision_id: str, request_id: str, request: bytes, answer: bytes, payload_sha256: str) -> Row:
    """A row from the compressed columns of the table, read here without any code of the service's repository."""
    request, answer = zlib.decompress(request), zlib.decompress(answer)
    return Row(
        decision_id=decision_id,
        request_id=request_id,
        answer_sha256=hashlib.sha256(answer).hexdigest(),
        is_intact=payload_digest(request, answer) == payload_sha256,
    )


def _is_mismatched(row: Row, promise: Attempt | None) -> bool:
    return not row.is_intact or (promise is not None and promise.body_sha256 != row.answer_sha256)
