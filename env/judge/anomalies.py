"""What is suspicious about a schedule that may well be valid: measures held against thresholds.

Like is compared with like: a makespan with what the same work allows, a machine with those that could have taken
its work. What no other plan could do better is no anomaly.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from statistics import median
from typing import NamedTuple

from env.judge.bound import MakespanBound
from env.judge.case import Case, Work
from env.judge.verdict import Anomaly, AnomalyCode
from env.problem import SECONDS_PER_HOUR, Operation
from env.schedule import Measures

MIN_HISTORY = 5
"""So many similar schedules make a history; with fewer nothing is compared with it."""
SIMILAR_SIZE = 2.0
"""Plans are of similar size when neither's lower bound is more than so many times the other's."""
MAX_SUSPECTS = 20
"""So many machines are looked at for imbalance, those that work most."""
FITTING_DAYS_SECONDS = 28 * 86_400
"""Openings of so many days tell how much of them work can use that must fit inside one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundedMakespan:
    """What a plan took, and the lower bound of its problem: together they can be compared with another plant's day."""

    makespan_seconds: int
    bound_seconds: int

    @property
    def ratio(self) -> float:
        """Makespan over bound, 1 or more for a valid plan. Only with a bound above 0."""
        return self.makespan_seconds / self.bound_seconds

    def is_like(self, other: BoundedMakespan) -> bool:
        """Whether both have something to do, and about as much."""
        smaller, larger = sorted((self.bound_seconds, other.bound_seconds))
        return smaller > 0 and larger <= SIMILAR_SIZE * smaller


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyLimits:
    """Thresholds; a measure exactly at its threshold is no anomaly, and None switches one off. At first all are off.

    `min_utilisation_percent` is of the utilisation that the same work could reach, `max_load_over_mean_ratio` of the
    work that a machine would have after sharing with those that could have taken some; it is less where so few could
    that none can be so far above. Raises `ValueError` when a threshold is negative or not finite.
    """

    max_makespan_hours: float | None = None
    max_makespan_over_baseline_percent: float | None = None
    max_makespan_from_history_percent: float | None = None
    min_utilisation_percent: float | None = None
    min_completion_percent: float | None = None
    max_load_over_mean_ratio: float | None = None

    def __post_init__(self) -> None:
        for threshold in fields(self):
            value = getattr(self, threshold.name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{threshold.name} must be >= 0 and finite, or None, was {value}")


def anomalies(
    case: Case,
    measures: Measures,
    bound: MakespanBound,
    limits: AnomalyLimits,
    baseline_makespan_seconds: int | None = None,
    recent_makespans: Sequence[BoundedMakespan] = (),
) -> tuple[Anomaly, ...]:
    """Each measure of the case's schedule that lies beyond its limit, in the order of `AnomalyCode`.

    The baseline is the makespan of another plan for the same problem; without one, or with one of 0,
    nothing is compared with it. The recent makespans are those of the same plant's earlier schedules; with fewer
    than `MIN_HISTORY` of similar size nothing is compared with them.
    """
    placed = _placed(case)
    return (
        *_makespan(measures, limits, baseline_makespan_seconds),
        *_history(measures, bound, limits, recent_makespans),
        *_utilisation(case, measures, bound, limits, placed),
        *_completion(measures, limits),
        *_imbalance(case, bound, limits, placed),
    )


def _makespan(measures: Measures, limits: AnomalyLimits, baseline_seconds: int | None) -> Iterator[Anomaly]:
    hours = measures.makespan_seconds / SECONDS_PER_HOUR
    if limits.max_makespan_hours is not None and hours > limits.max_makespan_hours:
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_ABOVE_LIMIT,
            message=f"The makespan is {hours:.1f} h; it should be at most {limits.max_makespan_hours:g} h.",
            value=hours,
            limit=limits.max_makespan_hours,
        )
    if limits.max_makespan_over_baseline_percent is None or not baseline_seconds:
        return
    excess = 100.0 * (measures.makespan_seconds - baseline_seconds) / baseline_seconds
    if excess > limits.max_makespan_over_baseline_percent:
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_ABOVE_BASELINE,
            message=f"The makespan is {excess:.1f} % longer than the baseline's; "
            f"it should be at most {limits.max_makespan_over_baseline_percent:g} % longer.",
            value=excess,
            limit=limits.max_makespan_over_baseline_percent,
        )


