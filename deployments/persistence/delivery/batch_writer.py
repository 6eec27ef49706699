"""Spooled payloads into the database, exactly once: retried when it may help, bisected when a row is to blame."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_exponential

from deployments.persistence.decisions.records import DecisionRecord, Record, payload_digest, record_of
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.errors import DatabaseUnavailable, DataRejected, PayloadMismatch
from deployments.persistence.spool.dead_letters import DeadLetter, DeadLetterKind


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """`accepted` payloads are in the database, committed; the `poisoned` ones never will be."""

    accepted: int
    poisoned: tuple[DeadLetter, ...] = ()

    @property
    def mismatch_count(self) -> int:
        """Payloads whose decision id is taken by another payload, or whose digest is not their own."""
        return sum(letter.kind is DeadLetterKind.MISMATCH for letter in self.poisoned)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most `attempts` transactions, with pauses that double from `first_pause_seconds`.

    None begins when `max_seconds` have passed: whoever waits for the report has patience of its own.
    """

    attempts: int = 5
    first_pause_seconds: float = 0.05
    max_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be >= 1, was {self.attempts}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    payload: bytes
    record: Record

    def dead(self, kind: DeadLetterKind, reason: object, cause: str = "") -> DeadLetter:
        return DeadLetter(payload=self.payload, kind=kind, reason=str(reason), cause=cause)


class DecisionWriter:
    """Stateless over an engine, so any number of writers may run, in any threads."""

    def __init__(
        self, engine: Engine, *, retry: RetryPolicy | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._engine = engine
        policy = retry or RetryPolicy()
        self._retrying = Retrying(
            retry=retry_if_exception_type(DatabaseUnavailable),
            stop=stop_after_attempt(policy.attempts) | stop_after_delay(policy.max_seconds),
            wait=wait_exponential(multiplier=policy.first_pause_seconds),
            sleep=sleep,
            reraise=True,
        )

    def write(self, payloads: Sequence[bytes]) -> WriteReport:
        """Every payload is committed or reported as poisoned when this returns. Blocking.

        Raises `DatabaseUnavailable` when the retries are used up and `DatabaseError` for what only a
        person can mend; some of the payloads may be committed then, and writing all again is harmless.
        """
        letters: list[_Letter] = []
        poisoned: list[DeadLetter] = []
        for payload in payloads:
            opened = _opened(payload)
            if isinstance(opened, DeadLetter):
                poisoned.append(opened)
            else:
                letters.append(opened)
        poisoned += self._store(letters)
        return WriteReport(accepted=len(payloads) - len(poisoned), poisoned=tuple(poisoned))

    def _store(self, letters: Sequence[_Letter]) -> list[DeadLetter]:
        if not letters:
            return []
        try:
            self._retrying(self._insert, [letter.record for letter in letters])
        except PayloadMismatch as mismatch:
            return self._store_without(letters, mismatch)
        except DataRejected as rejection:
            if len(letters) == 1:
                return [letters[0].dead(DeadLetterKind.REJECTED, rejection, rejection.advice)]
            half = len(letters) // 2
            return self._store(letters[:half]) + self._store(letters[half:])
        return []

    def _store_without(self, letters: Sequence[_Letter], mismatch: PayloadMismatch) -> list[DeadLetter]:
        strangers = {(stranger.decision_id, stranger.wanted_sha256) for stranger in mismatch.mismatches}
        dead: list[_Letter] = []
        rest: list[_Letter] = []
        for letter in letters:
            record = letter.record
            is_stranger = (
                isinstance(record, DecisionRecord) and (record.decision_id, record.payload_sha256) in strangers
            )
            (dead if is_stranger else rest).append(letter)
        assert dead, "a mismatch names at least one of the records that were inserted"
        return [letter.dead(DeadLetterKind.MISMATCH, mismatch) for letter in dead] + self._store(rest)

    def _insert(self, records: Sequence[Record]) -> None:
        # After a connection lost during COMMIT the outcome is unknown: only because the insert
        # leaves existing rows alone may it be tried again.
        with unit_of_work(self._engine) as decisions:
            decisions.insert(records)


def _opened(payload: bytes) -> _Letter | DeadLetter:
    try:
        record = record_of(payload)
    except (ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
        reason = f"payload must be a record: {type(error).__name__}: {error}"
        return DeadLetter(payload=payload, kind=DeadLetterKind.UNREADABLE, reason=reason)
    letter = _Letter(payload=payload, record=record)
    if not isinstance(record, DecisionRecord):
        return letter
    digest = payload_digest(record.request, record.answer)
    if digest != record.payload_sha256 and (record.request is not None or record.answer is not None):
        reason = f"digest of decision {record.decision_id} must be {record.payload_sha256}, was {digest}"
        return letter.dead(DeadLetterKind.MISMATCH, reason)
    return letter
