"""The plant of a request: its machines and which of them may do a job, changeovers, holidays, and when it works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from deployments.contracts.requests.schedule_request import JobRequest, MachineRequest, MachineStatus, ScheduleRequest
from deployments.contracts.requests.wire import first_second_from, in_zone, last_second_until, seconds_after, seconds_of
from env.judge.verdict import quantity
from env.problem import (
    DEFAULT_BREAKS,
    Alternative,
    Changeover,
    Closure,
    Machine,
    WeeklyBreak,
    WorkingHours,
    alike_alternatives,
)

YEARS_AHEAD = 10
MAX_ALTERNATIVES = 2_000_000
WORKING = frozenset({MachineStatus.AVAILABLE, MachineStatus.BUSY})
MAX_MACHINES_TOLD = 3
_STATES = {MachineStatus.OFFLINE: "offline", MachineStatus.MAINTENANCE: "in maintenance"}
Reason = tuple[str, str]


class UnknownCountry(ValueError):
    """Nobody has told us the public holidays of that country."""


@lru_cache(maxsize=64)
def public_holidays(country: str, first_year: int) -> frozenset[date]:
    """Days off of the whole country from the year before `first_year` to `YEARS_AHEAD` years after it.

    `country` is an ISO 3166 code of two letters. Days that are observed instead of a holiday on a
    weekend count too, days of single regions do not. Raises `UnknownCountry`.
    """
    # Few requests name a country, and every router would have to wait for the holidays of all of them.
    import holidays

    try:
        return frozenset(holidays.country_holidays(country, years=range(first_year - 1, first_year + YEARS_AHEAD + 1)))
    except NotImplementedError:
        raise UnknownCountry(f"must be a country whose public holidays are known, was {country}") from None


def changeovers(request: ScheduleRequest) -> tuple[Changeover, ...]:
    """The setup matrix in the words of the domain."""
    return tuple(
        Changeover(before=entry.from_, after=entry.to, setup_seconds=seconds_of(entry.hours))
        for entry in request.setup_matrix or ()
    )


def setup_reasons(request: ScheduleRequest) -> Iterator[Reason]:
    """(field, message) of each group that no job has, where it is named first, and of each pair that repeats."""
    groups = {job.setup_group for job in request.jobs}
    unknown: set[str] = set()
    first: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(request.setup_matrix or ()):
        for field, group in (("from", entry.from_), ("to", entry.to)):
            if group not in groups and group not in unknown:
                unknown.add(group)
                yield f"setup_matrix[{index}].{field}", f"must be the setup_group of a job, was {group!r}"
        pair = (entry.from_, entry.to)
        if pair in first:
            message = f"must be unique, {entry.from_!r} to {entry.to!r} is also setup_matrix[{first[pair]}]"
            yield f"setup_matrix[{index}]", message
        first.setdefault(pair, index)


def setup_warnings(request: ScheduleRequest) -> tuple[str, ...]:
    """One sentence when jobs have a setup group that changes nothing, because no changeover names it."""
    listed = {group for entry in request.setup_matrix or () for group in (entry.from_, entry.to)}
    silent = [job for job in request.jobs if job.setup_group is not None and job.setup_group not in listed]
    if not silent:
        return ()
    count = quantity(len(silent), "job")
    example = f"{silent[0].job_id} ({silent[0].setup_group})"
    return (
        f"setup_group of {count} is not in setup_matrix: changing over to them takes setup_time; first is {example}",
    )


def machines_of(
    request: ScheduleRequest, working: Sequence[MachineRequest], start: datetime, zone: ZoneInfo
) -> list[Machine]:
    """Those of the request that are `working` in the words of the domain."""
    closures: dict[int, list[Closure]] = {}
    for calendar in request.calendar.machines if request.calendar else ():
        for closure in calendar.unavailable:
            closures.setdefault(calendar.machine_id, []).append(
                Closure(
                    start_seconds=last_second_until(start, in_zone(closure.from_, zone)),
                    end_seconds=first_second_from(start, in_zone(closure.to, zone)),
                    reason=closure.reason,
                )
            )
    return [
        Machine(
            id=machine.machine_id,
            name=machine.machine_name,
            busy_seconds=seconds_of(machine.current_load),
            closures=tuple(closures.get(machine.machine_id, ())),
        )
        for machine in working
    ]


def hours_of_plant(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> WorkingHours | None:
    """None when neither breaks nor holidays apply: the plant works around the clock."""
    calendar = request.calendar
    breaks: tuple[WeeklyBreak, ...] = DEFAULT_BREAKS
    if calendar is not None and calendar.breaks is not None:
        breaks = tuple(rest.to_domain() for rest in calendar.breaks)
    if not request.respect_break_times:
        breaks = ()
    holidays = _holidays(request, start)
    if not breaks and not holidays:
        return None
    return WorkingHours(origin=start, zone=zone.key, breaks=breaks, holidays=holidays)


def calendar_reasons(request: ScheduleRequest, start: datetime, zone: ZoneInfo) -> Iterator[Reason]:
    """(field, message) of closures that make no sense, and of a country nobody knows."""
    try:
        _holidays(request, start)
    except UnknownCountry as error:
        yield "calendar.country", str(error)
    known = {machine.machine_id for machine in request.machines or ()}
    for index, machine in enumerate(request.calendar.machines if request.calendar else ()):
        path = f"calendar.machines[{index}]"
        if machine.machine_id not in known:
            yield f"{path}.machine_id", f"must be one of machines, was {machine.machine_id}"
        for number, closure in enumerate(machine.unavailable):
            if seconds_after(in_zone(closure.from_, zone), in_zone(closure.to, zone)) <= 0:
                yield f"{path}.unavailable[{number}].to", f"must be after from, was {closure.to.isoformat()}"


def holiday_warnings(request: ScheduleRequest, start: datetime, last: date) -> tuple[str, ...]:
    """One sentence when the plan touches years for which nobody has told us the holidays of the plant's country.

    `last` is the day on which it ends.
    """
    country = None if request.calendar is None else request.calendar.country
    if country is None or not request.respect_holidays:
        return ()
    known = {day.year for day in public_holidays(country, start.year)}
    lacking = [year for year in range(start.year, last.year + 1) if year not in known]
    if not lacking:
        return ()
    years = str(lacking[0]) if len(lacking) == 1 else f"{lacking[0]} to {lacking[-1]}"
    return (f"calendar.country: no public holidays of {country} are known for {years}: none of them closes the plant",)


def _holidays(request: ScheduleRequest, start: datetime) -> frozenset[date]:
    """Listed days and those of the country. Raises `UnknownCountry`, also when holidays are not respected."""
    if request.calendar is None:
        return frozenset()
    listed = frozenset(request.calendar.holidays)
    if request.calendar.country is not None:
        listed |= public_holidays(request.calendar.country, start.year)
    return listed if request.respect_holidays else frozenset()


class Eligibility:
    """The machines of one request, asked job by job."""

    def __init__(self, machines: Sequence[MachineRequest]) -> None:
        self.working = tuple(machine for machine in machines if machine.status in WORKING)
        self._known = {machine.machine_id for machine in machines}
        self._idle = {machine.machine_id: machine for machine in machines if machine.status not in WORKING}
        self._index_of = {machine.machine_id: index for index, machine in enumerate(self.working)}
        self._of_type: dict[int, list[int]] = {}
        for index, machine in enumerate(self.working):
            if machine.machine_type is not None:
                self._of_type.setdefault(machine.machine_type, []).append(index)
        # Jobs that agree share one tuple: thousands of jobs on thousands of machines must fit into memory.
        self._shared: dict[tuple[tuple[int, ...], int, int], tuple[Alternative, ...]] = {}
        self._of_types: dict[tuple[int, ...], list[int]] = {}

    def reasons(self, jobs: Sequence[JobRequest], waiting: Sequence[int]) -> Iterator[Reason]:
        """(field, message) of each reason why nobody can do one of the jobs at the indices `waiting`."""
        if self._known and waiting and not self.working:
            yield "machines", "must include one that is available or busy, all were offline or in maintenance"
        elif self._known:
            for index in waiting:
                if not self._is_plain(jobs[index]):
                    found = list(self._machine_reasons(jobs[index], f"jobs[{index}]"))
                    yield from found or self._pin_reasons(jobs[index], f"jobs[{index}]")
        # Of few jobs nobody needs to count them.
        longest = max([len(self.working), 1, *[len(job.machine_options or ()) for job in jobs]])
        total = sum(map(self._count, jobs)) if longest * len(jobs) > MAX_ALTERNATIVES else 0
        if total > MAX_ALTERNATIVES:
            yield "jobs", f"must have at most {MAX_ALTERNATIVES:,} pairs of job and machine, had {total:,}"

    def _count(self, job: JobRequest) -> int:
        """How many alternatives the job will have at most, without making them."""
        if job.requires_all_machines:
            return 1
        if job.machine_options is not None:
            return len(job.machine_options)
        return sum([len(self._of_type.get(kind, ())) for kind in set(job.machine_types)])

    def alternatives(self, job: JobRequest) -> tuple[Alternative, ...]:
        """Alternatives by machine index; empty when there are `reasons` why not. A pin leaves its machine only."""
        if job.pinned is not None:
            return self.on_machine(job, job.pinned.machine_id)
        return self._all(job)

    def on_machine(self, job: JobRequest, machine_id: int) -> tuple[Alternative, ...]:
        """The alternative on that machine alone; empty when the job cannot be done there."""
        index = self._index_of.get(machine_id)
        return tuple(choice for choice in self._all(job) if choice.machine == index)

    def _all(self, job: JobRequest) -> tuple[Alternative, ...]:
        if job.requires_all_machines:
            return self._together(job, job.requires_all_machines)
        if job.machine_options is not None:
            return self._chosen(job)
        if job.processing_time is None:
            return ()
        kinds = tuple(sorted(set(job.machine_types)))
        processing, setup = _processing_seconds(job.processing_time), seconds_of(job.setup_time)
        key = (kinds, processing, setup)
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = alike_alternatives(self._machines_of(kinds), processing, setup)
        return found

    def _machines_of(self, kinds: tuple[int, ...]) -> list[int]:
        """Indices of the machines of any of these types, in order."""
        found = self._of_types.get(kinds)
        if found is None:
            found = self._of_types[kinds] = sorted([index for kind in kinds for index in self._of_type.get(kind, ())])
        return found

    def _is_plain(self, job: JobRequest) -> bool:
        """Whether it names types of machines and nothing else, and one of them can do it: nothing is wrong then."""
        is_alone = job.requires_all_machines is None and job.machine_options is None and job.pinned is None
        is_known = is_alone and job.processing_time is not None
        return is_known and not self._of_type.keys().isdisjoint(job.machine_types)

    def _machine_reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        if job.machine_options is not None and not job.requires_all_machines:
            yield from self._option_reasons(job, path)
            return
        if job.processing_time is None:
            yield f"{path}.processing_time", "must be given unless there are machine_options, was absent"
        if job.requires_all_machines:
            yield from self._together_reasons(job, job.requires_all_machines, path)
            return
        if not job.machine_types:
            yield f"{path}.machine_types", "must not be empty unless there are machine_options, was empty"
        elif not any(kind in self._of_type for kind in job.machine_types):
            yield f"{path}.machine_types", self._missing_types(job.machine_types)

    def _missing_types(self, kinds: Sequence[int]) -> str:
        """Why no machine at work has any of these types: none has it at all, or all that have it are down."""
        wanted = set(kinds)
        down = [machine for machine in self._idle.values() if machine.machine_type in wanted]
        if not down:
            return f"must name the machine_type of one of machines, was {_few(kinds)}; {self._types_in_words()}"
        return f"must name a type of an available machine, was {_few(kinds)}: {_down(down)}"

    def _types_in_words(self) -> str:
        known = sorted({*self._of_type, *(each.machine_type for each in self._idle.values() if each.machine_type)})
        return f"they have {_few(known)}" if known else "none of them has a machine_type"

    def _option_reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        options = job.machine_options or ()
        seen: set[int] = set()
        for index, option in enumerate(options):
            field = f"{path}.machine_options[{index}]"
            if option.machine_id not in self._known:
                yield f"{field}.machine_id", f"must be one of machines, was {option.machine_id}"
            if option.machine_id in seen:
                yield f"{field}.machine_id", f"must be named once, {option.machine_id} was named again"
            if option.processing_time is None and job.processing_time is None:
                yield f"{field}.processing_time", "must be given here or on the job, was absent"
            seen.add(option.machine_id)
        if seen and seen <= self._known and seen.isdisjoint(self._index_of):
            down = [self._idle[machine_id] for machine_id in sorted(seen)]
            yield f"{path}.machine_options", f"must name an available machine, was {_few(sorted(seen))}: {_down(down)}"

    def _together_reasons(self, job: JobRequest, ids: list[int], path: str) -> Iterator[Reason]:
        field = f"{path}.requires_all_machines"
        if job.machine_options is not None:
            yield field, "must not be given together with machine_options, was given"
        seen: set[int] = set()
        for index, machine_id in enumerate(ids):
            if machine_id in seen:
                yield f"{field}[{index}]", f"must be named once, {machine_id} was named again"
            else:
                yield from self._out_of_service(f"{field}[{index}]", machine_id)
            seen.add(machine_id)

    def _pin_reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        if job.pinned is None:
            return
        field = f"{path}.pinned.machine_id"
        machine_id = job.pinned.machine_id
        wrong = list(self._out_of_service(field, machine_id))
        if not wrong and not self.on_machine(job, machine_id):
            which = "be the first of requires_all_machines" if job.requires_all_machines else "be able to do the job"
            wrong = [(field, f"must {which}, was {machine_id}")]
        yield from wrong

    def _out_of_service(self, field: str, machine_id: int) -> Iterator[Reason]:
        if machine_id not in self._known:
            yield field, f"must be one of machines, was {machine_id}"
        elif machine_id not in self._index_of:
            yield field, f"must be available or busy: {_down([self._idle[machine_id]])}"

    def _together(self, job: JobRequest, ids: list[int]) -> tuple[Alternative, ...]:
        machines = [self._index_of[machine_id] for machine_id in ids if machine_id in self._index_of]
        if job.processing_time is None or len(machines) < len(ids):
            return ()
        return (
            Alternative(
                machine=machines[0],
                processing_seconds=_processing_seconds(job.processing_time),
                setup_seconds=seconds_of(job.setup_time),
                also_holds=tuple(machines[1:]),
            ),
        )

    def _chosen(self, job: JobRequest) -> tuple[Alternative, ...]:
        alternatives = {}
        for option in job.machine_options or ():
            hours = job.processing_time if option.processing_time is None else option.processing_time
            setup = job.setup_time if option.setup_time is None else option.setup_time
            machine = self._index_of.get(option.machine_id)
            if machine is not None and hours is not None:
                alternatives[machine] = Alternative(
                    machine=machine, processing_seconds=_processing_seconds(hours), setup_seconds=seconds_of(setup)
                )
        return tuple(alternatives[machine] for machine in sorted(alternatives))


def _down(machines: Sequence[MachineRequest]) -> str:
    """ "Brake (20) is offline: …", with what to do about it."""
    told = [f"{_named(each)} is {_STATES[each.status]}" for each in machines[:MAX_MACHINES_TOLD]]
    if len(machines) > len(told):
        told.append(f"{len(machines) - len(told):,} more are not at work either")
    remedy = "give the hours in calendar.machines[].unavailable and leave the status out, or set it available"
    return f"{', '.join(told)}; {remedy}"


def _named(machine: MachineRequest) -> str:
    return f"{machine.machine_name} ({machine.machine_id})" if machine.machine_name else f"machine {machine.machine_id}"


def _processing_seconds(hours: float) -> int:
    return max(1, seconds_of(hours))


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"[{shown}{', …' if len(numbers) > 10 else ''}]"
