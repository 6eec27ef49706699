"""What becomes of an earlier schedule when its plant is planned again: finished, running and frozen work.

Finished work keeps its row and needs no machine any more. Running work keeps machine, start and setup; its
end is reckoned anew. Frozen work that has not begun keeps its machine and its start where it can, else it
goes as early as possible on any of its machines, and so does running work whose machine is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import in_zone, seconds_after, seconds_of
from deployments.contracts.translation.fixed_work import EarlierRow, Reason, as_schedule, pinned_end
from deployments.contracts.translation.open_hours import PlantHours
from env.judge.verdict import amount, quantity
from env.problem import Alternative, Job, Machine, Operation, Pin, Problem
from env.schedule import Assignment, Schedule, changeover_seconds, setup_seconds_of

MAX_CHANGE_WARNINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierWork:
    """The rows of an earlier schedule that bind this one, by operation, in seconds from the new start.

    `begun` started before second 0 and before the freeze ends, `frozen` starts later but before the freeze ends,
    and `released` started before second 0 but after it; `finished` are those of `begun` that had ended by second 0.
    `first_second` is when the first row began that still runs, `last_second` the end of the last one that binds, both
    0 without any. `setups` are the seconds of setup of each row.
    """

    begun: Mapping[str, Assignment] = field(default_factory=dict)
    frozen: Mapping[str, Assignment] = field(default_factory=dict)
    finished: Mapping[str, Assignment] = field(default_factory=dict)
    first_second: int = 0
    last_second: int = 0
    released: Sequence[str] = ()
    setups: Mapping[str, int] = field(default_factory=dict)

    @property
    def binds(self) -> bool:
        """Whether any of it has its place."""
        return bool(self.begun or self.frozen)


def earlier_work(
    request: ScheduleRequest, earlier: tuple[EarlierRow, ...], start: datetime, zone: ZoneInfo
) -> EarlierWork:
    """What of an earlier schedule binds the request; seconds count from `start`, the new beginning."""
    until = 0.0 if request.freeze_until is None else seconds_after(start, in_zone(request.freeze_until, zone))
    wanted = {job.job_id for job in request.jobs}
    rows = [row for row in as_schedule(earlier, start).assignments if row.operation_id in wanted]
    bound = [row for row in rows if row.start_seconds < until]
    begun = {row.operation_id: row for row in bound if row.start_seconds < 0}
    frozen = {row.operation_id: row for row in bound if row.start_seconds >= 0}
    return EarlierWork(
        begun=begun,
        frozen=frozen,
        finished={name: row for name, row in begun.items() if row.end_seconds <= 0},
        first_second=min((row.start_seconds for row in begun.values() if row.end_seconds > 0), default=0),
        last_second=max((row.end_seconds for row in (*begun.values(), *frozen.values())), default=0),
        released=[row.operation_id for row in rows if until <= row.start_seconds < 0],
    )


def with_setups(work: EarlierWork, problem: Problem, rows: Mapping[str, EarlierRow]) -> EarlierWork:
    """The same with the setup of each row: as it says, or by the rule of `Problem` where an older answer does not."""
    placed = Schedule(assignments=(*work.begun.values(), *work.frozen.values()))
    known = {
        name: seconds_of(hours) for name in placed.by_operation if (hours := rows[name].setup_time_included) is not None
    }
    return replace(work, setups={**setup_seconds_of(problem, placed), **known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """The problem with each piece of fixed work in its place, what that changed, and what contradicts it."""

    problem: Problem
    warnings: tuple[str, ...]
    reasons: tuple[Reason, ...]


def continued(
    problem: Problem,
    plant: PlantHours,
    earlier: EarlierWork,
    lost: Mapping[int, str],
    path_of: Mapping[str, str],
    names: Mapping[int, str] | None = None,
) -> Continued:
    """`problem` with a pin for all work that has its place.

    In it finished work is pinned already, and so is what the request pins. `lost` says of machines (ids) that are
    not at work what they are ("Laser is offline"); `path_of` maps an operation to its place in the request, `names`
    the ids of machines, also of those that are gone, to what people call them.
    """
    if not earlier.binds and all(operation.pin is None for operation in problem.operations):
        return Continued(problem=problem, warnings=_released_warnings(earlier.released), reasons=())
    fixed = _FixedWork(problem, plant, earlier, lost, names or {})
    fixed.settle()
    jobs = tuple(Job(id=job.id, operations=tuple(map(fixed.operation, job.operations))) for job in problem.jobs)
    reasons = (*_sequence_reasons(problem, fixed, path_of), *_shared_machine_reasons(problem, fixed, path_of))
    warnings = (*_capped(fixed.warnings), *_released_warnings(earlier.released))
    return Continued(problem=replace(problem, jobs=jobs), warnings=warnings, reasons=reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Work on the machines of `choice`, whose setup is the one it takes there."""

    operation: Operation
    choice: Alternative
    start: int
    end: int

    @property
    def has_begun(self) -> bool:
        return self.start < 0

    @property
    def is_finished(self) -> bool:
        return self.has_begun and self.end <= 0

    def holds(self, machine: int) -> bool:
        return machine in self.choice.machines


