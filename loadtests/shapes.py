"""How many clients there are at which second of a run, as pure functions of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping

SECONDS_PER_DAY = 86_400.0
# Clients per hour of a plant's day: the night is idle, shifts begin at 6:30 and 14:30, planners replan at noon.
_DAY_PROFILE = (0, 0, 0, 0, 0, 1, 6, 4, 3, 3, 3, 3, 6, 4, 6, 5, 3, 3, 2, 2, 2, 1, 1, 1)
_BURST_STARTS_AT, _BURST_ENDS_AT = 0.35, 0.65
_BURST_FACTOR = 12

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
