"""What load costs: budgets that shrink before anyone is refused, and threads."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from deployments.errors import Overloaded
from deployments.runtime.background import Threads

MAX_WAITED_SECONDS = 10.0
"""The longest time budget of an answer that its client waits for. Whatever ends a request, a replica or a connection
waits longer than this."""
FULL_UP_TO, NOTHING_FROM = 1.0, 4.0
"""Requests in flight for each core: the share of a budget that is granted falls from one to the other."""
MAX_SECONDS = 0.5
"""So long a request may take beside the others, and `MAX_CROWD` times what it takes alone, or it is refused: far from
the second for which a policy is waited for."""
MAX_CROWD = 2.0
FIRST_SECONDS_OF_A_BYTE = 1e-6
"""Some 60 ms for 170 jobs, until the first requests tell."""
MIN_BODY_BYTES = 10_000
"""What a request costs however small it is counts as if it had so many."""
MAX_LEARNED, LEARNED_SHARE = 4.0, 0.05
AGED_SECONDS = 2.0
"""From the first refusal of a large request: so long others are let in as before, then as many as leave it room."""
MAX_AGED_SECONDS = 60.0
"""Room is kept no longer, whatever the client was told to wait."""
LOSSES_SECONDS = 10.0
MIN_LOSSES = 3
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
LARGE_BODY_BYTES = 64 * 1024
"""Bodies below this are worked on in place: some hundred jobs take less time than a change of thread is worth."""
OFFLOAD = Threads("the work on large bodies", 4)
"""For what takes the time of this process and waits for nothing: parsing, translating, encoding, inflating."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimit:
    """The longest time budget that a request gets whose client waits, and the name of what says so."""

    milliseconds: int
    source: str

    @classmethod
    def of(cls, max_budget_seconds: float, request_seconds: float) -> BudgetLimit:
        """`MAX_WAITED_SECONDS`, or less by the settings: half of the time of a request must be left for the rest."""
        seconds, source = min(
            (MAX_WAITED_SECONDS, f"an answer that is waited for gets at most {MAX_WAITED_SECONDS:g} s"),
            (max_budget_seconds, f"GANTRY_MAX_BUDGET_SECONDS is {max_budget_seconds:g}"),
            (
                request_seconds / 2,
                f"GANTRY_REQUEST_TIMEOUT_SECONDS is {request_seconds:g}, of which half may be searched",
            ),
        )
        return cls(milliseconds=int(1000 * seconds), source=source)

    @classmethod
    def unattended(cls, max_budget_seconds: float) -> BudgetLimit:
        """Where nobody waits for the answer."""
        source = f"GANTRY_MAX_BUDGET_SECONDS is {max_budget_seconds:g}"
        return cls(milliseconds=int(1000 * max_budget_seconds), source=source)

    def cut(self, asked_ms: int) -> int:
        """What is left of a budget."""
        return min(asked_ms, self.milliseconds)

    def warnings(self, asked_ms: int, *, is_named: bool) -> tuple[str, ...]:
        """One sentence where a budget that the client has named was cut."""
        if not is_named or asked_ms <= self.milliseconds:
            return ()
        return (f"time_budget_ms was cut from {asked_ms:,} to {self.milliseconds:,}: {self.source}",)


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


class SharedLoad(Protocol):
    """How many requests all routers of this machine have in flight: each says its own number."""

    def set(self, count: int) -> None:
        """So many are in flight in this router."""
        ...

    def of_others(self) -> int:
        """So many are in the other routers."""
        ...


class _Alone:
    """`SharedLoad` of the only router, or of one that cannot hear of others."""

    def set(self, count: int) -> None:
        """Nobody asks."""

    def of_others(self) -> int:
        """There are none."""
        return 0


