"""A request in the words of the wire -> the problem in the words of the domain, or every reason why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from deployments.contracts.amounts import (
    first_second_from,
    in_zone,
    last_second_until,
    seconds_after,
    seconds_of,
    up_to_second,
)
from deployments.contracts.eligibility import Eligibility, Reason
from deployments.contracts.notices import lateness_warnings, unknown_field_warnings
from deployments.contracts.precheck import precheck
from deployments.contracts.request import JobRequest, MachineRequest, ScheduleRequest, unsupported
from env.errors import InvalidProblem
from env.problem import DEFAULT_BREAKS, Closure, Job, Machine, Operation, Problem, WeeklyBreak, WorkingHours

FIRST_YEAR, LAST_YEAR = 1970, 2200
MOST_ALTERNATIVES = 2_000_000
IMPORTANT_WEIGHT = 4.0
NumberedJob = tuple[int, JobRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A problem and what is needed to speak about it with its sender.

    `start` is the instant of second 0, a whole second in the plant's zone; `warnings` are sentences
    about due dates that lie before it and about fields that nobody knows.
    """

    problem: Problem
    start: datetime
    zone: ZoneInfo
    warnings: tuple[str, ...]


def translate(request: ScheduleRequest, *, zone: ZoneInfo, now: datetime) -> Question:
    """The question that a request asks, in a plant whose clocks show `zone`.

    Raises `InvalidProblem` with (field, message) of all that makes the request unanswerable, fields
    as paths of the request such as "jobs[3].machine_types".
    """
    start = start_of(request, zone=zone, now=now)
    eligibility = Eligibility(request.machines or ())
    families = _families(request.jobs)
    _refuse(
        [
            *unsupported(request),
            *_repeated_ids("jobs", "job_id", [job.job_id for job in request.jobs]),
            *_repeated_ids("machines", "machine_id", [machine.machine_id for machine in request.machines or ()]),
            *(reason for family in families.values() for reason in _repeated_sequences(family)),
            *_machine_reasons(request, eligibility),
            *_closure_reasons(request, zone),
        ]
    )
    problem = Problem(
        jobs=tuple(_job(name, family, eligibility, start, zone) for name, family in families.items()),
        machines=tuple(_machine(machine, request, start, zone) for machine in eligibility.working),
        hours=_hours(request, start, zone),
        objective=request.optimization_objective,
        name=request.request_id or "",
    )
    _refuse(precheck(problem, {job.job_id: f"jobs[{index}]" for index, job in enumerate(request.jobs)}))
    warnings = (*unknown_field_warnings(request), *lateness_warnings(problem))
    return Question(problem=problem, start=start, zone=zone, warnings=warnings)


def start_of(request: ScheduleRequest, *, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant of second 0 in the plant's zone. Raises `InvalidProblem` outside 1970 to 2200."""
    wanted = request.schedule_start or now
    if not FIRST_YEAR < wanted.year < LAST_YEAR:
        raise InvalidProblem(
            [("schedule_start", f"must be after {FIRST_YEAR} and before {LAST_YEAR}, was {wanted.isoformat()}")]
        )
    return up_to_second(in_zone(wanted, zone).astimezone(zone))


def _refuse(reasons: list[Reason] | Iterator[Reason]) -> None:
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


def _repeated_ids(field: str, name: str, ids: Sequence[str | int]) -> Iterator[Reason]:
    first: dict[str | int, int] = {}
    for index, identifier in enumerate(ids):
        if identifier in first:
            yield f"{field}[{index}].{name}", f"must be unique, {identifier} is also {field}[{first[identifier]}]"
        first.setdefault(identifier, index)


def _repeated_sequences(family: list[NumberedJob]) -> Iterator[Reason]:
    for (first, earlier), (index, job) in pairwise(family):
        if earlier.sequence == job.sequence:
            message = f"must be unique within family {job.family_id}, {job.sequence} is also that of jobs[{first}]"
            yield f"jobs[{index}].sequence", message


def _machine_reasons(request: ScheduleRequest, eligibility: Eligibility) -> Iterator[Reason]:
    if request.machines and not eligibility.working:
        yield "machines", "must include one that is available or busy, all were offline or in maintenance"
    elif request.machines:
        for index, job in enumerate(request.jobs):
            yield from eligibility.reasons(job, f"jobs[{index}]")
    total = sum(map(eligibility.count, request.jobs))
    if total > MOST_ALTERNATIVES:
        yield "jobs", f"must have at most {MOST_ALTERNATIVES:,} pairs of job and machine, had {total:,}"


def _closure_reasons(request: ScheduleRequest, zone: ZoneInfo) -> Iterator[Reason]:
    known = {machine.machine_id for machine in request.machines or ()}
    for index, machine in enumerate(request.calendar.machines if request.calendar else ()):
        path = f"calendar.machines[{index}]"
        if machine.machine_id not in known:
            yield f"{path}.machine_id", f"must be one of machines, was {machine.machine_id}"
        for number, closure in enumerate(machine.unavailable):
            if seconds_after(in_zone(closure.from_, zone), in_zone(closure.to, zone)) <= 0:
                yield f"{path}.unavailable[{number}].to", f"must be after from, was {closure.to.isoformat()}"


def _job(name: str, family: list[NumberedJob], eligibility: Eligibility, start: datetime, zone: ZoneInfo) -> Job:
    return Job(id=name, operations=tuple(_operation(job, eligibility, start, zone) for _, job in family))


def _operation(job: JobRequest, eligibility: Eligibility, start: datetime, zone: ZoneInfo) -> Operation:
    release = 0 if job.release_at is None else max(0, first_second_from(start, in_zone(job.release_at, zone)))
    return Operation(
        id=job.job_id,
        alternatives=eligibility.alternatives(job),
        release_seconds=release,
        due_seconds=_last_second(start, job.lcd_date, zone),
        deadline_seconds=_last_second(start, job.deadline_at, zone),
        weight=_weight(job),
        priority=job.priority,
        is_important=job.is_important,
        interruptible=job.interruptible,
    )


def _last_second(start: datetime, moment: datetime | None, zone: ZoneInfo) -> int | None:
    return None if moment is None else last_second_until(start, in_zone(moment, zone))


def _weight(job: JobRequest) -> float:
    if job.weight is not None:
        return job.weight
    return IMPORTANT_WEIGHT if job.is_important else 4.0 - job.priority


def _machine(machine: MachineRequest, request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> Machine:
    calendars = request.calendar.machines if request.calendar else ()
    return Machine(
        id=machine.machine_id,
        name=machine.machine_name,
        busy_seconds=seconds_of(machine.current_load),
        closures=tuple(
            Closure(
                start_seconds=last_second_until(start, in_zone(closure.from_, zone)),
                end_seconds=first_second_from(start, in_zone(closure.to, zone)),
                reason=closure.reason,
            )
            for calendar in calendars
            if calendar.machine_id == machine.machine_id
            for closure in calendar.unavailable
        ),
    )


def _hours(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> WorkingHours | None:
    """None when neither breaks nor holidays apply: the plant works around the clock."""
    calendar = request.calendar
    breaks: tuple[WeeklyBreak, ...] = DEFAULT_BREAKS
    if calendar is not None and calendar.breaks is not None:
        breaks = tuple(rest.to_domain() for rest in calendar.breaks)
    if not request.respect_break_times:
        breaks = ()
    holidays: frozenset[date] = (
        frozenset(calendar.holidays) if calendar is not None and request.respect_holidays else frozenset()
    )
    if not breaks and not holidays:
        return None
    return WorkingHours(origin=start, zone=zone.key, breaks=breaks, holidays=holidays)
