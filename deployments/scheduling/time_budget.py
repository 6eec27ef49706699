"""What time and load cost: how long an answer may take, budgets that shrink before anyone is refused, and threads."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from deployments.runtime.background import Threads

FULL_UP_TO = 2
NOTHING_FROM = 8
"""Of one router. Two of them share a machine by default, and each knows its own requests only."""
ANSWER_SECONDS = 1.0
ANSWER_SECONDS_PER_OPERATION = 0.001
MAX_CALLS = 3
MAX_REPEATS = 10.0
REPEATS_PER_ANSWER = 0.1
LOSSES_SECONDS = 10.0
MIN_LOSSES = 3
Result = TypeVar("Result")
LARGE_BODY_BYTES = 64 * 1024
"""Bodies below this are worked on in place: some hundred jobs take less time than a change of thread is worth."""
OFFLOAD = Threads("the work on large bodies", 4)
"""For what takes the time of this process and waits for nothing: parsing, translating, encoding, inflating."""
# While others are answered, whoever waits looks this often whether they still are.
_SLICE_SECONDS = 0.1


class Patience:
    """How long the arms and the judge may take for one request, so that its answer is there in time whatever dies.

    An answer has its time budget, `ANSWER_SECONDS`, and a term in operations. A policy is waited for until half of
    what comes on top of the budget is left. The other half is for the rule and for verdicts, and a quarter is the
    least that any verdict gets.
    """

    def __init__(self, budget_ms: int, operations: int, clock: Callable[[], float]) -> None:
        on_top = ANSWER_SECONDS + ANSWER_SECONDS_PER_OPERATION * operations
        self._clock = clock
        self._end = clock() + budget_ms / 1000 + on_top
        self._half, self._quarter = on_top / 2, on_top / 4

    def proposal_seconds(self) -> float:
        """How long a policy may still take for its proposal."""
        return max(0.0, self._end - self._half - self._clock())

    def verdict_seconds(self, *, is_last: bool) -> float:
        """How long a verdict may take now; one that is not the last leaves time for another."""
        end = self._end if is_last else self._end - self._quarter
        return max(self._quarter, end - self._clock())


class RepeatAllowance:
    """How many questions may be asked a second time while the first call still runs: a few at once, then one in ten.

    Whoever is overloaded would otherwise get twice the work.
    """

    def __init__(self) -> None:
        self._left = MAX_REPEATS

    def earn(self) -> None:
        """A question was answered."""
        self._left = min(MAX_REPEATS, self._left + REPEATS_PER_ANSWER)

    def spend(self) -> bool:
        """Whether one may be asked again now."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


async def first_answer(
    ask: Callable[[], Coroutine[Any, Any, Result]],
    seconds: float,
    *,
    is_worth_waiting: Callable[[], bool],
    allowance: RepeatAllowance,
) -> Result:
    """The first answer to a question that is asked again, besides, of somebody else while nobody answers.

    Raises what was raised when no call is left, and `TimeoutError` after `seconds`; later only for as long as
    `is_worth_waiting`, which is asked again and again.
    """
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    end, calls, made = begun_at + seconds, set[asyncio.Task[Result]](), 0
    try:
        while True:
            now = loop.time()
            if now >= end and not is_worth_waiting():
                raise TimeoutError
            if made < MAX_CALLS and now >= begun_at + made * seconds / 2:
                if not made or allowance.spend():
                    calls.add(asyncio.create_task(ask()))
                made += 1
            next_at = begun_at + made * seconds / 2 if made < MAX_CALLS else end
            pause = _SLICE_SECONDS if now >= end else min(end, next_at) - now
            done, calls = await asyncio.wait(calls, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            failures = [_failure_of(call) for call in done]
            for call, failure in zip(done, failures, strict=True):
                if failure is None:
                    allowance.earn()
                    return call.result()
            if not calls:
                raise next(filter(None, failures))
    finally:
        for call in calls:
            call.cancel()


def _failure_of(call: asyncio.Task[Any]) -> BaseException | None:
    return TimeoutError("called off at the far side") if call.cancelled() else call.exception()


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


async def run_blocking(body_bytes: int, work: Callable[[], Result]) -> Result:
    """The result of `work`, which takes time in proportion to a body of `body_bytes`. Raises `Overloaded`."""
    return work() if body_bytes < LARGE_BODY_BYTES else await OFFLOAD.run(work)
