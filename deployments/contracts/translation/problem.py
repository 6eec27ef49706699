"""A request in the words of the wire -> the problem in the words of the domain, or every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TypeVar
from zoneinfo import ZoneInfo

from deployments.contracts.requests.schedule_request import (
    IMPORTANT_WEIGHT,
    JobRequest,
    MachineStatus,
    ScheduleRequest,
    cause_of_repeated_job,
    cause_of_repeated_machine,
    cause_of_repeated_sequence,
    incomplete,
)
from deployments.contracts.requests.wire import (
    first_second_from,
    in_zone,
    last_second_until,
    nearest_to,
    seconds_after,
    seconds_of,
    up_to_second,
)
from deployments.contracts.translation.continued_work import EarlierWork, continued, earlier_work, with_setups
from deployments.contracts.translation.fixed_work import (
    EarlierRow,
    as_schedule,
    freeze_reasons,
    gone_warnings,
    plan_warnings,
    planned_schedule,
    with_earlier_places,
)
from deployments.contracts.translation.open_hours import MAX_SECONDS, PlantHours
from deployments.contracts.translation.plant import (
    Eligibility,
    Reason,
    calendar_reasons,
    changeovers,
    hours_of_plant,
    machines_of,
    setup_reasons,
    setup_warnings,
)
from deployments.contracts.translation.precheck import precheck
from env.errors import InvalidProblem
from env.judge.verdict import quantity
from env.problem import Alternative, Job, Machine, Operation, Pin, Problem
from env.schedule import Assignment, Schedule

FIRST_YEAR, LAST_YEAR = 1970, 2200
NumberedJob = tuple[int, JobRequest]
Entry = TypeVar("Entry")
MAX_PAST_SECONDS = 366 * 24 * 3600


def lateness_warnings(problem: Problem) -> tuple[str, ...]:
    """One sentence when due dates lie before the start, where no schedule can meet them."""
    late = [operation for operation in problem.operations if (operation.due_seconds or 0) < 0]
    if not late:
        return ()
    count = quantity(len(late), "job")
    return (f"lcd_date of {count} lies before schedule_start: late in any schedule; first is {late[0].id}",)


def release_warnings(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    """One sentence when material arrived before the start, where it changes nothing."""
    releases = ((job.job_id, job.release_at) for job in request.jobs if job.release_at is not None)
    early = [name for name, release in releases if seconds_after(start, in_zone(release, zone)) < 0]
    if not early:
        return ()
    count = quantity(len(early), "job")
    return (f"release_at of {count} lies before schedule_start: the material is there; first is {early[0]}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A problem and what is needed to speak about it with its sender.

    `start` is the instant of second 0, a whole second in the plant's zone; `warnings` are sentences
    about what the request says in vain. `earlier` is the schedule that the request continues, None
    when it continues none. `planned` is the planner's own plan, None when the request has none.
    """

    problem: Problem
    start: datetime
    zone: ZoneInfo
    warnings: tuple[str, ...]
    earlier: Schedule | None = None
    planned: Schedule | None = None


def translate(
    request: ScheduleRequest,
    *,
    zone: ZoneInfo,
    now: datetime,
    earlier: tuple[EarlierRow, ...] | None = None,
) -> Question:
    """The question that a request asks, in a plant whose clocks show `zone`.

    `earlier` are the rows of the schedule `previous_schedule_id`, None when nobody has them. Raises
    `InvalidProblem` with (field, message) of all that makes the request unanswerable, fields as paths
    of the request such as "jobs[3].machine_types".
    """
    start = start_of(request, zone=zone, now=now)
    rows = {} if earlier is None else {row.job_id: row for row in earlier}
    work = EarlierWork() if earlier is None else earlier_work(request, earlier, start, zone)
    families = _families(request.jobs)
    eligibility = Eligibility(request.machines or ())
    _refuse(_reasons(request, families, eligibility, earlier, work, start, zone))
    shop = _Shop(
        eligibility=eligibility,
        machines=_machines(request, eligibility, work, rows, start, zone),
        rows=rows,
        work=work,
        start=start,
        zone=zone,
    )
    problem = _problem(request, families, shop)
    plant = PlantHours(problem, start=start, zone=zone, first=work.first_second, last=work.last_second)
    places = {job.job_id: f"jobs[{index}]" for index, job in enumerate(request.jobs)}
    pins = {job.job_id: f"{places[job.job_id]}.pinned" for job in request.jobs if job.pinned is not None}
    changes: tuple[str, ...] = ()
    if pins or earlier is not None:
        names = {row.machine_id: row.machine_name for row in rows.values()}
        names |= {machine.machine_id: machine.machine_name for machine in request.machines or ()}
        settled = continued(problem, plant, with_setups(work, problem, rows), _lost_machines(request), places, names)
        _refuse(settled.reasons)
        problem, changes = settled.problem, settled.warnings
    if earlier is not None:
        problem = with_earlier_places(problem, request, earlier, start)
    _refuse(precheck(problem, plant, places, places | pins))
    own_rows = request.manual_schedule
    return Question(
        problem=problem,
        start=start,
        zone=zone,
        warnings=(*_warnings(request, problem, earlier, start, zone), *changes),
        earlier=None if earlier is None else as_schedule(earlier, start),
        planned=None if own_rows is None else planned_schedule(own_rows, problem, plant, start),
    )