class _FixedWork:
    """Places by operation, found in the order in which they bind: what has begun, pins, frozen work, what must move."""

    def __init__(
        self,
        problem: Problem,
        plant: PlantHours,
        earlier: EarlierWork,
        lost: Mapping[int, str],
        names: Mapping[int, str],
    ) -> None:
        self.places: dict[str, _Place] = {}
        self.warnings: list[str] = []
        self._problem = problem
        self._plant = plant
        self._earlier = earlier
        self._names = names
        self._lost = lost
        self._held: list[list[_Place]] = [[] for _ in problem.machines]
        self._index_of = {machine.id: index for index, machine in enumerate(problem.machines)}
        self._ahead = {behind.id: ahead for job in problem.jobs for ahead, behind in pairwise(job.operations)}
        self._moving: dict[str, str] = {}

    def settle(self) -> None:
        """Find all places."""
        operations = self._problem.operations
        for operation in operations:
            if self._has_begun(operation):
                self._begin(operation)
        for operation in operations:
            if operation.pin is not None and operation.id not in self.places:
                end = pinned_end(operation, self._plant)
                if end is not None:
                    self._put(operation, operation.alternatives[0], operation.pin.start_seconds, end)
        frozen = [each for each in operations if each.id in self._earlier.frozen and each.id not in self.places]
        for operation in sorted(frozen, key=lambda each: self._earlier.frozen[each.id].start_seconds):
            if operation.pin is None:
                self._keep(operation)
        for operation in sorted(
            (each for each in operations if each.id in self._moving), key=lambda each: self._row(each).start_seconds
        ):
            self._move(operation)

    def operation(self, operation: Operation) -> Operation:
        """The operation with its pin, unchanged where it has no place."""
        place = self.places.get(operation.id)
        if place is None or (place.is_finished and operation.pin is not None and operation.pin.end_seconds is not None):
            return operation
        pin = Pin(start_seconds=place.start, end_seconds=place.end if place.has_begun else None)
        # What has begun has its material, whatever the request says.
        release = 0 if place.has_begun else operation.release_seconds
        return replace(operation, alternatives=(place.choice,), pin=pin, release_seconds=release)

    def moves(self, operation: Operation) -> bool:
        """Whether it was frozen or running and cannot stay."""
        return operation.id in self._moving

    def _row(self, operation: Operation) -> Assignment:
        return self._earlier.begun.get(operation.id) or self._earlier.frozen[operation.id]

    def _has_begun(self, operation: Operation) -> bool:
        pinned = operation.pin is not None and operation.pin.start_seconds < 0
        return pinned or operation.id in self._earlier.begun

    def _begin(self, operation: Operation) -> None:
        """Put work that has begun where it is; if it runs and its machine is lost, it must begin anew."""
        pin, row = operation.pin, self._earlier.begun.get(operation.id)
        if pin is not None and pin.end_seconds is not None:
            self._put(operation, operation.alternatives[0], pin.start_seconds, pin.end_seconds)
            return
        if row is None:
            assert pin is not None
            choice, start = operation.alternatives[0], pin.start_seconds
        else:
            found, start = self._on(operation, row.machine_id), row.start_seconds
            if found is None:
                self._moving[operation.id] = self._loss(row.machine_id)
                return
            choice = replace(found, setup_seconds=self._earlier.setups.get(operation.id, found.setup_seconds))
        end = self._plant.of(choice.machines).finish(start, choice.duration_seconds)
        if end is None and row is not None:
            self._moving[operation.id] = f"{self._name(choice.machine)} does not open again"
            return
        # A pin whose machine never opens again is refused; until then it holds it as long as its work takes.
        self._put(operation, choice, start, start + choice.duration_seconds if end is None else end)
        if row is not None and end is not None and end != row.end_seconds:
            self._warn_of_end(operation, choice, row, end)

    def _keep(self, operation: Operation) -> None:
        """Put frozen work that has not begun where it was, or say why it cannot stay."""
        row = self._row(operation)
        choice = self._on(operation, row.machine_id)
        if choice is None:
            self._moving[operation.id] = self._loss(row.machine_id)
            return
        choice = replace(choice, setup_seconds=self._setup(operation, choice, row.start_seconds))
        end = self._plant.of(choice.machines).finish(
            row.start_seconds, choice.duration_seconds, interruptible=operation.interruptible
        )
        cause = self._obstacle(operation, choice, row.start_seconds, end)
        if cause is not None or end is None:
            self._moving[operation.id] = cause or f"{self._name(choice.machine)} does not open again"
            return
        self._put(operation, choice, row.start_seconds, end)
        if end != row.end_seconds:
            self._warn_of_end(operation, choice, row, end)

    def _obstacle(self, operation: Operation, choice: Alternative, start: int, end: int | None) -> str | None:
        """Why work cannot begin at `start`, where it would end at `end`; None when nothing is in the way."""
        ahead = self._ahead.get(operation.id)
        if ahead is not None and ahead.id in self._moving:
            return f"{ahead.id} ahead of it moves"
        if ahead is not None and ahead.id in self.places and self.places[ahead.id].end > start:
            return f"{ahead.id} ahead of it ends {self._moment(self.places[ahead.id].end)}"
        if operation.release_seconds > start:
            return f"its material arrives {self._moment(operation.release_seconds)}"
        free = self._plant.free_from(choice.machines)
        if free > start:
            return f"{self._name(choice.machine)} has earlier load until {self._moment(free)}"
        hours = self._plant.of(choice.machines)
        opens = hours.next_open(start)
        if opens is not None and opens > start:
            return self._closed(choice, start, start + 1) or (
                f"{self._name(choice.machine)} is closed until {self._moment(opens)}"
            )
        if end is not None and not operation.interruptible and end != start + choice.duration_seconds:
            name = self._name(choice.machine)
            return self._closed(choice, start, end) or f"{name} closes before it could end, and it must not pause"
        holder = None if end is None else self._holder(operation, choice, start, end)
        if holder is not None:
            return f"{self._name(choice.machine)} has {holder.operation.id} until {self._moment(holder.end)}"
        return None

    def _move(self, operation: Operation) -> None:
        """Put work that cannot stay as early as possible on one of its machines, behind what is ahead of it."""
        if operation.id in self.places:
            return
        ahead = self._ahead.get(operation.id)
        if ahead is not None and ahead.id in self._moving:
            self._move(ahead)
        ready = max(0, operation.release_seconds)
        if ahead is not None and ahead.id in self.places:
            ready = max(ready, self.places[ahead.id].end)
        row = self._row(operation)
        home = self._index_of.get(row.machine_id)
        found = [self._earliest(operation, choice, ready) for choice in operation.alternatives]
        places = [place for place in found if place is not None]
        if not places:
            return
        best = min(places, key=lambda each: (each.end, each.start, each.choice.machine != home, each.choice.machine))
        self._put(operation, best.choice, best.start, best.end)
        self._warn_of_move(operation, row, best)

    def _earliest(self, operation: Operation, choice: Alternative, ready: int) -> _Place | None:
        """The first place for it on one of its machines from `ready` on, around all that has a place."""
        hours = self._plant.of(choice.machines)
        ready = max(ready, self._plant.free_from(choice.machines))
        while True:
            taken = replace(choice, setup_seconds=self._setup(operation, choice, ready, is_home=False))
            work = taken.duration_seconds
            end = hours.finish(ready, work, interruptible=operation.interruptible)
            if end is None:
                return None
            begin = hours.next_open(ready)
            start = end - work if begin is None or not operation.interruptible else begin
            blocked_until = max((each.end for each in self._holders(choice, ready, end)), default=ready)
            if blocked_until <= ready:
                return _Place(operation=operation, choice=taken, start=start, end=end)
            ready = blocked_until

    def _setup(self, operation: Operation, choice: Alternative, second: int, *, is_home: bool = True) -> int:
        """The setup of work that begins at `second` behind all that has a place, by the rule of `Problem`.

        Where nothing is known to go before it in its own place, it is the one of its row.
        """
        own, group = choice.setup_seconds, operation.setup_group
        if not self._problem.changeovers or group is None:
            return own
        before = {machine: self._last_group(machine, second) for machine in choice.machines}
        if is_home and not any(is_known for is_known, _ in before.values()):
            return self._earlier.setups.get(operation.id, own)
        return max(
            changeover_seconds(self._problem, machine, last, group, own) for machine, (_, last) in before.items()
        )

    def _last_group(self, machine: int, second: int) -> tuple[bool, str | None]:
        """Whether any work is known to have left the machine by `second`, and the setup group of the last."""
        gone = [place for place in self._held[machine] if place.end <= second]
        last = max(gone, key=lambda place: place.end, default=None)
        return last is not None, None if last is None else last.operation.setup_group

    def _put(self, operation: Operation, choice: Alternative, start: int, end: int) -> None:
        place = _Place(operation=operation, choice=choice, start=start, end=end)
        self.places[operation.id] = place
        for machine in choice.machines:
            self._held[machine].append(place)

    def _holders(self, choice: Alternative, start: int, end: int) -> Iterator[_Place]:
        """Work with a place on its machines that touches [start, end); finished work holds none any more."""
        for machine in choice.machines:
            for place in self._held[machine]:
                if not place.is_finished and place.start < end and place.end > start:
                    yield place

    def _holder(self, operation: Operation, choice: Alternative, start: int, end: int) -> _Place | None:
        """Who keeps frozen work from [start, end), but for a pin on the row itself: that contradicts the freeze."""
        until = self._row(operation).end_seconds
        found = [
            place
            for place in self._holders(choice, start, end)
            if place.operation.pin is None or place.has_begun or place.start >= until
        ]
        return max(found, key=lambda each: each.end, default=None)

    def _on(self, operation: Operation, machine_id: int) -> Alternative | None:
        index = self._index_of.get(machine_id)
        return next((choice for choice in operation.alternatives if choice.machine == index), None)

    def _loss(self, machine_id: int) -> str:
        if machine_id not in self._index_of or machine_id in self._lost:
            return f"{self._lost.get(machine_id, f'{self._machine_name(machine_id)} is not among machines')}"
        return f"{self._name(self._index_of[machine_id])} cannot do it any more"

    def _warn_of_end(self, operation: Operation, choice: Alternative, row: Assignment, end: int) -> None:
        moved = end - row.end_seconds
        how = f"{amount(abs(moved))} {'later' if moved > 0 else 'earlier'}"
        causes = " and ".join(self._causes(choice, row, end))
        self.warnings.append(f"{operation.id} now ends {self._moment(end)}, {how}: {causes}")

    def _causes(self, choice: Alternative, row: Assignment, end: int) -> Iterator[str]:
        """Why work that keeps its start ends at another time than in its row."""
        span = (row.start_seconds, row.end_seconds)
        planned = self._plant.of().worked(*span)
        closed = self._closed(choice, row.start_seconds, max(end, row.end_seconds))
        work = choice.duration_seconds
        if closed is not None and work != self._plant.of(choice.machines).worked(*span):
            yield closed
            if work != planned:
                yield f"it takes {amount(work)} now"
        elif work != planned:
            yield f"it takes {amount(work)} now, was planned with {amount(planned)}"
        else:
            yield "the calendar has changed"

    def _closed(self, choice: Alternative, start: int, end: int) -> str | None:
        """The first closure of its machines that touches [start, end), in words."""
        closures = [
            (closure.start_seconds, closure.end_seconds, machine)
            for machine in choice.machines
            for closure in self._problem.machines[machine].closures
            if closure.start_seconds < end and closure.end_seconds > start
        ]
        if not closures:
            return None
        first, last, machine = min(closures)
        return f"{self._name(machine)} is closed from {self._moment(first)} to {self._moment(last)}"

    def _warn_of_move(self, operation: Operation, row: Assignment, place: _Place) -> None:
        was = f"{self._moment(row.start_seconds)} on {self._machine_name(row.machine_id)}"
        now = f"{self._moment(place.start)} on {self._name(place.choice.machine)}"
        verb = "begins anew" if row.start_seconds < 0 else "now starts"
        self.warnings.append(f"{operation.id} {verb} {now}, was {was}: {self._moving[operation.id]}")

    def _machine_name(self, machine_id: int) -> str:
        index = self._index_of.get(machine_id)
        return self._names.get(machine_id) or f"machine {machine_id}" if index is None else self._name(index)

    def _name(self, machine: int) -> str:
        return machine_name(self._problem.machines[machine])

    def _moment(self, second: int) -> str:
        return self._plant.weekday_moment(second)


