"""What a load is and what must hold under it: requests, how many clients at which second, and which goals were missed.

Locust is not imported here: it replaces threads, on which Ray would wait for ever.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Clients per hour of a plant's day: the night is idle, shifts begin at 6:30 and 14:30, planners replan at noon.
_DAY_PROFILE = (0, 0, 0, 0, 0, 1, 6, 4, 3, 3, 3, 3, 6, 4, 6, 5, 3, 3, 2, 2, 2, 1, 1, 1)
_BURST_STARTS_AT, _BURST_ENDS_AT = 0.35, 0.65
_BURST_FACTOR = 12
JOB_COUNT = 170
_FAMILY_LENGTH = 5
_MACHINES_PER_TYPE = 3
_MACHINE_TYPE_COUNT = 7
Shape = Callable[[float, int], int]


def constant(progress: float, clients: int) -> int:  # noqa: ARG001
    """`clients`, from the first second to the last. `progress` runs from 0 to 1."""
    return clients


def burst(progress: float, clients: int) -> int:
    """`clients`, but twelve times as many in the middle third."""
    return clients * (_BURST_FACTOR if _BURST_STARTS_AT <= progress < _BURST_ENDS_AT else 1)


def day(progress: float, clients: int) -> int:
    """A plant's day compressed into the run; `clients` is the count at its quietest busy hour."""
    hour = int(progress * len(_DAY_PROFILE)) % len(_DAY_PROFILE)
    return max(1, clients * _DAY_PROFILE[hour])


SHAPES: Mapping[str, Shape] = {"constant": constant, "burst": burst, "day": day}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run. Requests that were shed on purpose (429, 503 with Retry-After) are counted apart from the others."""

    requests: int
    failures: int
    shed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def success_percent(self) -> float:
        """Share of the requests that were not shed and got a complete, valid schedule."""
        return 100.0 * (self.requests - self.failures) / self.requests if self.requests else 0.0

    @property
    def error_percent(self) -> float:
        """Share of the requests that were not shed and failed."""
        return 100.0 - self.success_percent

    @property
    def shed_percent(self) -> float:
        """Share of all requests that the service asked to come back later."""
        offered = self.requests + self.shed
        return 100.0 * self.shed / offered if offered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """Limits of one run; inclusive, except those that are named `below`."""

    min_requests: int = 100
    min_success_percent: float = 99.9
    error_percent_below: float = 1.0
    p95_ms_below: float = 2000.0
    max_shed_percent: float = 100.0

    def missed(self, measured: Measured) -> Iterator[str]:
        """One line for each goal that was missed, with what was required and what was found."""
        if measured.requests < self.min_requests:
            yield f"requests must be >= {self.min_requests}, was {measured.requests}"
        if measured.success_percent < self.min_success_percent:
            yield f"success must be >= {self.min_success_percent} %, was {measured.success_percent:.3f} %"
        if measured.error_percent >= self.error_percent_below:
            yield f"errors must be < {self.error_percent_below} %, was {measured.error_percent:.3f} %"
        if measured.p95_ms >= self.p95_ms_below:
            yield f"p95 must be < {self.p95_ms_below:.0f} ms, was {measured.p95_ms:.0f} ms"
        if measured.shed_percent > self.max_shed_percent:
            yield f"shed must be <= {self.max_shed_percent} %, was {measured.shed_percent:.1f} %"


# A burst may ask for more than the machine has; then shedding is the right answer, and it is only reported.
GOALS = {
    "constant": Goals(max_shed_percent=1.0),
    "burst": Goals(),
    "day": Goals(),
}


def plant_request(rng: random.Random) -> dict[str, Any]:
    """One request of a generated plant: 34 families of five jobs on 21 machines of seven types."""
    return {
        "request_id": f"load-{uuid.uuid4()}",
        "schedule_start": "2026-01-05T06:30:00",
        "jobs": [_job(rng, family, sequence) for family in range(JOB_COUNT // _FAMILY_LENGTH) for sequence in range(5)],
        "machines": [
            {"machine_id": kind * 10 + index, "machine_name": f"M{kind}{index}", "machine_type": kind}
            for kind in range(1, _MACHINE_TYPE_COUNT + 1)
            for index in range(_MACHINES_PER_TYPE)
        ],
    }


def _job(rng: random.Random, family: int, sequence: int) -> dict[str, Any]:
    return {
        "job_id": f"F{family:02}-{sequence}",
        "family_id": f"F{family:02}",
        "sequence": sequence + 1,
        "processing_time": round(rng.uniform(0.2, 4.0), 2),
        "setup_time": 0.3,
        "machine_types": rng.sample(range(1, _MACHINE_TYPE_COUNT + 1), k=rng.choice((1, 1, 2))),
        "priority": rng.randint(1, 3),
        "is_important": rng.random() < 0.2,
        "lcd_date": f"2026-01-{rng.randint(7, 20):02}T18:00:00",
    }
