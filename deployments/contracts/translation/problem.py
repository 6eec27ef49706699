"""A request in the words of the wire -> the problem in the words of the domain, or every reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import TypeVar
from zoneinfo import ZoneInfo

from deployments.contracts.requests.schedule_request import (
    IMPORTANT_WEIGHT,
    JobRequest,
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
    seconds_after,
    up_to_second,
)
from deployments.contracts.translation.eligibility import Eligibility, Reason
from deployments.contracts.translation.fixed_work import (
    EarlierRow,
    as_schedule,
    freeze_reasons,
    frozen_assignments,
    gone_warnings,
    loose_warnings,
    with_earlier_places,
    with_running_work,
)
from deployments.contracts.translation.manual_plan import plan_warnings, planned_schedule
from deployments.contracts.translation.open_hours import MAX_SECONDS, PlantHours
from deployments.contracts.translation.plant import (
    calendar_reasons,
    changeovers,
    hours_of_plant,
    machine_of,
    setup_reasons,
    setup_warnings,
)
from deployments.contracts.translation.precheck import precheck
from env.errors import InvalidProblem
from env.problem import Job, Operation, Pin, Problem
from env.schedule import Assignment, Schedule

FIRST_YEAR, LAST_YEAR = 1970, 2200
MAX_ALTERNATIVES = 2_000_000
NumberedJob = tuple[int, JobRequest]
Entry = TypeVar("Entry")
MAX_PAST_SECONDS = 366 * 24 * 3600


def lateness_warnings(problem: Problem) -> tuple[str, ...]:
    """One sentence when due dates lie before the start, where no schedule can meet them."""
    late = [operation for operation in problem.operations if (operation.due_seconds or 0) < 0]
    if not late:
        return ()
    count = f"{len(late):,} job{'s' if len(late) > 1 else ''}"
    return (f"lcd_date of {count} lies before schedule_start: late in any schedule; first is {late[0].id}",)


def release_warnings(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    """One sentence when material arrived before the start, where it changes nothing."""
    releases = ((job.job_id, job.release_at) for job in request.jobs if job.release_at is not None)
    early = [name for name, release in releases if seconds_after(start, in_zone(release, zone)) < 0]
    if not early:
        return ()
    count = f"{len(early):,} job{'s' if len(early) > 1 else ''}"
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
    eligibility = Eligibility(request.machines or ())
    frozen = frozen_assignments(request, earlier, start, zone)
    families = _families(request.jobs)
    _refuse(
        [
            *incomplete(request),
            *freeze_reasons(request, earlier),
            *_repeated_ids("jobs", "job_id", request.jobs, cause_of_repeated_job),
            *_repeated_ids("machines", "machine_id", request.machines or (), cause_of_repeated_machine),
            *_repeated_sequences(families.values()),
            *_machine_reasons(request, eligibility),
            *calendar_reasons(request, start, zone),
            *setup_reasons(request),
            *_pin_reasons(request, frozen, start, zone),
        ]
    )
    shop = _Shop(eligibility=eligibility, frozen=frozen, start=start, zone=zone)
    asked = _problem(request, families, shop)
    plant = PlantHours(asked, start=start, zone=zone)
    problem = with_earlier_places(with_running_work(asked, plant), request, earlier, start)
    _refuse(precheck(problem, plant, *_paths(request)))
    return Question(
        problem=problem,
        start=start,
        zone=zone,
        warnings=(
            *lateness_warnings(problem),
            *release_warnings(request, start, zone),
            *setup_warnings(request),
            *plan_warnings(request.manual_schedule, problem),
            *gone_warnings(request, earlier),
            *loose_warnings([job.job_id for job in request.jobs if shop.is_loose(job)]),
        ),
        earlier=None if earlier is None else as_schedule(earlier, start),
        planned=planned_schedule(request.manual_schedule, problem, plant, start),
    )


def start_of(request: ScheduleRequest, *, zone: ZoneInfo, now: datetime) -> datetime:
    """The instant of second 0 in the plant's zone. Raises `InvalidProblem` outside 1970 to 2200."""
    wanted = request.schedule_start or now
    if not FIRST_YEAR < wanted.year < LAST_YEAR:
        raise InvalidProblem(
            [("schedule_start", f"must be after {FIRST_YEAR} and before {LAST_YEAR}, was {wanted.isoformat()}")]
        )
    return up_to_second(in_zone(wanted, zone).astimezone(zone))


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