def _history(
    measures: Measures, bound: MakespanBound, limits: AnomalyLimits, recent: Sequence[BoundedMakespan]
) -> Iterator[Anomaly]:
    """The median, because one breakdown among the recent schedules must not move what is usual."""
    if limits.max_makespan_from_history_percent is None or len(recent) < MIN_HISTORY:
        return
    here = BoundedMakespan(makespan_seconds=measures.makespan_seconds, bound_seconds=bound.seconds)
    ratios = [each.ratio for each in recent if each.is_like(here)]
    if len(ratios) < MIN_HISTORY:
        return
    usual = median(ratios)
    deviation = 100.0 * abs(here.ratio - usual) / usual
    if deviation > limits.max_makespan_from_history_percent:
        longer = "longer" if here.ratio > usual else "shorter"
        yield Anomaly(
            code=AnomalyCode.MAKESPAN_UNLIKE_HISTORY,
            message=f"The makespan is {here.ratio:.2f} times its lower bound, {deviation:.1f} % {longer} than usual "
            f"({usual:.2f} times in the plant's last {len(ratios)} schedules of similar size); it should be at most "
            f"{limits.max_makespan_from_history_percent:g} % from it.",
            value=deviation,
            limit=limits.max_makespan_from_history_percent,
        )


def _utilisation(
    case: Case, measures: Measures, bound: MakespanBound, limits: AnomalyLimits, placed: Mapping[str, Work]
) -> Iterator[Anomaly]:
    """Work that could have been done no sooner leaves machines idle in every plan: that part is nobody's fault."""
    share, used = limits.min_utilisation_percent, measures.key_figures.utilisation_percent
    if share is None or used >= share or not measures.open_seconds:
        return
    reachable = _reachable_percent(case, measures, bound, placed)
    if used < share * reachable / 100.0:
        yield Anomaly(
            code=AnomalyCode.LOW_UTILISATION,
            message=f"Machines work {used:.1f} % of their open time, where this work could reach {reachable:.1f} %; "
            f"it should be at least {share:g} % of that.",
            value=used,
            limit=share * reachable / 100.0,
        )


def _reachable_percent(case: Case, measures: Measures, bound: MakespanBound, placed: Mapping[str, Work]) -> float:
    """The utilisation when the same work, with the setups that it took, ends as soon as it possibly could.

    100 when nothing stands against working all the time, as when nothing is to be done.
    """
    fitting = _fitting_share(case, measures.makespan_seconds)
    durations = {}
    for operation in case.problem.operations:
        work = placed.get(operation.id)
        seconds = 0 if work is None else work.seconds
        durations[operation.id] = seconds if operation.interruptible else round(seconds / fitting(seconds))
    until = min(measures.makespan_seconds, bound.seconds_with(durations))
    opened = sum(case.hours.of_each[index].between(0, until) for index in case.problem.usable_machines)
    return min(100.0, 100.0 * measures.working_seconds / opened) if opened else 100.0