def machine_name(machine: Machine) -> str:
    """The machine by its name, by its id when it has none."""
    return machine.name or f"machine {machine.id}"


def _sequence_reasons(problem: Problem, fixed: _FixedWork, path_of: Mapping[str, str]) -> Iterator[Reason]:
    """Work without a place that must precede work with one, and work to come that must precede what has begun."""
    for job in problem.jobs:
        for ahead, behind in pairwise(job.operations):
            later = fixed.places.get(behind.id)
            if later is None or (behind.pin is not None and not later.has_begun):
                continue
            earlier = fixed.places.get(ahead.id)
            if later.has_begun and (earlier is None or not earlier.has_begun):
                state = "has begun already"
            elif earlier is None and not fixed.moves(ahead):
                state = "is frozen"
            else:
                continue
            message = f"{ahead.id} must not precede {behind.id} in family {job.id}, which {state}: "
            message += f"give {ahead.id} a later sequence, leave it out, or "
            message += (
                f"leave {behind.id} out" if later.has_begun else f"let freeze_until end before {behind.id} starts"
            )
            yield f"{path_of[ahead.id]}.sequence", message


def _shared_machine_reasons(problem: Problem, fixed: _FixedWork, path_of: Mapping[str, str]) -> Iterator[Reason]:
    """Two running jobs on one machine."""
    running = [place for place in fixed.places.values() if place.has_begun and not place.is_finished]
    running.sort(key=lambda place: (place.start, place.end, place.operation.id))
    for index, machine in enumerate(problem.machines):
        for first, second in pairwise(place for place in running if place.holds(index)):
            message = f"{first.operation.id} and {second.operation.id} must not both be running on "
            message += f"{machine_name(machine)}: leave out the one that is not, or let it start at schedule_start"
            yield path_of[second.operation.id], message


def _capped(warnings: Sequence[str]) -> tuple[str, ...]:
    omitted = len(warnings) - MAX_CHANGE_WARNINGS
    more = (f"{omitted:,} further jobs of previous_schedule_id do not end or start as planned",) if omitted > 0 else ()
    return (*warnings[:MAX_CHANGE_WARNINGS], *more)


def _released_warnings(released: Sequence[str]) -> tuple[str, ...]:
    if not released:
        return ()
    count, they = quantity(len(released), "job"), "it" if len(released) == 1 else "they"
    text = f"{count} of previous_schedule_id that should start between freeze_until and schedule_start: planned anew, "
    return (f"{text}although {they} may have begun; first is {released[0]}",)
