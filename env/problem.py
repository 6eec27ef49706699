"""The plant's question: machines, jobs of ordered operations, and when machines may work.

Time is int64 seconds from `schedule_start` throughout. Constructing any of these with values that
cannot mean anything raises `ValueError`, saying what was required and what was found; a `Problem`
whose parts contradict each other raises `InvalidProblem` with every reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time
from enum import StrEnum
from functools import cached_property
from itertools import chain
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from env.errors import InvalidProblem

SECONDS_PER_HOUR = 3600
MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY, SUNDAY = range(7)
EVERY_DAY = frozenset(range(7))


class Objective(StrEnum):
    """What a good schedule is; the formulas are in docs/OBJECTIVES.md."""

    MAKESPAN = "makespan"
    TARDINESS = "tardiness"
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklyBreak:
    """Closed hours by the wall clock of the plant, on each of the given weekdays (Monday is 0).

    The break begins at `start` on such a day. An `end` that is not later than `start` lies on the
    next day, so 00:00 to 00:00 closes one whole day.
    """

    name: str
    start: time
    end: time
    weekdays: frozenset[int] = EVERY_DAY

    def __post_init__(self) -> None:
        if not self.weekdays or not self.weekdays <= EVERY_DAY:
            raise ValueError(f"weekdays must be a non-empty subset of 0..6, was {sorted(self.weekdays)}")
        if self.start.tzinfo is not None or self.end.tzinfo is not None:
            raise ValueError("a break is wall-clock time of the plant and must carry no time zone")
        if self.start.microsecond or self.end.microsecond:
            raise ValueError(f"a break must begin and end on a whole second, was {self.start} to {self.end}")


DEFAULT_BREAKS = (
    WeeklyBreak(name="machine off", start=time(1, 0), end=time(6, 30)),
    WeeklyBreak(name="morning tea", start=time(9, 45), end=time(10, 0)),
    WeeklyBreak(name="lunch", start=time(12, 45), end=time(13, 30)),
    WeeklyBreak(name="afternoon tea", start=time(15, 15), end=time(15, 30)),
    WeeklyBreak(name="dinner", start=time(18, 0), end=time(19, 0)),
    WeeklyBreak(name="supper", start=time(23, 0), end=time(23, 30)),
    WeeklyBreak(name="Saturday afternoon", start=time(13, 0), end=time(0, 0), weekdays=frozenset({SATURDAY})),
    WeeklyBreak(name="Sunday", start=time(0, 0), end=time(0, 0), weekdays=frozenset({SUNDAY})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingHours:
    """When the plant is open: an instant is closed if its wall-clock time lies in a break or on a holiday.

    `origin` is the instant of second 0. Because the rule speaks of the wall clock, a break lasts an
    hour less or more on the nights when the clocks change, and a break inside the skipped hour does
    not happen.
    """

    origin: datetime
    zone: str = "UTC"
    breaks: tuple[WeeklyBreak, ...] = DEFAULT_BREAKS
    holidays: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        if self.origin.tzinfo is None:
            raise ValueError("origin must be an instant with a time zone, was naive")
        if self.origin.microsecond:
            raise ValueError(f"origin must be a whole second, was {self.origin.isoformat()}")
        object.__setattr__(self, "origin", self.origin.astimezone(UTC))
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"zone must be an IANA time zone, was {self.zone!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """One machine is not available from `start_seconds` (inclusive) to `end_seconds` (exclusive)."""

    start_seconds: int
    end_seconds: int
    reason: str = ""

    def __post_init__(self) -> None:
        if self.end_seconds <= self.start_seconds:
            raise ValueError(f"end_seconds must be > start_seconds {self.start_seconds}, was {self.end_seconds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine. `busy_seconds` of open time pass before it can take new work."""

    id: int
    name: str = ""
    busy_seconds: int = 0
    closures: tuple[Closure, ...] = ()

    def __post_init__(self) -> None:
        if self.busy_seconds < 0:
            raise ValueError(f"busy_seconds must be >= 0, was {self.busy_seconds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A machine that may do an operation, by its index in `Problem.machines`, and how long it takes there.

    `also_holds` are further machines that the operation holds from its start to its end; it works only
    while all of them are open. Work that takes no time is done at an instant: its machine must be open and
    not in the midst of other work then.
    """

    machine: int
    processing_seconds: int
    setup_seconds: int = 0
    also_holds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.machine < 0:
            raise ValueError(f"machine must be >= 0, was {self.machine}")
        if self.processing_seconds < 0:
            raise ValueError(f"processing_seconds must be >= 0, was {self.processing_seconds}")
        if self.setup_seconds < 0:
            raise ValueError(f"setup_seconds must be >= 0, was {self.setup_seconds}")
        if self.also_holds and len({self.machine, *self.also_holds}) != 1 + len(self.also_holds):
            raise ValueError(f"also_holds must name other machines than {self.machine}, once, was {self.also_holds}")

    @property
    def machines(self) -> tuple[int, ...]:
        """All machines that are held, the one that counts as doing the work first."""
        return (self.machine, *self.also_holds)

    @property
    def duration_seconds(self) -> int:
        """Its own setup and processing; a setup matrix may replace the setup."""
        return self.setup_seconds + self.processing_seconds


_SETTERS = [getattr(Alternative, each.name).__set__ for each in fields(Alternative)]


def alike_alternatives(machines: Sequence[int], processing_seconds: int, setup_seconds: int) -> tuple[Alternative, ...]:
    """One for each machine, by its index, that differ in nothing else.

    A request has thousands of them: they are checked as one.
    """
    if not machines:
        return ()
    if min(*machines, processing_seconds, setup_seconds) < 0:
        # Refuses to exist, and says why.
        Alternative(machine=min(machines), processing_seconds=processing_seconds, setup_seconds=setup_seconds)
    set_machine, set_processing, set_setup, set_also_held = _SETTERS
    alike = [object.__new__(Alternative) for _ in machines]
    for machine, each in zip(machines, alike, strict=True):
        set_machine(each, machine)
        set_processing(each, processing_seconds)
        set_setup(each, setup_seconds)
        set_also_held(each, ())
    return tuple(alike)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Work that must not move: it begins at `start_seconds` on its only alternative.

    `end_seconds` is given for work that has begun, whose start lies before 0: it is finished when its end does
    not lie after 0, and then needs its machine no more; otherwise it runs, and its setup and processing are open
    time from its start to its end. Without it the end follows from the calendar. Pinned work takes its own setup,
    never that of a setup matrix.
    """

    start_seconds: int
    end_seconds: int | None = None

    def __post_init__(self) -> None:
        if self.end_seconds is not None and self.end_seconds <= self.start_seconds:
            raise ValueError(f"end_seconds must be > start_seconds {self.start_seconds}, was {self.end_seconds}")
        if self.end_seconds is not None and self.start_seconds >= 0:
            raise ValueError(f"start_seconds of work that has begun must be < 0, was {self.start_seconds}")

    @property
    def has_begun(self) -> bool:
        """Whether it begins before second 0, and rightly so."""
        return self.end_seconds is not None

    @property
    def is_finished(self) -> bool:
        """Whether it has ended by second 0."""
        return self.end_seconds is not None and self.end_seconds <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPlace:
    """Where an earlier plan had an operation: on a machine, by its index, from `start_seconds` to `end_seconds`.

    The end may be unknown; nobody is held to it.
    """

    machine: int
    start_seconds: int
    end_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityLimit:
    """How much worse a plan may be for the places of an earlier plan that it keeps.

    `makespan_share` is by how much longer it may take, `value_share` by how much its objective may be worse: than what
    the earlier plan promised, and than a plan that keeps nothing. While no more than `few_share` of the places are
    left, each costs only `few_price_share` of what it costs otherwise.
    """

    makespan_share: float
    value_share: float
    few_share: float
    few_price_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeover:
    """Setup when work of group `after` follows work of group `before`, on one machine by its index; None: on any."""

    before: str
    after: str
    setup_seconds: int
    machine: int | None = None

    def __post_init__(self) -> None:
        if self.setup_seconds < 0:
            raise ValueError(f"setup_seconds must be >= 0, was {self.setup_seconds}")
        if self.machine is not None and self.machine < 0:
            raise ValueError(f"machine must be >= 0, was {self.machine}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One step of a job, done once on one of its alternatives.

    A due date may be missed (that is tardiness); a deadline may not be missed unreported.
    """

    id: str
    alternatives: tuple[Alternative, ...]
    release_seconds: int = 0
    due_seconds: int | None = None
    deadline_seconds: int | None = None
    weight: float = 1.0
    priority: int = 2
    is_important: bool = False
    interruptible: bool = True
    setup_group: str | None = None
    pin: Pin | None = None
    earlier_place: EarlierPlace | None = None

    def __post_init__(self) -> None:
        if not self.alternatives:
            raise ValueError(f"operation {self.id!r} must have at least one alternative, had none")
        machines = [alternative.machine for alternative in self.alternatives]
        if len(set(machines)) != len(machines):
            raise ValueError(f"operation {self.id!r} must name each machine once, was {machines}")
        if self.pin is not None and len(machines) != 1:
            raise ValueError(f"pinned operation {self.id!r} must have one alternative, had {len(machines)}")
        if self.pin is not None and self.alternatives[0].duration_seconds < 1:
            raise ValueError(f"pinned operation {self.id!r} must take time, took none")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight of operation {self.id!r} must be > 0 and finite, was {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Operations in the order in which they must be done."""

    id: str
    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        if not self.operations:
            raise ValueError(f"job {self.id!r} must have at least one operation, had none")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that a proposer may know, and everything that the judge holds it to.

    `hours` None means continuous operation; closures of single machines apply all the same.

    The setup of an operation is that of its alternative, unless `changeovers` are given and both it and
    the last work that ended before it on the machine have a setup group: then it is that of the
    changeover listed for the two groups, first of all one for that machine, none when nothing is listed and
    the groups are equal, and its own when nothing is listed and they differ. An operation that holds several
    machines takes the longest of their setups. The first work on a machine takes its own setup. Work that
    takes no time comes behind work that ends when it does, and several such in the order of the schedule.

    `stability_seconds` is what the objective charges for each operation that leaves its earlier place. It buys no plan
    beyond `stability_limit`; None: it buys any.

    Raises `InvalidProblem` when ids repeat, an alternative or a changeover names a machine that does not
    exist, or a changeover is listed twice.
    """

    jobs: tuple[Job, ...]
    machines: tuple[Machine, ...]
    hours: WorkingHours | None = None
    changeovers: tuple[Changeover, ...] = ()
    objective: Objective = Objective.MAKESPAN
    stability_seconds: float = 0.0
    stability_limit: StabilityLimit | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        reasons = [
            *_repeated("machine", [str(machine.id) for machine in self.machines]),
            *_repeated("job", [job.id for job in self.jobs]),
            *_repeated("operation", [operation.id for operation in self.operations]),
            *self._unknown_machines(),
            *_repeated("changeover", [_changeover_words(change) for change in self.changeovers]),
        ]
        if not self.jobs:
            reasons.append(("jobs", "must not be empty"))
        if not self.machines:
            reasons.append(("machines", "must not be empty"))
        if reasons:
            raise InvalidProblem(reasons)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """All operations, job by job: the order of every array with an operation axis."""
        return tuple(operation for job in self.jobs for operation in job.operations)

    def changeover_seconds(self, machine: int, before: str, after: str) -> int | None:
        """What is listed for work of group `after` behind work of group `before` on a machine, by its index."""
        found = self._listed.get((machine, before, after))
        return self._listed.get((None, before, after)) if found is None else found

    @cached_property
    def _listed(self) -> dict[tuple[int | None, str, str], int]:
        return {(change.machine, change.before, change.after): change.setup_seconds for change in self.changeovers}

    @cached_property
    def usable_machines(self) -> frozenset[int]:
        """Indices of the machines that some operation may still use: all but the finished work."""
        # Operations that agree share one tuple of alternatives, which may be long.
        shared = {
            id(operation.alternatives): operation.alternatives
            for operation in self.operations
            if operation.pin is None or not operation.pin.is_finished
        }
        choices = list(chain.from_iterable(shared.values()))
        also_held = chain.from_iterable([choice.also_holds for choice in choices if choice.also_holds])
        return frozenset(chain([choice.machine for choice in choices], also_held))

    @property
    def _highest_machine(self) -> int:
        """The highest index of a machine that anything names, -1 where nothing does."""
        # Operations that agree share one tuple of alternatives, which may be long.
        shared = {id(operation.alternatives): operation.alternatives for operation in self.operations}
        choices = list(chain.from_iterable(shared.values()))
        also_held = chain.from_iterable([choice.also_holds for choice in choices if choice.also_holds])
        of_changeovers = [change.machine for change in self.changeovers if change.machine is not None]
        return max(chain([choice.machine for choice in choices], also_held, of_changeovers), default=-1)

    def _unknown_machines(self) -> list[tuple[str, str]]:
        count = len(self.machines)
        if self._highest_machine < count:
            return []
        named = {change.machine: change for change in self.changeovers if change.machine is not None}
        return [
            (f"changeover {_changeover_words(change)}", f"machine index must be < {count}, was {machine}")
            for machine, change in named.items()
            if machine >= count
        ] + [
            (f"operation {operation.id}", f"machine index must be < {count}, was {machine}")
            for operation in self.operations
            for alternative in operation.alternatives
            for machine in alternative.machines
            if machine >= count
        ]


def _changeover_words(change: Changeover) -> str:
    where = "" if change.machine is None else f" on machine {change.machine}"
    return f"{change.before!r} to {change.after!r}{where}"


def _repeated(what: str, ids: list[str]) -> list[tuple[str, str]]:
    if len(set(ids)) == len(ids):
        return []
    seen: set[str] = set()
    repeated = sorted({identifier for identifier in ids if identifier in seen or seen.add(identifier)})  # type: ignore[func-returns-value]
    return [(f"{what} {identifier}", "must be unique, was given more than once") for identifier in repeated]
