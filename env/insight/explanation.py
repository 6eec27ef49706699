"""Why late work is late: where every second went between the start of the schedule and its end.

Uses the judge's calendar, so that whoever made the schedule does not explain it as well.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import chain

from env.judge.calendar import OpenTime, closed_hours
from env.judge.verdict import amount, machine_words, moment, quantity
from env.problem import Alternative, Closure, Job, Machine, Operation, Problem, WorkingHours
from env.schedule import Assignment, Schedule

MAX_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Work that had the machine first, and for how many seconds of the wait."""

    operation_id: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A closure of one machine, such as a breakdown, that fell into the wait or the work: the whole of it."""

    machine: Machine
    closure: Closure


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedStep:
    """Where the time of one operation went, from the moment when nothing ahead in its job held it back.

    `ready_seconds` is the end of the operation ahead of it; for the first of a job it is second 0, or
    its own start when that is earlier. The eight amounts in seconds divide [ready, end) between them:
    every second belongs to the first one that applies.

    Before the start: `material` (not released yet), `closed` (a machine that it needs is closed),
    `load` (a machine still has its earlier load), `behind` (a machine has other work), `idle` (it could
    have been working: the gap was too short, the work is pinned, or the plan left the machine free).
    From the start on: `paused` (closed again), `setup` and `processing`.

    `ahead` names the last works it was behind, at most `MAX_NAMED`, in the order of time; `ahead_count`
    counts all of them. `outages` are the last closures of its machines alone, as many at most, which made them
    closed while it waited or worked.
    """

    job_id: str
    operation_id: str
    machine_id: int
    ready_seconds: int
    start_seconds: int
    end_seconds: int
    material_seconds: int
    closed_seconds: int
    load_seconds: int
    behind_seconds: int
    idle_seconds: int
    paused_seconds: int
    setup_seconds: int
    processing_seconds: int
    ahead: tuple[Ahead, ...]
    ahead_count: int
    outages: tuple[Outage, ...] = ()

    @property
    def total_seconds(self) -> int:
        """All amounts together, which is the time from ready to end."""
        waiting = self.material_seconds + self.closed_seconds + self.machine_seconds + self.idle_seconds
        return waiting + self.paused_seconds + self.setup_seconds + self.processing_seconds

    @property
    def machine_seconds(self) -> int:
        """Waiting for a machine that was busy, with earlier load or with other work."""
        return self.load_seconds + self.behind_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LateOperation:
    """An operation that ends after its due date.

    `begin_seconds` is where the account of its job begins: second 0, or the start of work that was
    running before. The lateness is what was spent, `previous_seconds` and all amounts of `step`, less
    `available_seconds`.
    """

    step: ExplainedStep
    due_seconds: int
    begin_seconds: int
    previous_id: str | None

    @property
    def previous_seconds(self) -> int:
        """Time until the operation ahead had ended, 0 for the first of a job."""
        return self.step.ready_seconds - self.begin_seconds

    @property
    def available_seconds(self) -> int:
        """Time until the due date, negative when that lies before the begin."""
        return self.due_seconds - self.begin_seconds

    @property
    def lateness_seconds(self) -> int:
        return self.step.end_seconds - self.due_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """All late operations, and the steps ahead of them that are not late themselves; both job by job.

    Each `previous_seconds` of a late operation is the sum of the steps ahead of it, so the two tuples
    together tell where the time went along the whole job.
    """

    late: tuple[LateOperation, ...]
    ahead: tuple[ExplainedStep, ...]


def explain(problem: Problem, schedule: Schedule) -> Explanation:
    """Why each late operation is late. `schedule` must be one that the judge accepts for `problem`."""
    floor = _Floor(problem, schedule)
    late: list[LateOperation] = []
    ahead: list[ExplainedStep] = []
    for job in problem.jobs:
        steps = _steps(floor, job)
        previous_id = None
        for step, operation in zip(steps, job.operations, strict=False):
            if operation.due_seconds is not None and step.end_seconds > operation.due_seconds:
                late.append(
                    LateOperation(
                        step=step,
                        due_seconds=operation.due_seconds,
                        begin_seconds=steps[0].ready_seconds,
                        previous_id=previous_id,
                    )
                )
            else:
                ahead.append(step)
            previous_id = step.operation_id
    return Explanation(late=tuple(late), ahead=tuple(ahead))


def sentence(late: LateOperation, machine: Machine, hours: WorkingHours | None) -> str:
    """The account of one late operation as a planner reads it; amounts that are zero are left out."""
    step, name = late.step, machine_words(machine)
    spent = (
        (late.previous_seconds, f"until {late.previous_id} ahead of it had ended"),
        (step.material_seconds, "waiting for material"),
        (step.load_seconds, f"waiting for the earlier load of {name}"),
        (step.behind_seconds, f"waiting for {name}{_behind(step)}"),
        (step.closed_seconds + step.paused_seconds, f"in closed hours{_outages(step, hours)}"),
        (step.idle_seconds, f"with {name} open and free"),
        (step.setup_seconds, "of setup"),
        (step.processing_seconds, "of processing"),
    )
    account = ", ".join(f"{amount(seconds)} {words}" for seconds, words in spent if seconds)
    lateness, due = amount(late.lateness_seconds), moment(hours, late.due_seconds)
    return f"{step.operation_id} ends {lateness} after its due date ({due}): {account}; {_available(late)}."


def _available(late: LateOperation) -> str:
    if late.available_seconds < 0:
        return f"it was due {amount(-late.available_seconds)} before it could begin"
    available = amount(late.available_seconds) if late.available_seconds else "none"
    return f"{available} of this lay before the due date"


def _behind(step: ExplainedStep) -> str:
    named = [f"{ahead.operation_id} ({amount(ahead.seconds)})" for ahead in step.ahead]
    further = step.ahead_count - len(named)
    if further:
        named.insert(0, quantity(further, "other"))
    return f" behind {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}" if named else ""


def _outages(step: ExplainedStep, hours: WorkingHours | None) -> str:
    spans = (
        (outage, moment(hours, outage.closure.start_seconds), moment(hours, outage.closure.end_seconds))
        for outage in step.outages
    )
    told = [
        f"{machine_words(outage.machine)} was unavailable from {begin} to {end}"
        + (f": {outage.closure.reason}" if outage.closure.reason else "")
        for outage, begin, end in spans
    ]
    return f" ({'; '.join(told)})" if told else ""


class _Queue:
    """One machine, or several that are held together: when they are open, and who has them.

    Turns are disjoint: where several works have one of the machines each, the earliest counts.
    """

    def __init__(self, opened: OpenTime, unloaded_at: int, holders: list[Assignment]) -> None:
        self.opened = opened
        self.unloaded_at = unloaded_at
        self._turns: list[tuple[int, int, str]] = []
        taken_until: int | None = None
        for holder in sorted(holders, key=lambda each: (each.start_seconds, each.end_seconds)):
            start = holder.start_seconds if taken_until is None else max(holder.start_seconds, taken_until)
            if holder.end_seconds > start:
                self._turns.append((start, holder.end_seconds, holder.operation_id))
                taken_until = holder.end_seconds
        self.free = OpenTime(((start, end) for start, end, _ in self._turns), base=opened)

    def ahead(self, start: int, end: int) -> tuple[int, tuple[Ahead, ...]]:
        """How many works have turns within [start, end), and the last of them."""
        first = bisect_right(self._turns, start, key=lambda turn: turn[1])
        last = bisect_left(self._turns, end, key=lambda turn: turn[0])
        turns = self._turns[max(first, last - MAX_NAMED) : last]
        named = [
            Ahead(operation_id=operation_id, seconds=self.opened.between(max(start, from_), min(end, until)))
            for from_, until, operation_id in turns
        ]
        # A turn that only touches closed hours of the wait cost it nothing.
        costly = tuple(ahead for ahead in named if ahead.seconds)
        return max(0, last - first) - len(named) + len(costly), costly


class _Floor:
    """The schedule by machine. Queues are built when first asked for: late work is the exception."""

    def __init__(self, problem: Problem, schedule: Schedule) -> None:
        self.placed = schedule.by_operation
        self._problem = problem
        self._index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
        self._holders: list[list[Assignment]] = [[] for _ in problem.machines]
        for operation in problem.operations:
            for machine in self.alternative(operation).machines:
                self._holders[machine].append(self.placed[operation.id])
        self._queues: dict[tuple[int, ...], _Queue] = {}
        first = min([0, *(assignment.start_seconds for assignment in schedule.assignments)])
        self._last = schedule.makespan_seconds + 1
        hours = problem.hours
        self._plant = OpenTime(() if hours is None else closed_hours(hours, first, self._last))

    def alternative(self, operation: Operation) -> Alternative:
        """The one that the schedule chose."""
        machine = self._index_of[self.placed[operation.id].machine_id]
        return next(alternative for alternative in operation.alternatives if alternative.machine == machine)

    def queue(self, machines: tuple[int, ...]) -> _Queue:
        if machines not in self._queues:
            holders = {each.operation_id: each for machine in machines for each in self._holders[machine]}
            unloaded_at = max(self._unloaded_at(machine) for machine in machines)
            self._queues[machines] = _Queue(self._opened(machines), unloaded_at, list(holders.values()))
        return self._queues[machines]

    def outages(self, machines: tuple[int, ...], first: int, last: int) -> tuple[Outage, ...]:
        """The closures of the machines that fall into [first, last), in the order of time."""
        found = [
            Outage(machine=self._problem.machines[machine], closure=closure)
            for machine in machines
            for closure in self._problem.machines[machine].closures
            if closure.start_seconds < last and closure.end_seconds > first
        ]
        return tuple(sorted(found, key=lambda outage: outage.closure.start_seconds)[-MAX_NAMED:])

    def _opened(self, machines: tuple[int, ...]) -> OpenTime:
        """When all of them are open."""
        closures = chain.from_iterable(self._problem.machines[machine].closures for machine in machines)
        return OpenTime(((closure.start_seconds, closure.end_seconds) for closure in closures), base=self._plant)

    def _unloaded_at(self, machine: int) -> int:
        busy = self._problem.machines[machine].busy_seconds
        if not busy:
            return 0
        opened = self._opened((machine,))
        return bisect_left(range(self._last), busy, key=lambda second: opened.between(0, second))


def _steps(floor: _Floor, job: Job) -> list[ExplainedStep]:
    """The steps of a job up to its last late one."""
    late = [index for index, operation in enumerate(job.operations) if _is_late(floor, operation)]
    if not late:
        return []
    ready = min(0, floor.placed[job.operations[0].id].start_seconds)
    steps = []
    for operation in job.operations[: late[-1] + 1]:
        # Of two steps that have both begun the later one may have been first.
        steps.append(_step(floor, job, operation, min(ready, floor.placed[operation.id].start_seconds)))
        ready = steps[-1].end_seconds
    return steps


def _is_late(floor: _Floor, operation: Operation) -> bool:
    return operation.due_seconds is not None and floor.placed[operation.id].end_seconds > operation.due_seconds


def _step(floor: _Floor, job: Job, operation: Operation, ready: int) -> ExplainedStep:
    placed, chosen = floor.placed[operation.id], floor.alternative(operation)
    start, end = placed.start_seconds, placed.end_seconds
    assert ready <= start <= end, f"{operation.id} must follow its job at {ready}, was at {start} to {end}"
    queue = floor.queue(chosen.machines)
    supplied = _clipped(operation.release_seconds, ready, start)
    unloaded = _clipped(queue.unloaded_at, supplied, start)
    worked = queue.opened.between(start, end)
    # The rest is setup, whichever setup a matrix made of it.
    processing = min(worked, chosen.processing_seconds)
    idle = queue.free.between(unloaded, start)
    count, ahead = queue.ahead(unloaded, start)
    return ExplainedStep(
        job_id=job.id,
        operation_id=operation.id,
        machine_id=placed.machine_id,
        ready_seconds=ready,
        start_seconds=start,
        end_seconds=end,
        material_seconds=supplied - ready,
        closed_seconds=start - supplied - queue.opened.between(supplied, start),
        load_seconds=queue.opened.between(supplied, unloaded),
        behind_seconds=queue.opened.between(unloaded, start) - idle,
        idle_seconds=idle,
        paused_seconds=end - start - worked,
        setup_seconds=worked - processing,
        processing_seconds=processing,
        ahead=ahead,
        ahead_count=count,
        outages=floor.outages(chosen.machines, supplied, end),
    )


def _clipped(second: int, first: int, last: int) -> int:
    return max(first, min(second, last))
