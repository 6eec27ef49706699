"""What each arm planned and what really happened, by stage and week."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from deployments.rollout.analysis.confidence import Interval, RateSequence
from deployments.rollout.analysis.outcomes import KPI_NAMES, Evaluation, PairedObservation, pairs_of
from deployments.rollout.analysis.regression import RealisedWindow, realised_effect
from deployments.rollout.assignment import ArmRole, PlanningWindow, planning_window
from deployments.rollout.ramp.state import Stage

DISPLAY_ALPHA = 0.05
SATISFIED_RATING = 4
DEVIATION_FLOORS = {"on_time_percent": 0.1, "lead_time_hours": 0.01}
"""What is asked of completions, and the least standard deviation that is believed."""
PLANNED = ("makespan_seconds", "tardiness_seconds", "on_time_percent")
"""Planned figures of both arms, by which it is told how hard a window is."""
HOURS_OF_A_DAY = 24.0
_NO_WINDOW = PlanningWindow(plant_id="", line_id=None, day=date.min)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """One arm in one stage or week: how its evaluations ended, and its planned KPIs where both arms have a plan.

    Means over job lists, replans of one together, and over the same lists in both arms: else the arm that answered
    what is easy would look the better one.
    """

    group: str
    arm: ArmRole
    evaluations: int
    served: int
    outcomes: dict[str, int]
    kpis: dict[str, float | None] | None
    latency_ms: dict[str, float] | None


def week_of(at: datetime) -> str:
    """The ISO week of an instant."""
    year, week, _ = at.isocalendar()
    return f"{year}-W{week:02}"


def figures_of(evaluations: Iterable[Evaluation], group_of: Callable[[Evaluation], str]) -> tuple[ArmFigures, ...]:
    """For each group and arm, stages in the order of the ramp; forced requests are left out."""
    groups: dict[tuple[str, ArmRole], list[Evaluation]] = defaultdict(list)
    found = list(evaluations)
    compared = {pair.decision_id for pair in pairs_of(found)}
    for evaluation in found:
        if not evaluation.is_forced:
            groups[(group_of(evaluation), evaluation.arm)].append(evaluation)
    order = {stage.value: place for place, stage in enumerate(Stage)}
    ordered = sorted(groups.items(), key=lambda item: (order.get(item[0][0], 0), item[0]))
    return tuple(_arm_figures(group, arm, members, compared) for (group, arm), members in ordered)


def _arm_figures(group: str, arm: ArmRole, members: Sequence[Evaluation], compared: Container[str]) -> ArmFigures:
    found = [member for member in members if member.decision_id in compared]
    latencies = sorted(member.latency_ms for member in members if member.latency_ms is not None)
    return ArmFigures(
        group=group,
        arm=arm,
        evaluations=len(members),
        served=sum(member.is_served for member in members),
        outcomes=dict(Counter(member.outcome.value for member in members)),
        kpis={name: _mean_of(found, name) for name in KPI_NAMES} if found else None,
        latency_ms={"p50": _quantile(latencies, 0.5), "p95": _quantile(latencies, 0.95)} if latencies else None,
    )


def _mean_of(members: Iterable[Evaluation], name: str) -> float | None:
    """The mean over job lists, of those that there are; rows of earlier versions lack some."""
    lists: dict[tuple[str, str], list[float]] = defaultdict(list)
    for member in members:
        value = getattr(member.figures, name)
        if value is not None:
            lists[(member.unit, member.job_list_digest)].append(value)
    means = [sum(values) / len(values) for values in lists.values()]
    return sum(means) / len(means) if means else None


def _quantile(ordered: Sequence[float], quantile: float) -> float:
    return ordered[min(len(ordered) - 1, math.ceil(quantile * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedJob:
    """One job of a served schedule that has ended. `begun_under` is the arm that served when it began, None: unknown.

    `share` is the challenger's part of the windows when the schedule was assigned; `due_at` is None without a due date,
    and `released_at` where nothing told when the job may begin: then it was asked for at `at`. `begins_after_hours` is
    from the begin of the window's day to where the plan begins the job, None where it is not known.
    """

    unit: str
    at: datetime
    stage: str
    share: float
    arm: ArmRole
    job_id: str
    completed_at: datetime
    planned_end_at: datetime
    due_at: datetime | None = None
    begun_under: ArmRole | None = None
    released_at: datetime | None = None
    begins_after_hours: float | None = None

    @property
    def lead_time_hours(self) -> float:
        """From when it was there to be worked on to its completion."""
        there = self.at if self.released_at is None else max(self.at, self.released_at)
        return (self.completed_at - there).total_seconds() / 3600.0

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
    arm: ArmRole
    rating: int

    def __post_init__(self) -> None:
        if not 1 <= self.rating <= 5:
            raise ValueError(f"rating must be between 1 and 5, was {self.rating}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedArm:
    """Means over jobs of one arm in one stage; None where no job says anything."""

    stage: str
    arm: ArmRole
    windows: int
    jobs: int
    excluded: int
    on_time_percent: float | None
    delay_hours: float | None
    lead_time_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisedEffect:
    """Challenger less champion of one measure over `windows`; no interval: not enough data.

    `with_switches`: with what began in the first third of a window after the arm has changed.
    """

    name: str
    windows: int
    interval: Interval | None
    with_switches: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Satisfaction:
    """Ratings of one arm; `satisfied` is the rate of ratings of at least four."""

    arm: ArmRole
    ratings: int
    mean: float
    satisfied: Interval


def realised_arms(jobs: Iterable[RealisedJob]) -> tuple[RealisedArm, ...]:
    """By stage and served arm. Jobs that began under the other arm are counted as excluded and nothing else."""
    groups: dict[tuple[str, ArmRole], list[RealisedJob]] = defaultdict(list)
    for job in jobs:
        groups[(job.stage, job.arm)].append(job)
    return tuple(_arm(stage, arm, group) for (stage, arm), group in sorted(groups.items()))


def realised_effects(
    jobs: Iterable[RealisedJob], planned: Mapping[str, tuple[float, ...]] | None = None
) -> tuple[RealisedEffect, ...]:
    """The difference between the arms, from the windows in which both had a chance; by completions, never by a plan.

    `planned` is what both arms planned of each unit. Without the first third of a window after a switch of the arm, and
    with it.
    """
    windows: dict[str, list[RealisedJob]] = defaultdict(list)
    for job in jobs:
        if job.is_comparable and 0.0 < job.share < 1.0:
            windows[job.unit].append(job)
    both = ((_without_switches(windows), False), (windows, True))
    return tuple(
        _effect(name, found, planned or {}, with_switches=with_switches)
        for name in DEVIATION_FLOORS
        for found, with_switches in both
    )


def satisfaction(ratings: Iterable[Rating]) -> tuple[Satisfaction, ...]:
    """By served arm; an arm without ratings is absent."""
    groups: dict[ArmRole, list[int]] = defaultdict(list)
    for rating in ratings:
        groups[rating.arm].append(rating.rating)
    found = []
    for arm, values in sorted(groups.items()):
        satisfied = sum(value >= SATISFIED_RATING for value in values)
        interval = RateSequence(prior=(1.0, 1.0), trials=len(values), events=satisfied).interval(DISPLAY_ALPHA)
        assert interval is not None
        found.append(Satisfaction(arm=arm, ratings=len(values), mean=sum(values) / len(values), satisfied=interval))
    return tuple(found)


def _arm(stage: str, arm: ArmRole, group: Sequence[RealisedJob]) -> RealisedArm:
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
        lead_time_hours=measures.get("lead_time_hours"),
    )


def _measures(jobs: Sequence[RealisedJob]) -> Mapping[str, float]:
    """Means over jobs; a measure of which no job knows anything is absent."""
    found: dict[str, float] = {}
    due = [job.completed_at <= job.due_at for job in jobs if job.due_at is not None]
    if due:
        found["on_time_percent"] = 100.0 * sum(due) / len(due)
    if jobs:
        found["delay_hours"] = sum(job.delay_hours for job in jobs) / len(jobs)
        found["lead_time_hours"] = sum(job.lead_time_hours for job in jobs) / len(jobs)
    return found


def _without_switches(windows: Mapping[str, Sequence[RealisedJob]]) -> dict[str, list[RealisedJob]]:
    """The same without the jobs that begin in the first third of a window whose line had the other arm before it.

    They work on what the other arm has left. The window before is the last one of the line of which jobs are known. It
    is a third of the hours in which the line begins work on any day, since most plants rest at night.
    """
    kept: dict[str, list[RealisedJob]] = {}
    arms: dict[tuple[str, str | None], ArmRole] = {}
    planned = {unit: planning_window(unit) for unit in windows}
    hours: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for unit, window in planned.items():
        if window is not None:
            begins = (job.begins_after_hours for job in windows[unit])
            own = (hour for hour in begins if hour is not None and 0.0 <= hour < HOURS_OF_A_DAY)
            hours[(window.plant_id, window.line_id)].extend(own)
    ends = {line: min(found) + (max(found) - min(found)) / 3.0 for line, found in hours.items() if found}
    for unit in sorted(windows, key=lambda unit: (planned[unit] or _NO_WINDOW).day):
        window, arm = planned[unit], windows[unit][0].arm
        line = None if window is None else (window.plant_id, window.line_id)
        end = -math.inf if line is None or arms.get(line, arm) is arm else ends.get(line, -math.inf)
        kept[unit] = [job for job in windows[unit] if job.begins_after_hours is None or job.begins_after_hours >= end]
        if line is not None:
            arms[line] = arm
    return {unit: jobs for unit, jobs in kept.items() if jobs}


def planned_figures(pairs: Iterable[PairedObservation]) -> dict[str, tuple[float, ...]]:
    """What both arms planned on the first list of each unit: of challenger, then champion, one of `PLANNED` each.

    Of the first alone, because what is asked for later may depend on the arm that serves.
    """
    found: dict[str, tuple[float, ...]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.at):
        if pair.figures is not None:
            found.setdefault(pair.unit, tuple(float(getattr(arm, name)) for arm in pair.figures for name in PLANNED))
    return found


def _effect(
    name: str,
    windows: Mapping[str, Sequence[RealisedJob]],
    planned: Mapping[str, tuple[float, ...]],
    *,
    with_switches: bool,
) -> RealisedEffect:
    """In the order in which the windows were asked for."""
    ordered = sorted(windows.items(), key=lambda window: min(job.at for job in window[1]))
    found = [
        RealisedWindow(
            share=jobs[0].share,
            is_challenger=jobs[0].arm is ArmRole.PPO,
            outcome=value,
            planned=planned.get(unit, ()),
        )
        for unit, jobs in ordered
        if (value := _measures(jobs).get(name)) is not None
    ]
    sequence = realised_effect(found, deviation_floor=DEVIATION_FLOORS[name])
    interval = sequence.interval(DISPLAY_ALPHA)
    return RealisedEffect(name=name, windows=len(found), interval=interval, with_switches=with_switches)
