"""Idempotency keys: a request that names one is decided once, however often and wherever it arrives.

A key is claimed in the database before anything is decided, with a lease that is renewed meanwhile. The claim
travels with the decision through the spool, so that whoever stores the decision also finishes the claim. Once
the lease may have ended nothing is appended under it any more: that lets another router take over.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from uuid6 import uuid7

from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.errors import ClaimUnavailable, InvalidRequest, KeyConflict, KeyInUse, MalformedBody
from deployments.persistence.decisions.records import (
    ClaimKey,
    ClaimMark,
    ClaimOutcome,
    DecisionRecord,
    Finished,
    Granted,
    OtherBody,
    Running,
    Wanted,
)
from deployments.runtime.background import DetachedTasks
from env.errors import InvalidProblem

KEPT_SECONDS = 24 * 3600.0
LEASE_SECONDS = 30.0
# No append begins this close to the end of a lease: the way to the disk takes a moment.
MARGIN_SECONDS = 5.0
_FINISH_SECONDS = 1.0
_RETRY_AFTER_SECONDS = 1
_KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_LOST = "the lease of the Idempotency-Key ended while the request ran; send it again to learn what became of it"
_log = logging.getLogger(__name__)


class Claims(Protocol):
    """The claims, wherever they are kept. Every method raises `ClaimUnavailable` when they cannot be had now."""

    async def claim(self, wanted: Wanted) -> ClaimOutcome:
        """Takes the claim, or says how it stands."""
        ...

    async def renew(self, claim: ClaimKey, decision_id: str, lease_seconds: float) -> bool:
        """Whether the claim is still that decision's; its lease then begins anew."""
        ...

    async def finish(self, claim: ClaimKey, decision_id: str, finished: Finished) -> None:
        """Keeps the answer."""
        ...

    async def release(self, claim: ClaimKey, decision_id: str) -> None:
        """Frees the claim of a decision that will never be."""
        ...


@dataclass(slots=True, kw_only=True)
class Lease:
    """The right to make one decision under one key. `held_until` is on this process's steady clock."""

    claim: ClaimKey
    decision_id: str
    held_until: float
    stopwatch: Callable[[], float]
    has_appended: bool = field(default=False, init=False)

    def begin_append(self) -> None:
        """From here on there may be a decision. Raises `ClaimUnavailable` when somebody else may be deciding."""
        if self.stopwatch() >= self.held_until - MARGIN_SECONDS:
            raise ClaimUnavailable(_LOST, _RETRY_AFTER_SECONDS)
        self.has_appended = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayable:
    """One answer under a key; `is_replayed` unless it was made just now."""

    finished: Finished
    is_replayed: bool


Act = Callable[[Lease], Awaitable[Finished]]


class Idempotency:
    """Decides each key once. `owner_id` names the spool that this router appends to."""

    def __init__(
        self,
        claims: Claims,
        *,
        owner_id: str,
        lease_seconds: float = LEASE_SECONDS,
        kept_seconds: float = KEPT_SECONDS,
        stopwatch: Callable[[], float] = time.monotonic,
        new_id: Callable[[], object] = uuid7,
    ) -> None:
        self._claims = claims
        self._owner_id = owner_id
        self._lease_seconds = lease_seconds
        self._kept_seconds = kept_seconds
        self._stopwatch = stopwatch
        self._new_id = new_id
        self._farewells = DetachedTasks()

    async def once(self, claim: ClaimKey, request_sha256: str, act: Act) -> Replayable:
        """The answer of `act`, or the one that was given before.

        `act` returns what is to be kept, and raises for what is not. Raises `KeyConflict`, `KeyInUse`,
        `ClaimUnavailable`, and whatever `act` raises.
        """
        asked_at = self._stopwatch()
        wanted = Wanted(
            claim=claim,
            request_sha256=request_sha256,
            decision_id=str(self._new_id()),
            owner_id=self._owner_id,
            lease_seconds=self._lease_seconds,
            kept_seconds=self._kept_seconds,
        )
        match await self._claims.claim(wanted):
            case Finished() as finished:
                return Replayable(finished=finished, is_replayed=True)
            case OtherBody():
                raise KeyConflict(f"the Idempotency-Key {claim.key!r} stands for another request: use a new one")
            case Running():
                message = f"the request with the Idempotency-Key {claim.key!r} is still running"
                raise KeyInUse(message, _RETRY_AFTER_SECONDS)
            case Granted():
                lease = Lease(
                    claim=claim,
                    decision_id=wanted.decision_id,
                    held_until=asked_at + self._lease_seconds,
                    stopwatch=self._stopwatch,
                )
                return Replayable(finished=await self._act(lease, act), is_replayed=False)

    async def close(self) -> None:
        """Finishes what is still to be told the database, for a moment."""
        await self._farewells.finish(timeout_seconds=1.0)

    async def _act(self, lease: Lease, act: Act) -> Finished:
        renewing = asyncio.create_task(self._renew_for_ever(lease), name="renew lease")
        try:
            finished = await act(lease)
        except BaseException as error:
            # A decision that may be in the spool finishes its claim itself, when it is stored.
            if not lease.has_appended:
                told = self._say(self._claims.release(lease.claim, lease.decision_id))
                await self._wait_for(told, isinstance(error, Exception))
            raise
        finally:
            renewing.cancel()
        # The decision's own way to the database finishes the claim, too, if this does not come through.
        told = self._say(self._claims.finish(lease.claim, lease.decision_id, finished))
        await self._wait_for(told, True)
        return finished

    async def _wait_for(self, told: asyncio.Task[None], is_client_there: bool) -> None:
        """Not for long, and only so that the same key, sent again at once, finds what became of it."""
        if is_client_there:
            await asyncio.wait({told}, timeout=_FINISH_SECONDS)

    async def _renew_for_ever(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            asked_at = self._stopwatch()
            try:
                if not await self._claims.renew(lease.claim, lease.decision_id, self._lease_seconds):
                    return
            except ClaimUnavailable as error:
                _log.warning("the lease of an idempotency key could not be renewed: %s", error)
            else:
                lease.held_until = asked_at + self._lease_seconds

    def _say(self, telling: Awaitable[None]) -> asyncio.Task[None]:
        """Tells the database in the background, also when the client has hung up."""

        async def told() -> None:
            try:
                await telling
            except ClaimUnavailable as error:
                _log.warning("an idempotency key could not be finished or freed: %s", error)

        return self._farewells.start(told(), "finish claim")


def under_claim(record: DecisionRecord, lease: Lease, answer: bytes) -> DecisionRecord:
    """The record with the key that it was made under, and the answer to replay when it keeps none itself."""
    kept = None if record.answer is not None else answer
    return replace(record, claim=ClaimMark(route=lease.claim.route, key=lease.claim.key, answer=kept))


def require_key(header: str) -> str:
    """The key that a header carries. Raises `InvalidRequest`."""
    if not _KEY.fullmatch(header):
        message = f"must be 1 to 255 printable ASCII characters, was {header[:100]!r}"
        raise InvalidRequest((("Idempotency-Key", message),))
    return header


def is_kept(error: Exception, request: ScheduleRequest | None) -> bool:
    """Whether the same body (as far as it was read: `request`) would be refused for ever, whatever else changes."""
    if request is None:
        return isinstance(error, MalformedBody | InvalidRequest)
    asks_others = request.previous_schedule_id is not None or request.arm is not None
    depends_on_others = request.is_incomplete or asks_others
    return isinstance(error, InvalidProblem) and not depends_on_others and request.schedule_start is not None