def _reasons(
    request: ScheduleRequest,
    families: Mapping[str, list[NumberedJob]],
    eligibility: Eligibility,
    earlier: tuple[EarlierRow, ...] | None,
    work: EarlierWork,
    start: datetime,
    zone: ZoneInfo,
) -> Iterator[Reason]:
    """What is wrong with the request before anything of it is translated; what it does not use is not looked at."""
    if not request.jobs or not request.machines:
        yield from incomplete(request)
    if request.freeze_until is not None or request.previous_schedule_id is not None:
        yield from freeze_reasons(request, earlier)
    yield from _repeated_ids("jobs", "job_id", request.jobs, cause_of_repeated_job)
    yield from _repeated_ids("machines", "machine_id", request.machines or (), cause_of_repeated_machine)
    yield from _repeated_sequences(families.values())
    # Finished work needs no machine any more.
    waiting = [index for index, job in enumerate(request.jobs) if job.job_id not in work.finished]
    yield from eligibility.reasons(request.jobs, waiting)
    if request.calendar is not None:
        yield from calendar_reasons(request, start, zone)
    if request.setup_matrix is not None:
        yield from setup_reasons(request)
    yield from _pin_reasons(request, work, start, zone)


def _warnings(
    request: ScheduleRequest,
    problem: Problem,
    earlier: tuple[EarlierRow, ...] | None,
    start: datetime,
    zone: ZoneInfo,
) -> Iterator[str]:
    """What the request says in vain."""
    yield from lateness_warnings(problem)
    yield from release_warnings(request, start, zone)
    if any(job.setup_group is not None for job in request.jobs):
        yield from setup_warnings(request)
    if request.manual_schedule is not None:
        yield from plan_warnings(request.manual_schedule, problem)
    if earlier is not None:
        yield from gone_warnings(request, earlier)


