"""Looks, in the background, whether stored decisions still are what was answered: a few at random, again and again."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import numpy as np
from sqlalchemy import Engine

from deployments.persistence.decisions.repository import Inspection, unit_of_work
from deployments.persistence.errors import DatabaseError, Mismatch, PayloadMismatch
from deployments.persistence.integrity.events import CorruptionEvent, CorruptionLog, FoundBy
from deployments.runtime.background import BackgroundTask, Threads

SAMPLE_COUNT = 20
_MAX_ID = 2**128 - 1
_log = logging.getLogger(__name__)


class IntegritySampler(BackgroundTask):
    """Each round verifies the digests of up to `sample_count` decisions that follow a random id, and notices new damage
    in the spool. A decision that was reported is not reported again.
    """

    def __init__(
        self,
        engine: Engine,
        log: CorruptionLog,
        *,
        damaged_regions: Callable[[], int],
        rng: np.random.Generator,
        interval_seconds: float,
        sample_count: int = SAMPLE_COUNT,
    ) -> None:
        super().__init__("integrity", self._look, period_seconds=interval_seconds)
        self._engine = engine
        self._log = log
        self._damaged_regions = damaged_regions
        self._known_regions = damaged_regions()
        self._rng = rng
        self._sample_count = sample_count
        self._reported: set[str] = set()
        self._threads = Threads("integrity", 1)

    async def look_once(self) -> int:
        """How many decisions were verified. Raises `DatabaseError`."""
        regions = self._damaged_regions()
        if regions > self._known_regions:
            detail = f"{regions - self._known_regions} damaged regions in the spool"
            self._log.report(CorruptionEvent(found_by=FoundBy.SPOOL, detail=detail))
        self._known_regions = max(regions, self._known_regions)
        inspection = await self._threads.run(self._inspect)
        for mismatch in inspection.mismatches:
            self._report(mismatch)
        return inspection.verified

    async def _look(self) -> None:
        try:
            await self.look_once()
        except DatabaseError as error:
            _log.info("stored decisions cannot be verified now: %s", error)

    def _inspect(self) -> Inspection:
        with unit_of_work(self._engine) as decisions:
            bounds = decisions.id_bounds()
            if bounds is None:
                return Inspection(verified=0, mismatches=())
            first, last = (uuid.UUID(bound).int for bound in bounds)
            start = first + int(self._rng.random() * (last - first))
            return decisions.inspect(str(uuid.UUID(int=min(start, _MAX_ID))), self._sample_count)

    def _report(self, mismatch: Mismatch) -> None:
        if mismatch.decision_id not in self._reported:
            self._reported.add(mismatch.decision_id)
            self._log.report(CorruptionEvent(found_by=FoundBy.SAMPLE, detail=str(PayloadMismatch([mismatch]))))