def _machine_reasons(request: ScheduleRequest, eligibility: Eligibility) -> Iterator[Reason]:
    if request.machines and not eligibility.working:
        yield "machines", "must include one that is available or busy, all were offline or in maintenance"
    elif request.machines:
        for index, job in enumerate(request.jobs):
            yield from eligibility.reasons(job, f"jobs[{index}]")
    total = sum(map(eligibility.count, request.jobs))
    if total > MAX_ALTERNATIVES:
        yield "jobs", f"must have at most {MAX_ALTERNATIVES:,} pairs of job and machine, had {total:,}"


def _pin_reasons(
    request: ScheduleRequest, frozen: Mapping[str, Assignment], start: datetime, zone: ZoneInfo
) -> Iterator[Reason]:
    """Pins out of all reach, and those that contradict the earlier schedule."""
    for index, job in enumerate(request.jobs):
        if job.pinned is None:
            continue
        second = first_second_from(start, in_zone(job.pinned.start_datetime, zone))
        held = frozen.get(job.job_id)
        if not -MAX_PAST_SECONDS <= second <= MAX_SECONDS:
            message = "must be at most a year before and 50 years after schedule_start"
            yield f"jobs[{index}].pinned.start_datetime", f"{message}, was {job.pinned.start_datetime.isoformat()}"
        elif held is not None and (held.machine_id, held.start_seconds) != (job.pinned.machine_id, second):
            message = "must be the place in previous_schedule_id, where the job starts before freeze_until"
            yield f"jobs[{index}].pinned", f"{message}, was another"


def _paths(request: ScheduleRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Operation id -> its place in the request, and the place of what pins it."""
    places = {job.job_id: f"jobs[{index}]" for index, job in enumerate(request.jobs)}
    pins = {job.job_id: f"{places[job.job_id]}.pinned" for job in request.jobs if job.pinned is not None}
    return places, places | pins


def _problem(request: ScheduleRequest, families: Mapping[str, list[NumberedJob]], shop: _Shop) -> Problem:
    return Problem(
        jobs=tuple(
            Job(id=name, operations=tuple(shop.operation(job) for _, job in family))
            for name, family in families.items()
        ),
        machines=tuple(machine_of(machine, request, shop.start, shop.zone) for machine in shop.eligibility.working),
        hours=hours_of_plant(request, shop.start, shop.zone),
        changeovers=changeovers(request),
        objective=request.objective,
        name=request.request_id or "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """What a wire job needs to become an operation."""

    eligibility: Eligibility
    frozen: Mapping[str, Assignment]
    start: datetime
    zone: ZoneInfo

    def operation(self, job: JobRequest) -> Operation:
        operation = Operation(
            id=job.job_id,
            alternatives=self.eligibility.alternatives(job),
            release_seconds=0 if job.release_at is None else max(0, self._first_second(job.release_at)),
            due_seconds=self._last_second(job.lcd_date),
            deadline_seconds=self._last_second(job.deadline_at),
            weight=_weight(job),
            priority=job.priority,
            is_important=job.is_important,
            interruptible=job.interruptible,
            setup_group=job.setup_group,
            pin=None if job.pinned is None else Pin(start_seconds=self._first_second(job.pinned.start_datetime)),
        )
        held = self.frozen.get(job.job_id)
        return operation if held is None or self.is_loose(job) else self._held(operation, job, held)

    def is_loose(self, job: JobRequest) -> bool:
        """Whether the job is frozen on a machine that cannot do it any more, as after a breakdown."""
        held = self.frozen.get(job.job_id)
        return held is not None and not self.eligibility.on_machine(job, held.machine_id)

    def _held(self, operation: Operation, job: JobRequest, held: Assignment) -> Operation:
        return replace(
            operation,
            alternatives=self.eligibility.on_machine(job, held.machine_id),
            # It was planned when its material was there; a later date does not undo that.
            release_seconds=min(operation.release_seconds, max(0, held.start_seconds)),
            pin=Pin(start_seconds=held.start_seconds, end_seconds=held.end_seconds),
        )

    def _first_second(self, moment: datetime) -> int:
        return first_second_from(self.start, in_zone(moment, self.zone))

    def _last_second(self, moment: datetime | None) -> int | None:
        return None if moment is None else last_second_until(self.start, in_zone(moment, self.zone))


def _weight(job: JobRequest) -> float:
    if job.weight is not None:
        return job.weight
    return IMPORTANT_WEIGHT if job.is_important else 4.0 - job.priority