def start_of(request: ScheduleRequest, *, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant of second 0 in the plant's zone, never before what is asked for.

    Raises `InvalidProblem` outside 1970 to 2200.
    """
    wanted = request.schedule_start or now
    if not FIRST_YEAR < wanted.year < LAST_YEAR:
        raise InvalidProblem(
            [("schedule_start", f"must be after {FIRST_YEAR} and before {LAST_YEAR}, was {wanted.isoformat()}")]
        )
    return up_to_second(nearest_to(now, wanted, zone).astimezone(zone))


def _refuse(reasons: Iterable[Reason]) -> None:
    found = list(reasons)
    if found:
        raise InvalidProblem(found)


def _families(jobs: list[JobRequest]) -> dict[str, list[NumberedJob]]:
    """Domain job id -> its (index, wire job) pairs by sequence; families in order of first appearance.

    A job without family is a family of its own, named after itself.
    """
    taken = {job.family_id for job in jobs if job.family_id is not None}
    families: dict[str, list[NumberedJob]] = {}
    for index, job in enumerate(jobs):
        name = job.family_id
        if name is None:
            name = job.job_id
            while name in taken:
                name += "'"
            taken.add(name)
        families.setdefault(name, []).append((index, job))
    return {name: sorted(family, key=lambda member: member[1].sequence) for name, family in families.items()}


def _repeated_ids(
    field: str, name: str, entries: Sequence[Entry], cause: Callable[[Entry, Entry], str]
) -> Iterator[Reason]:
    if len({getattr(entry, name) for entry in entries}) == len(entries):
        return
    first: dict[str | int, int] = {}
    for index, entry in enumerate(entries):
        identifier = getattr(entry, name)
        earlier = first.setdefault(identifier, index)
        if earlier != index:
            message = f"must be unique, {identifier} is also {field}[{earlier}]"
            yield f"{field}[{index}].{name}", f"{message}; {cause(entries[earlier], entry)}"


def _repeated_sequences(families: Iterable[list[NumberedJob]]) -> Iterator[Reason]:
    for family in families:
        for (first, earlier), (index, job) in pairwise(family):
            if earlier.sequence == job.sequence:
                message = f"must be unique within family {job.family_id}, {job.sequence} is also that of jobs[{first}]"
                yield f"jobs[{index}].sequence", f"{message}; {cause_of_repeated_sequence(earlier, job)}"


def _pin_reasons(request: ScheduleRequest, work: EarlierWork, start: datetime, zone: ZoneInfo) -> Iterator[Reason]:
    """Pins out of all reach, and those that contradict the earlier schedule."""
    for index, job in enumerate(request.jobs):
        if job.pinned is None:
            continue
        second = first_second_from(start, in_zone(job.pinned.start_datetime, zone))
        held = work.begun.get(job.job_id) or work.frozen.get(job.job_id)
        if not -MAX_PAST_SECONDS <= second <= MAX_SECONDS:
            message = "must be at most a year before and 50 years after schedule_start"
            yield f"jobs[{index}].pinned.start_datetime", f"{message}, was {job.pinned.start_datetime.isoformat()}"
        elif held is not None and (held.machine_id, held.start_seconds) != (job.pinned.machine_id, second):
            message = "must be the place in previous_schedule_id, where the job starts before freeze_until"
            yield f"jobs[{index}].pinned", f"{message}, was another"


def _problem(request: ScheduleRequest, families: Mapping[str, list[NumberedJob]], shop: _Shop) -> Problem:
    return Problem(
        jobs=tuple(
            Job(id=name, operations=tuple(shop.operation(job) for _, job in family))
            for name, family in families.items()
        ),
        machines=shop.machines,
        hours=hours_of_plant(request, shop.start, shop.zone),
        changeovers=changeovers(request) if request.setup_matrix else (),
        objective=request.objective,
        name=request.request_id or "",
    )


def _machines(
    request: ScheduleRequest,
    eligibility: Eligibility,
    work: EarlierWork,
    rows: Mapping[str, EarlierRow],
    start: datetime,
    zone: ZoneInfo,
) -> tuple[Machine, ...]:
    """The machines at work, and behind them those that are none any more but have finished some of the jobs."""
    working = machines_of(request, eligibility.working, start, zone)
    if not work.finished:
        return tuple(working)
    names = {machine.machine_id: machine.machine_name for machine in request.machines or ()}
    known = {machine.id for machine in working}
    for job in request.jobs:
        if job.job_id in work.finished:
            for machine_id in rows[job.job_id].machines:
                if machine_id not in known:
                    known.add(machine_id)
                    name = names.get(machine_id, rows[job.job_id].machine_name)
                    working.append(Machine(id=machine_id, name=name))
    return tuple(working)


def _lost_machines(request: ScheduleRequest) -> dict[int, str]:
    """What the machines that take no work are, in words, by id."""
    states = {MachineStatus.OFFLINE: "is offline", MachineStatus.MAINTENANCE: "is in maintenance"}
    return {
        machine.machine_id: f"{machine.machine_name or f'machine {machine.machine_id}'} {states[machine.status]}"
        for machine in request.machines or ()
        if machine.status in states
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """What a wire job needs to become an operation."""

    eligibility: Eligibility
    machines: tuple[Machine, ...]
    rows: Mapping[str, EarlierRow]
    work: EarlierWork
    start: datetime
    zone: ZoneInfo

    def operation(self, job: JobRequest) -> Operation:
        row = self.work.finished.get(job.job_id)
        pin = None if job.pinned is None else Pin(start_seconds=self._first_second(job.pinned.start_datetime))
        if row is not None:
            pin = Pin(start_seconds=row.start_seconds, end_seconds=row.end_seconds)
        released = job.release_at is not None and row is None
        return Operation(
            id=job.job_id,
            alternatives=self.eligibility.alternatives(job) if row is None else (self._finished(job, row),),
            release_seconds=max(0, self._first_second(job.release_at)) if released and job.release_at else 0,
            due_seconds=self._last_second(job.lcd_date),
            deadline_seconds=self._last_second(job.deadline_at),
            weight=_weight(job),
            priority=job.priority,
            is_important=job.is_important,
            interruptible=job.interruptible,
            setup_group=job.setup_group,
            pin=pin,
        )

    def _finished(self, job: JobRequest, row: Assignment) -> Alternative:
        """How finished work was done: on the machines of its row, whatever the request says of them."""
        earlier = self.rows[job.job_id]
        index_of = {machine.id: index for index, machine in enumerate(self.machines)}
        setup = seconds_of(job.setup_time if earlier.setup_time_included is None else earlier.setup_time_included)
        span = row.end_seconds - row.start_seconds
        planned = span if job.processing_time is None else seconds_of(job.processing_time)
        machine, *others = earlier.machines
        return Alternative(
            machine=index_of[machine],
            processing_seconds=max(1, planned),
            setup_seconds=min(setup, span - 1),
            also_holds=tuple(index_of[other] for other in others),
        )

    def _first_second(self, moment: datetime) -> int:
        return first_second_from(self.start, in_zone(moment, self.zone))

    def _last_second(self, moment: datetime | None) -> int | None:
        return None if moment is None else last_second_until(self.start, in_zone(moment, self.zone))


def _weight(job: JobRequest) -> float:
    if job.weight is not None:
        return job.weight
    return IMPORTANT_WEIGHT if job.is_important else 4.0 - job.priority
