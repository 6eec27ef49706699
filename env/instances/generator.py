"""Problems from a numpy Generator: what policies are trained and validated on.

The spread is deliberate: plants from a handful of operations to some hundreds, one to seven jobs a
machine, from a single eligible machine to nearly all, balanced and with bottlenecks, with machine
types (work centres) or free routing, with own speeds or one speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.random import Generator

from env.problem import Alternative, Changeover, Job, Machine, Objective, Operation, Problem, WorkingHours
from env.simulator.arrays import ProblemArrays, compile_problem
from env.simulator.episode import reward_norm
from env.simulator.rules import Rule, follow_rule, mean_times
from env.simulator.simulation import new_state

ORIGIN = datetime(2026, 1, 5, 6, 30, tzinfo=UTC)
OPEN_SHARE = 85.75 / 168.0
"""Share of a week that is open with the default breaks."""
TARDINESS_FACTOR = (0.0, 0.7)
DUE_DATE_RANGE = (0.2, 1.2)
MAX_DRAWS = 1_000
VALIDATION_SEED = 20_260_105


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """What kind of plant to draw. Pairs are inclusive ranges; sizes are drawn on a logarithmic scale.

    `speed_spread` is the largest relative difference between the machines of an operation (in
    `unrelated_share` of the problems the times on its machines have nothing to do with each other),
    `due_tightness` the due date in units of a job's own work (None: none by own work), `type_share`
    how many problems have equal machines of some types, as a request with `machine_types` has,
    `calendar_share` how many have working hours, and
    `changeover_share` how many have setups that depend on the sequence. `loaded_due_share` of the problems
    have due dates that depend on how much the plant has to do, instead of on each job's own work. Problems whose
    `gap_of_rule` is below `least_gap` are drawn anew, as long as they work at all hours with setups of their own.
    """

    operations: tuple[int, int] = (25, 250)
    operations_per_job: tuple[int, int] = (1, 15)
    machines: tuple[int, int] = (4, 30)
    jobs_per_machine: tuple[float, float] = (0.7, 7.0)
    duration_seconds: tuple[int, int] = (300, 32_400)
    speed_spread: float = 0.5
    setup_seconds: tuple[int, int] = (0, 1_800)
    due_tightness: tuple[float, float] | None = (1.2, 6.0)
    loaded_due_share: float = 0.0
    unrelated_share: float = 0.5
    type_share: float = 0.45
    calendar_share: float = 0.15
    changeover_share: float = 0.15
    objectives: tuple[Objective, ...] = (Objective.MAKESPAN,)
    least_gap: float = 0.0

    def __post_init__(self) -> None:
        for name in ("operations", "operations_per_job", "machines", "jobs_per_machine", "duration_seconds"):
            low, high = getattr(self, name)
            if low > high or low <= 0:
                raise ValueError(f"{name} must be a range of positive numbers, was {(low, high)}")


def random_problem(rng: Generator, plant: Plant | None = None) -> Problem:
    """One problem of the given kind; the same generator state gives the same problem.

    Raises `ValueError` when a thousand draws in a row were too easy.
    """
    plant = plant or Plant()
    for _ in range(MAX_DRAWS):
        problem = _draw(rng, plant)
        has_bound = problem.hours is None and not problem.changeovers
        if plant.least_gap <= 0.0 or not has_bound or gap_of_rule(compile_problem(problem)) >= plant.least_gap:
            return problem
    raise ValueError(f"least_gap must be reached by some problems of the plant, was {plant.least_gap}")


def validation_problems(plant: Plant, count: int) -> list[Problem]:
    """The fixed problems that checkpoints and policies are compared on; no training seed draws the same ones."""
    rng = np.random.default_rng(VALIDATION_SEED)
    return [random_problem(rng, plant) for _ in range(count)]


def gap_of_rule(arrays: ProblemArrays) -> float:
    """How far the composite rule's makespan lies above a lower bound, as a share of it.

    The bound is the longest job, the mean work of all machines, or the work of the busiest of those that the same
    operations share. It holds for plants that work at all hours and whose setups do not depend on the sequence.
    """
    state = new_state(arrays)
    work: dict[tuple[int, ...], int] = {}
    for operation, shortest in enumerate(arrays.operation_shortest.tolist()):
        first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
        shared = tuple(sorted(arrays.pair_machine[first:last].tolist()))
        work[shared] = work.get(shared, 0) + shortest
    busiest = max(seconds / len(shared) for shared, seconds in work.items())
    bound = max(reward_norm(arrays, state), busiest)
    follow_rule(arrays, state, int(Rule.COMPOSITE), mean_times(arrays))
    return float(state.end.max()) / bound - 1.0


def _draw(rng: Generator, plant: Plant) -> Problem:
    length = round(_log_uniform(rng, *plant.operations_per_job))
    job_count = max(2, round(_log_uniform(rng, *plant.operations) / length))
    machine_count = round(job_count / _log_uniform(rng, *plant.jobs_per_machine))
    machine_count = min(max(machine_count, plant.machines[0]), plant.machines[1])
    by_type = bool(rng.random() < plant.type_share)
    centres = _centres(rng, machine_count, by_type)
    shape = _Shape.draw(rng, plant, centres, by_type)
    routes = _Routes(rng, shape, centres)
    groups = _setup_groups(rng, plant)
    jobs = tuple(_job(rng, shape, centres, routes, groups, index, length) for index in range(job_count))
    hours = None
    if rng.random() < plant.calendar_share:
        hours = WorkingHours(origin=ORIGIN + timedelta(hours=int(rng.integers(0, 168))))
    # Nothing is drawn where nobody wants it: the benchmark plants depend on every draw.
    if plant.loaded_due_share > 0.0 and rng.random() < plant.loaded_due_share:
        busy = busiest_seconds(jobs, machine_count) / (1.0 if hours is None else OPEN_SHARE)
        jobs = due_by_load(rng, jobs, busy, TARDINESS_FACTOR, DUE_DATE_RANGE)
    return Problem(
        jobs=jobs,
        machines=tuple(Machine(id=index, name=f"M{index:03}") for index in range(machine_count)),
        hours=hours,
        changeovers=_changeovers(rng, plant, groups),
        objective=plant.objectives[int(rng.integers(len(plant.objectives)))],
    )


def toy_problem() -> Problem:
    """Two jobs on two machines with makespan 5 s at best: both machines work without a pause from 0 to 5.

    Job A: 3 s on machine 0, then 2 s on machine 1. Job B: 3 s on machine 1, then 2 s on machine 0.
    Each job takes 5 s alone, so no schedule is shorter.
    """
    steps = {"A": ((0, 3), (1, 2)), "B": ((1, 3), (0, 2))}
    return Problem(
        name="toy",
        machines=(Machine(id=0, name="left"), Machine(id=1, name="right")),
        jobs=tuple(
            Job(
                id=name,
                operations=tuple(
                    Operation(
                        id=f"{name}{index}",
                        alternatives=(Alternative(machine=machine, processing_seconds=seconds),),
                    )
                    for index, (machine, seconds) in enumerate(route)
                ),
            )
            for name, route in steps.items()
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What all jobs of one problem have in common."""

    flexibility: float
    speed_spread: float
    unrelated_machines: bool
    balanced: bool
    popularity: tuple[float, ...]
    range_seconds: tuple[float, float]
    setup_seconds: tuple[int, int]
    tightness: tuple[float, float] | None
    visits_once: bool
    even_length: bool

    @classmethod
    def draw(cls, rng: Generator, plant: Plant, centres: list[list[int]], by_type: bool) -> _Shape:
        evenness = rng.choice([2.0, 10.0, 100.0])
        size = np.array([len(centre) for centre in centres], dtype=np.float64)
        popularity = rng.gamma(evenness * size, 1.0)
        low, high = plant.duration_seconds
        fastest = _log_uniform(rng, low, high / 2)
        setup = int(rng.integers(plant.setup_seconds[0], plant.setup_seconds[1] + 1))
        tightness = None
        if plant.due_tightness is not None and rng.random() < 0.7:
            first, second = rng.uniform(*plant.due_tightness, size=2)
            tightness = (float(min(first, second)), float(max(first, second)))
        return cls(
            flexibility=1.0 if by_type else float(rng.choice([0.0, 0.2, 0.5, 1.0])),
            speed_spread=0.0 if by_type else plant.speed_spread * float(rng.choice([0.0, 0.2, 1.0])),
            unrelated_machines=not by_type and bool(rng.random() < plant.unrelated_share),
            balanced=bool(rng.random() < 0.6),
            popularity=tuple(popularity / popularity.sum()),
            range_seconds=(fastest, min(float(high), fastest * _log_uniform(rng, 2.0, 99.0))),
            setup_seconds=(setup, setup) if rng.random() < 0.5 else (0, setup),
            tightness=tightness,
            visits_once=bool(rng.random() < 0.5),
            even_length=bool(rng.random() < 0.5),
        )


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _centres(rng: Generator, machine_count: int, by_type: bool) -> list[list[int]]:
    """Machines split into work centres: some machines each, or also one for all or one each."""
    kinds = (max(1, machine_count // 3), max(1, machine_count // 2), 1, machine_count)
    count = kinds[rng.integers(2 if by_type else 4)]
    owner = np.concatenate([np.arange(count), rng.integers(0, count, machine_count - count)])
    return [np.flatnonzero(owner == centre).tolist() for centre in range(count)]


def busiest_seconds(jobs: Sequence[Job], machine_count: int) -> float:
    """Work of the busiest machine when each operation is spread over its alternatives, or of the longest job."""
    load = np.zeros(machine_count)
    longest = 0
    for job in jobs:
        longest = max(longest, _own_seconds(step.alternatives for step in job.operations))
        for step in job.operations:
            for option in step.alternatives:
                load[option.machine] += option.duration_seconds / len(step.alternatives)
    return max(float(load.max()), float(longest))


def _own_seconds(alternatives: Iterable[Sequence[Alternative]]) -> int:
    """Work of a job, from the alternatives of each of its operations, on the fastest machines."""
    return sum(min(option.duration_seconds for option in options) for options in alternatives)


def due_by_load(
    rng: Generator,
    jobs: Sequence[Job],
    makespan_seconds: float,
    tardiness_factor: tuple[float, float],
    due_date_range: tuple[float, float],
) -> tuple[Job, ...]:
    """The jobs with due dates of the usual design for tardiness (Potts and Van Wassenhove 1982).

    Their mean is the makespan times one minus the tardiness factor, which is about the share of jobs that
    are late; they lie within the due date range around it, the whole width as a share of the mean. Factor
    and range are drawn from the two pairs.
    """
    mean = (1.0 - rng.uniform(*tardiness_factor)) * makespan_seconds
    spread = rng.uniform(*due_date_range)
    dues = np.round(mean * (1.0 + spread * rng.uniform(-0.5, 0.5, size=len(jobs)))).tolist()
    return tuple(
        replace(job, operations=tuple(replace(step, due_seconds=int(due)) for step in job.operations))
        for job, due in zip(jobs, dues, strict=True)
    )


def _setup_groups(rng: Generator, plant: Plant) -> list[str]:
    """Names of the setup groups of one problem, none where setups do not depend on the sequence."""
    if rng.random() >= plant.changeover_share:
        return []
    return [f"G{index}" for index in range(int(rng.integers(2, 7)))]


def _changeovers(rng: Generator, plant: Plant, groups: list[str]) -> tuple[Changeover, ...]:
    longest = 2 * plant.setup_seconds[1]
    return tuple(
        Changeover(before=before, after=after, setup_seconds=int(rng.integers(0, longest + 1)))
        for before in groups
        for after in groups
        if before != after
    )


def _job(
    rng: Generator,
    shape: _Shape,
    centres: list[list[int]],
    routes: _Routes,
    groups: list[str],
    index: int,
    length: int,
) -> Job:
    count = length if shape.even_length else int(rng.integers(max(1, length // 2), length + length // 2 + 1))
    important = bool(rng.random() < 0.25)
    group = groups[int(rng.integers(len(groups)))] if groups else None
    alternatives = [_alternatives(rng, shape, centres[centre]) for centre in routes.draw(count)]
    own_work = _own_seconds(alternatives)
    due = None if shape.tightness is None else round(own_work * rng.uniform(*shape.tightness))
    return Job(
        id=f"J{index}",
        operations=tuple(
            Operation(
                id=f"J{index}-{step}",
                alternatives=options,
                due_seconds=due,
                is_important=important,
                weight=4.0 if important else 1.0,
                setup_group=group,
            )
            for step, options in enumerate(alternatives)
        ),
    )


class _Routes:
    """Draws the work centres of one job after the other."""

    def __init__(self, rng: Generator, shape: _Shape, centres: list[list[int]]) -> None:
        self.rng = rng
        self.shape = shape
        self.centre_count = len(centres)
        self.owners = [centre for centre, machines in enumerate(centres) for _ in machines]
        self.deck: list[int] = []

    def draw(self, length: int) -> list[int]:
        """The centres of a job with `length` operations, in order."""
        once = self.shape.visits_once and length <= self.centre_count
        if self.shape.balanced:
            route: list[int] = []
            for _ in range(length):
                route.append(self._deal(route if once else []))
            return route
        chosen = self.rng.choice(self.centre_count, size=length, replace=not once, p=self.shape.popularity)
        return [int(centre) for centre in chosen]

    def _deal(self, visited: list[int]) -> int:
        """The next centre of a shuffled deck with a card for each machine: every machine gets equally much work."""
        while True:
            for place, centre in enumerate(self.deck):
                if centre not in visited:
                    return self.deck.pop(place)
            self.deck += [self.owners[card] for card in self.rng.permutation(len(self.owners))]


def _alternatives(rng: Generator, shape: _Shape, centre: list[int]) -> tuple[Alternative, ...]:
    wanted = shape.flexibility * len(centre) * (1.0 if shape.flexibility == 1.0 else rng.uniform(0.5, 1.5))
    count = max(1, min(len(centre), round(wanted)))
    processing = rng.uniform(*shape.range_seconds)
    setup = int(rng.integers(shape.setup_seconds[0], shape.setup_seconds[1] + 1))
    machines = centre if count == len(centre) else sorted(rng.choice(centre, size=count, replace=False).tolist())
    if shape.unrelated_machines:
        durations = rng.uniform(*shape.range_seconds, size=count)
    else:
        durations = processing * (1.0 + shape.speed_spread * rng.uniform(-1.0, 1.0, size=count))
    return tuple(
        Alternative(machine=machine, processing_seconds=max(1, round(seconds)), setup_seconds=setup)
        for machine, seconds in zip(machines, durations.tolist(), strict=True)
    )