class LoadShedding:
    """What the machine has to do: budgets shrink first, then newcomers are refused, before anybody waits for long.

    Requests that are in flight together share the cores evenly, so each takes as many times longer as there are
    requests for a core (processor sharing, as in Kleinrock, *Queueing Systems* 2, 1976, section 4.4). What a request
    costs alone is learned from how long those before it took, in seconds for each byte of its body.

    The larger a request is, the fewer may be beside it, so under many small ones it would wait for a lull for ever. So
    refusals age: `AGED_SECONDS` after the first of a large request smaller ones are let in only as long as there is
    room for it, too, until it has come again, or has not in time. Not for several threads.
    """

    def __init__(
        self, cores: int, others: SharedLoad | None = None, stopwatch: Callable[[], float] = time.perf_counter
    ) -> None:
        if cores < 1:
            raise ValueError(f"cores must be at least 1, was {cores}")
        self._cores = cores
        self._others = others or _Alone()
        self._stopwatch = stopwatch
        self._in_flight = 0
        # What any request has got of a core that was in flight all the time.
        self._service_seconds, self._counted_at = 0.0, stopwatch()
        self._seconds_of_a_byte = FIRST_SECONDS_OF_A_BYTE
        self._refused: _Refused | None = None

    @property
    def in_flight(self) -> int:
        """Requests of all routers of the machine."""
        return self._in_flight + self._others.of_others()

    @property
    def in_flight_here(self) -> int:
        """Those of this router."""
        return self._in_flight

    def require_room(self, body_bytes: int) -> None:
        """Raises `Overloaded` when one more request with so large a body would take too long beside the others."""
        alone, now = self._alone(body_bytes), self._stopwatch()
        crowd = max(1.0, (self.in_flight + 1) / self._cores)
        retry_after = math.ceil(alone * crowd)
        if not _has_room(alone, crowd):
            self._note_refusal(body_bytes, now, retry_after)
            raise Overloaded(
                f"{self.in_flight} requests are under way on this machine, and one more would take "
                f"{alone * crowd:.1f} s",
                retry_after,
            )
        larger = self._refused_before(now)
        if larger is None or body_bytes >= larger.body_bytes or now - larger.first_at < AGED_SECONDS:
            return
        # With this one and with the larger one besides.
        if not _has_room(self._alone(larger.body_bytes), max(1.0, (self.in_flight + 2) / self._cores)):
            raise Overloaded(
                f"{self.in_flight} requests are under way on this machine, and a larger one has waited for "
                f"{now - larger.first_at:.0f} s",
                retry_after,
            )

    @contextmanager
    def request(self, body_bytes: int) -> Iterator[WorkInFlight]:
        """Around all work on one request; what it cost is learned when it comes to its end without an error."""
        self._count(1)
        if self._refused is not None and body_bytes >= self._refused.body_bytes:
            self._refused = None
        begun, service_before = self._counted_at, self._service_seconds
        work = WorkInFlight(body_bytes=body_bytes)
        try:
            yield work
            self._count(0)
            service, seconds = self._service_seconds - service_before, self._counted_at - begun
            searched = work.searched_seconds * service / seconds if seconds > 0.0 else 0.0
            if work.is_typical:
                self._learn(max(0.0, service - searched) / max(work.body_bytes, MIN_BODY_BYTES))
        finally:
            self._count(-1)

    def afforded_ms(self, asked_ms: int) -> int:
        """What a request in flight that asks for a budget gets now: all while each has a core, in the end nothing."""
        share = (NOTHING_FROM - self.in_flight / self._cores) / (NOTHING_FROM - FULL_UP_TO)
        return int(asked_ms * min(1.0, max(0.0, share)))

    def _refused_before(self, now: float) -> _Refused | None:
        """The refused request that room is kept for; None, and forgotten, when it has not come again in time."""
        if self._refused is not None and now > self._refused.kept_until:
            self._refused = None
        return self._refused

    def _note_refusal(self, body_bytes: int, now: float, retry_after: int) -> None:
        before = self._refused_before(now)
        if before is not None and body_bytes < before.body_bytes:
            return
        self._refused = _Refused(
            body_bytes=body_bytes,
            first_at=now if before is None else before.first_at,
            # Clients come a little after they were told to, and the next one may be told the same.
            kept_until=now + min(AGED_SECONDS + 2.0 * retry_after, MAX_AGED_SECONDS),
        )

    def _alone(self, body_bytes: int) -> float:
        return self._seconds_of_a_byte * max(body_bytes, MIN_BODY_BYTES)

    def _count(self, change: int) -> None:
        now = self._stopwatch()
        share = min(1.0, self._cores / max(1, self.in_flight))
        self._service_seconds += (now - self._counted_at) * share
        self._counted_at = now
        self._in_flight += change
        self._others.set(self._in_flight)

    def _learn(self, seconds_of_a_byte: float) -> None:
        known = self._seconds_of_a_byte
        # One that hung for some reason of its own says little about the next.
        found = min(max(seconds_of_a_byte, known / MAX_LEARNED), known * MAX_LEARNED)
        self._seconds_of_a_byte = known + LEARNED_SHARE * (found - known)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """The largest request that was refused and has not been let in since; instants by the stopwatch, in seconds."""

    body_bytes: int
    first_at: float
    kept_until: float


def _has_room(alone: float, crowd: float) -> bool:
    """Whether a request that takes `alone` seconds by itself may take `crowd` times as long."""
    return alone * crowd <= MAX_SECONDS + MAX_CROWD * alone


@dataclass(slots=True, kw_only=True)
class WorkInFlight:
    """One request's work: `searched_seconds` of its time budget were used.

    `body_bytes` are those of the body once it is filled from the plant's data. It is not typical when an arm came to
    nothing: then most of its time was spent in waiting, and nobody works meanwhile.
    """

    body_bytes: int
    searched_seconds: float = 0.0
    is_typical: bool = True


async def run_blocking(
    body_bytes: int, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """The result of `work`, which takes time in proportion to a body of `body_bytes`. Raises `Overloaded`."""
    if body_bytes < LARGE_BODY_BYTES:
        return work(*args, **kwargs)
    return await OFFLOAD.run(partial(work, *args, **kwargs))
