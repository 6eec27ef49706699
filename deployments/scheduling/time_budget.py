"""What load costs: time budgets shrink before anyone is refused, and long work leaves the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

FULL_UP_TO = 2
NOTHING_FROM = 16
Result = TypeVar("Result")
LARGE_BODY_BYTES = 64 * 1024
"""Bodies below this are worked on in place: some hundred jobs take less time than a change of thread is worth."""


class LoadShedding:
    """Counts the requests in flight in one router; not for several threads."""

    def __init__(self, full_up_to: int = FULL_UP_TO, nothing_from: int = NOTHING_FROM) -> None:
        if not 0 < full_up_to < nothing_from:
            raise ValueError(f"full_up_to must be between 0 and nothing_from {nothing_from}, was {full_up_to}")
        self._full_up_to = full_up_to
        self._nothing_from = nothing_from
        self._in_flight = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around all work on one request."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def afforded_ms(self, asked_ms: int) -> int:
        """What a request that asks for a budget gets now; falls linearly between the two limits."""
        over = max(0, self._in_flight - self._full_up_to)
        share = 1.0 - over / (self._nothing_from - self._full_up_to)
        return int(asked_ms * max(0.0, share))


async def run_blocking(body_bytes: int, work: Callable[[], Result]) -> Result:
    """The result of `work`, which takes time in proportion to a body of `body_bytes`."""
    return work() if body_bytes < LARGE_BODY_BYTES else await asyncio.to_thread(work)
