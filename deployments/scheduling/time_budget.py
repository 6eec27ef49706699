"""What load costs: budgets that shrink before anyone is refused, and threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from deployments.runtime.background import Threads

FULL_UP_TO = 2
NOTHING_FROM = 8
"""Of one router. Two of them share a machine by default, and each knows its own requests only."""
LOSSES_SECONDS = 10.0
MIN_LOSSES = 3
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
LARGE_BODY_BYTES = 64 * 1024
"""Bodies below this are worked on in place: some hundred jobs take less time than a change of thread is worth."""
OFFLOAD = Threads("the work on large bodies", 4)
"""For what takes the time of this process and waits for nothing: parsing, translating, encoding, inflating."""


class RecentLosses:
    """Which of the requests of the last `LOSSES_SECONDS` were lost to an arm that had no room or no time for them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: deque[tuple[float, bool]] = deque(maxlen=1000)

    def note(self, *, is_lost: bool) -> None:
        """One more request of the arm."""
        self._requests.append((self._clock(), is_lost))

    def counts(self) -> tuple[int, int]:
        """How many were lost, of how many; none at all below `MIN_LOSSES`."""
        begin = self._clock() - LOSSES_SECONDS
        recent = [is_lost for at, is_lost in self._requests if at >= begin]
        lost = sum(recent)
        return (lost, len(recent)) if lost >= MIN_LOSSES else (0, len(recent))


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


async def run_blocking(
    body_bytes: int, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """The result of `work`, which takes time in proportion to a body of `body_bytes`. Raises `Overloaded`."""
    if body_bytes < LARGE_BODY_BYTES:
        return work(*args, **kwargs)
    return await OFFLOAD.run(partial(work, *args, **kwargs))
