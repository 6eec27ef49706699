"""The claims of idempotency keys in the database, and what this router tells others about its spool there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from typing import Protocol, TypeVar

from sqlalchemy import Engine

from deployments.errors import ClaimUnavailable
from deployments.persistence.claim_words import ClaimKey, Finished, Outcome, Wanted
from deployments.persistence.claims import GONE_FOR_GOOD, ClaimRepository, claim_work
from deployments.persistence.errors import DatabaseError, DatabaseUnavailable, SpoolError

LONGEST_WAIT_SECONDS = 10.0
_ATTEMPTS = 3
_RETRY_AFTER_SECONDS = 5
_REPORT_SECONDS = 1.0
_REPORTS_BETWEEN_CLEANINGS = 300
_UNAVAILABLE = "a request with Idempotency-Key waits for the database, which does not answer; without it none does"
_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class StoredClaims:
    """Works in threads that it shares with nobody who could do without the database."""

    def __init__(
        self, engine: Engine, threads: Executor, *, longest_wait_seconds: float = LONGEST_WAIT_SECONDS
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._longest_wait_seconds = longest_wait_seconds

    async def claim(self, wanted: Wanted) -> Outcome:
        """Takes the claim, or says how it stands. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.claim(wanted))

    async def renew(self, claim: ClaimKey, decision_id: str, lease_seconds: float) -> bool:
        """Whether the claim is still that decision's; its lease then begins anew. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.renew(claim, decision_id, lease_seconds))

    async def finish(self, claim: ClaimKey, decision_id: str, finished: Finished) -> None:
        """Keeps the answer. Raises `ClaimUnavailable`."""
        await self._do(lambda claims: claims.finish(claim, decision_id, finished))

    async def release(self, claim: ClaimKey, decision_id: str) -> None:
        """Frees the claim of a decision that will never be. Raises `ClaimUnavailable`."""
        await self._do(lambda claims: claims.release(claim, decision_id))

    async def now(self) -> datetime:
        """The database's clock. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.now())

    async def report_drained(self, owner_id: str, drained_until: datetime) -> None:
        """All that the owner began to append before then is stored. Raises `ClaimUnavailable`."""
        await self._do(lambda claims: claims.report_drained(owner_id, drained_until))

    async def forget_expired(self) -> int:
        """Deletes some answers whose time is over; how many. Raises `ClaimUnavailable`."""
        return await self._do(lambda claims: claims.forget_expired())

    async def _do(self, work: Callable[[ClaimRepository], _Result]) -> _Result:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._longest_wait_seconds):
                return await loop.run_in_executor(self._threads, self._in_transaction, work)
        except (TimeoutError, DatabaseError) as error:
            _log.warning("claims cannot be had: %s", error or "no answer in time")
            raise ClaimUnavailable(_UNAVAILABLE, _RETRY_AFTER_SECONDS) from error

    def _in_transaction(self, work: Callable[[ClaimRepository], _Result]) -> _Result:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with claim_work(self._engine) as claims:
                    return work(claims)
            except DatabaseUnavailable:
                # Two claims of one key may meet in a deadlock: one of them is to try again.
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")


class OwnSpool(Protocol):
    """The spool of this router, as far as others must know of it."""

    @property
    def owner_id(self) -> str:
        """Who appends here."""
        ...

    async def wait_until_drained(self) -> None:
        """Returns when everything whose append began before this call is stored."""
        ...

    async def departed_owners(self) -> list[str]:
        """Owners that are dead, and whose every record is stored."""
        ...

    async def forget_owner(self, owner_id: str) -> None:
        """A departed owner needs no more attention."""
        ...


class DrainReports:
    """One background task: tells the database up to when this router, and dead ones of its folder, are drained."""

    def __init__(self, spool: OwnSpool, claims: StoredClaims, *, pause_seconds: float = _REPORT_SECONDS) -> None:
        self._spool = spool
        self._claims = claims
        self._pause_seconds = pause_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.create_task(self._report_for_ever(), name="drain reports")

    async def stop(self) -> None:
        """Report no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def report_once(self) -> None:
        """Raises `ClaimUnavailable` or `SpoolError`."""
        for owner_id in await self._spool.departed_owners():
            await self._claims.report_drained(owner_id, GONE_FOR_GOOD)
            await self._spool.forget_owner(owner_id)
        # Read before the wait begins: whatever was appended before this instant is stored after it.
        now = await self._claims.now()
        await self._spool.wait_until_drained()
        await self._claims.report_drained(self._spool.owner_id, now)

    async def _report_for_ever(self) -> None:
        rounds = 0
        while True:
            try:
                await self.report_once()
                if rounds % _REPORTS_BETWEEN_CLEANINGS == 0:
                    await self._claims.forget_expired()
                rounds += 1
            except (ClaimUnavailable, SpoolError) as error:
                _log.debug("what is drained cannot be told now: %s", error)
            await asyncio.sleep(self._pause_seconds)