def _fitting_share(case: Case, makespan_seconds: int) -> Callable[[int], float]:
    openings = case.hours.plant.flat().openings(0, min(makespan_seconds, FITTING_DAYS_SECONDS))
    lengths = [end - start for start, end in openings]

    @cache
    def share(seconds: int) -> float:
        """Which part of the open time work can use that takes so long and must not pause."""
        used = sum(length // seconds * seconds for length in lengths) if seconds else 0
        return used / sum(lengths) if used else 1.0

    return share


def _completion(measures: Measures, limits: AnomalyLimits) -> Iterator[Anomaly]:
    complete, least_complete = measures.key_figures.completion_percent, limits.min_completion_percent
    if least_complete is not None and complete < least_complete:
        yield Anomaly(
            code=AnomalyCode.INCOMPLETE,
            message=f"{complete:.1f} % of the operations are scheduled; it should be at least {least_complete:g} %.",
            value=complete,
            limit=least_complete,
        )


def _imbalance(
    case: Case, bound: MakespanBound, limits: AnomalyLimits, placed: Mapping[str, Work]
) -> Iterator[Anomaly]:
    """The machine that works the most times what it would if others had taken what waited for it, if too many."""
    if limits.max_load_over_mean_ratio is None:
        return
    uneven = _Loads(case, bound, placed).uneven(limits.max_load_over_mean_ratio)
    worst = max(uneven, key=lambda each: each.ratio, default=None)
    if worst is not None:
        machine = case.problem.machines[worst.machine]
        yield Anomaly(
            code=AnomalyCode.LOAD_IMBALANCE,
            message=f"Machine {machine.id} works {worst.ratio:.1f} times as long as it would if the machines that "
            f"could do so had taken some of its work; it should be at most {worst.limit:g} times.",
            value=worst.ratio,
            limit=worst.limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """A machine works `ratio` times as long as if all that could do its work had shared it, which is above `limit`."""

    machine: int
    ratio: float
    limit: float


@dataclass(slots=True)
class _Peer:
    """A machine that could take work of another one: how much of it, and how long that would take here."""

    takes_seconds: int = 0
    takes_here_seconds: int = 0


class _Held(NamedTuple):
    """Work on a machine, how long it works, and when its material and the work ahead of it were ready."""

    job_id: str
    operation: Operation
    work: Work
    seconds: int
    ready: int


class _Loads:
    """Working seconds of each machine, by index, and who could have relieved whom."""

    def __init__(self, case: Case, bound: MakespanBound, placed: Mapping[str, Work]) -> None:
        self._case = case
        self._bound = bound
        self._loads = [0] * len(case.problem.machines)
        self._held_by: list[list[_Held]] = [[] for _ in self._loads]
        for job in case.problem.jobs:
            ready = 0
            for operation in job.operations:
                work = placed.get(operation.id)
                if work is None:
                    continue
                ready = max(ready, operation.release_seconds)
                held = _Held(job.id, operation, work, work.seconds, ready)
                for machine in work.machines:
                    self._loads[machine] += work.seconds
                    self._held_by[machine].append(held)
                ready = work.end

    def uneven(self, load_over_mean: float) -> Iterator[_Share]:
        """Of the machines that work most those that are above the limit, busiest first."""
        busiest = sorted(range(len(self._loads)), key=lambda machine: (-self._loads[machine], machine))
        for machine in busiest[:MAX_SUSPECTS]:
            moving, least = self._moving(machine)
            # Most machines are done with here: whatever the others took, it could not be enough.
            if moving and self._loads[machine] > _limit(load_over_mean, 2) * least:
                share = self._share(machine, moving, least, load_over_mean)
                if share is not None:
                    yield share

    def _moving(self, machine: int) -> tuple[list[_Held], int]:
        """What others could have taken of the machine's work, and how much it would have to do at least.

        Work that nobody else can do, that did not wait for other work here, or that follows other work of the same
        job here would gain nothing elsewhere.
        """
        moving, stays, free_from, of_job = [], 0, 0, Counter[str]()
        for held in sorted(self._held_by[machine], key=lambda each: each.work.start):
            of_job[held.job_id] += held.seconds
            if self._waited(held, machine, free_from) and self._can_move(held.operation):
                moving.append(held)
            else:
                stays += held.seconds
            free_from = max(free_from, held.work.end)
        return moving, max(stays, *of_job.values(), 0)

    def _share(self, machine: int, moving: Sequence[_Held], least: int, load_over_mean: float) -> _Share | None:
        """None when it is not above the limit."""
        peers: dict[int, _Peer] = {}
        for held in moving:
            _offer(held.operation, held.seconds, machine, peers)
        together, load = {machine, *peers}, self._loads[machine]
        least_or_mean = max(least, sum(self._loads[each] for each in together) / len(together))
        offers = self._offers(machine, peers, until=max(held.work.end for held in moving))

        def is_enough(level: int) -> bool:
            """Whether the others, none of them with more than the level, could take what the machine has above it."""
            taken = sum(min(takes, max(0, min(level - begins, free)) * speed) for begins, free, speed, takes in offers)
            return load - taken <= level

        limit = _limit(load_over_mean, len(together))
        if load <= limit * least_or_mean or (limit > 0 and not is_enough(math.ceil(load / limit))):
            return None
        ratio = load / max(least_or_mean, bisect_left(range(load), True, key=is_enough))
        return _Share(machine=machine, ratio=ratio, limit=limit) if ratio > limit else None

    def _offers(self, machine: int, peers: Mapping[int, _Peer], until: int) -> list[tuple[int, int, float, int]]:
        """Of each peer the load it begins with, how much more it can do by `until`, its speed, and what it can take."""
        busy = self._case.problem.machines[machine].busy_seconds
        offers = []
        for index, peer in peers.items():
            earlier = self._case.problem.machines[index].busy_seconds
            free = self._case.hours.of_each[index].between(0, until) - earlier - self._loads[index]
            begins = max(0, self._loads[index] + earlier - busy)
            offers.append((begins, free, peer.takes_seconds / max(1, peer.takes_here_seconds), peer.takes_seconds))
        return offers

    def _waited(self, held: _Held, machine: int, free_from: int) -> bool:
        """Whether it waited for the machine, and not, as work that must not pause may, for a longer opening."""
        idle = (
            0 if held.operation.interruptible else self._case.hours.of_each[machine].between(free_from, held.work.start)
        )
        return free_from > held.ready and idle <= 0

    def _can_move(self, operation: Operation) -> bool:
        """Whether several machines could do it, each alone."""
        count = len(operation.alternatives)
        return operation.pin is None and count > 1 and len(self._bound.machines_of(operation)) == count


def _limit(load_over_mean: float, machines: int) -> float:
    """At most two thirds of the way from an even share to everything on one machine; of two, 2 is all there is."""
    return min(load_over_mean, (1 + 2 * machines) / 3)


def _offer(operation: Operation, seconds: int, machine: int, peers: dict[int, _Peer]) -> None:
    """Adds work of so many seconds to what each of its other machines could take."""
    for alternative in operation.alternatives:
        if alternative.machine != machine:
            peer = peers.get(alternative.machine)
            if peer is None:
                peer = peers[alternative.machine] = _Peer()
            peer.takes_seconds += seconds
            peer.takes_here_seconds += alternative.duration_seconds


def _placed(case: Case) -> Mapping[str, Work]:
    """Operation id -> its (last) work, where it can be done there and then."""
    return {
        work.assignment.operation_id: work
        for work in case.works
        if work.operation is not None and work.alternative is not None and work.is_timed
    }
