"""What really happened: actual completions and ratings, which exist for the arm that served alone.

Windows switch between the arms, so the difference is estimated over windows: each counts with the inverse of its
chance to have had its arm (Horvitz and Thompson 1952), less what the windows before it were like. That is unbiased
and slow: "not enough data" is the usual answer for months, and it is given.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from deployments.rollout.assignment import Arm
from deployments.rollout.confidence import Interval, MeanSequence, RateSequence

DISPLAY_ALPHA = 0.05
SATISFIED_RATING = 4
DEVIATION_FLOORS = {"on_time_percent": 0.1, "delay_hours": 0.01}


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedJob:
    """One job of a served schedule that has ended. `begun_under` is the arm that served when it began, None: unknown.

    `share` is the challenger's part of the windows when the schedule was assigned; `due_at` is None without a due date.
    """

    unit: str
    at: datetime
    stage: str
    share: float
    arm: Arm
    job_id: str
    completed_at: datetime
    planned_end_at: datetime
    due_at: datetime | None = None
    begun_under: Arm | None = None

    @property
    def is_comparable(self) -> bool:
        """Whether the serving arm is to be praised or blamed for it."""
        return self.begun_under in (None, self.arm)

    @property
    def delay_hours(self) -> float:
        """Actual less planned end; negative when it ended early."""
        return (self.completed_at - self.planned_end_at).total_seconds() / 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What a planner thought of a served schedule, 1 (bad) to 5 (good)."""

    at: datetime
    stage: str
    arm: Arm
    rating: int

    def __post_init__(self) -> None:
        if not 1 <= self.rating <= 5:
            raise ValueError(f"rating must be between 1 and 5, was {self.rating}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedArm:
    """Means over jobs of one arm in one stage; None where no job says anything."""

    stage: str
    arm: Arm
    windows: int
    jobs: int
    excluded: int
    on_time_percent: float | None
    delay_hours: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedEffect:
    """Challenger less champion of one measure over `windows`; no interval: not enough data."""

    name: str
    windows: int
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Satisfaction:
    """Ratings of one arm; `satisfied` is the rate of ratings of at least four."""

    arm: Arm
    ratings: int
    mean: float
    satisfied: Interval


def realised_arms(jobs: Iterable[RealisedJob]) -> tuple[RealisedArm, ...]:
    """By stage and served arm. Jobs that began under the other arm are counted as excluded and nothing else."""
    groups: dict[tuple[str, Arm], list[RealisedJob]] = defaultdict(list)
    for job in jobs:
        groups[(job.stage, job.arm)].append(job)
    return tuple(_arm(stage, arm, group) for (stage, arm), group in sorted(groups.items()))


def realised_effects(jobs: Iterable[RealisedJob]) -> tuple[RealisedEffect, ...]:
    """The difference between the arms, from the windows in which both had a chance."""
    windows: dict[str, list[RealisedJob]] = defaultdict(list)
    for job in jobs:
        if job.is_comparable and 0.0 < job.share < 1.0:
            windows[job.unit].append(job)
    ordered = sorted(windows.values(), key=lambda window: min(job.at for job in window))
    return tuple(_effect(name, ordered) for name in DEVIATION_FLOORS)


def satisfaction(ratings: Iterable[Rating]) -> tuple[Satisfaction, ...]:
    """By served arm; an arm without ratings is absent."""
    groups: dict[Arm, list[int]] = defaultdict(list)
    for rating in ratings:
        groups[rating.arm].append(rating.rating)
    found = []
    for arm, values in sorted(groups.items()):
        satisfied = sum(value >= SATISFIED_RATING for value in values)
        interval = RateSequence(prior=(1.0, 1.0), trials=len(values), events=satisfied).interval(DISPLAY_ALPHA)
        assert interval is not None
        found.append(Satisfaction(arm=arm, ratings=len(values), mean=sum(values) / len(values), satisfied=interval))
    return tuple(found)


def _arm(stage: str, arm: Arm, group: Sequence[RealisedJob]) -> RealisedArm:
    kept = [job for job in group if job.is_comparable]
    measures = _measures(kept)
    return RealisedArm(
        stage=stage,
        arm=arm,
        windows=len({job.unit for job in kept}),
        jobs=len(kept),
        excluded=len(group) - len(kept),
        on_time_percent=measures.get("on_time_percent"),
        delay_hours=measures.get("delay_hours"),
    )


def _measures(jobs: Sequence[RealisedJob]) -> Mapping[str, float]:
    """Means over jobs; a measure of which no job knows anything is absent."""
    found: dict[str, float] = {}
    due = [job.completed_at <= job.due_at for job in jobs if job.due_at is not None]
    if due:
        found["on_time_percent"] = 100.0 * sum(due) / len(due)
    if jobs:
        found["delay_hours"] = sum(job.delay_hours for job in jobs) / len(jobs)
    return found


def _effect(name: str, windows: Sequence[Sequence[RealisedJob]]) -> RealisedEffect:
    sequence, level, seen = MeanSequence(deviation_floor=DEVIATION_FLOORS[name]), 0.0, 0
    for window in windows:
        value = _measures(window).get(name)
        if value is None:
            continue
        share, is_challenger = window[0].share, window[0].arm is Arm.PPO
        # Centred on what came before, which the arm of this window cannot have changed.
        weight = 1.0 / share if is_challenger else -1.0 / (1.0 - share)
        sequence.add((value - (level if seen else value)) * weight)
        seen += 1
        level += (value - level) / seen
    return RealisedEffect(name=name, windows=seen, interval=sequence.interval(DISPLAY_ALPHA))
