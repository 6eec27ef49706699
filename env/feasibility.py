"""The judge: whether a schedule may be served, decided without any code that could have proposed it.

Only this module may call a schedule valid. It leans on problem, schedule and errors, and on its own
rooms: verdict, anomalies, judge_calendar and planner_words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise

from env.anomalies import AnomalyLimits, anomalies
from env.judge_calendar import OpenTime, Reach, open_times, reach_of
from env.planner_words import amount, machine_words, moment
from env.problem import Machine, Operation, Problem
from env.schedule import Assignment, Schedule, measure
from env.verdict import Anomaly, AnomalyCode, Verdict, Violation, ViolationCode

__all__ = [
    "DEFAULT_LIMITS",
    "Anomaly",
    "AnomalyCode",
    "AnomalyLimits",
    "Verdict",
    "Violation",
    "ViolationCode",
    "anomalies",
    "judge",
    "open_seconds",
    "violations",
]

DEFAULT_LIMITS = AnomalyLimits()
NAMED_MACHINES = 5


def judge(
    problem: Problem,
    schedule: Schedule,
    limits: AnomalyLimits = DEFAULT_LIMITS,
    baseline_makespan_seconds: int | None = None,
) -> Verdict:
    """All violations, anomalies and measures of `schedule`. Never raises, whatever the schedule claims.

    Measures leave out assignments at times too far away to be judged (`OUT_OF_RANGE`).
    """
    case = _case(problem, schedule)
    judged = Schedule(assignments=tuple(assignment for assignment in schedule.assignments if case.can_time(assignment)))
    measures = measure(problem, judged, _open_seconds(case.open_times, judged.makespan_seconds))
    return Verdict(
        violations=_violations(case),
        anomalies=anomalies(problem, judged, measures, limits, baseline_makespan_seconds),
        measures=measures,
    )


def violations(problem: Problem, schedule: Schedule) -> tuple[Violation, ...]:
    """Every broken rule, whatever the order of the assignments: missing work, then each assignment in order
    of its start, then overlaps by machine, sequences by job, and missed deadlines. Never raises.

    Overlap is reported once for each assignment that starts before its machine is free.
    """
    return _violations(_case(problem, schedule))


def open_seconds(problem: Problem, until_seconds: int) -> int:
    """Open time of all machines together within [0, until_seconds), 0 for a negative argument.

    What lies beyond the 250 years that the calendar can be known for is not counted.
    """
    until = max(0, min(until_seconds, reach_of(problem.hours).last))
    return _open_seconds(open_times(problem.hours, problem.machines, 0, until), until)


def _open_seconds(machines: tuple[OpenTime, ...], until: int) -> int:
    return sum(machine.between(0, max(0, until)) for machine in machines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The schedule beside all that it is held to; `assignments` by start, and `of_operation` likewise."""

    problem: Problem
    operations: Mapping[str, Operation]
    machines: Mapping[int, int]
    assignments: tuple[Assignment, ...]
    of_operation: Mapping[str, list[Assignment]]
    reach: Reach
    open_times: tuple[OpenTime, ...]

    def can_time(self, assignment: Assignment) -> bool:
        return self.reach.holds(assignment.start_seconds) and self.reach.holds(assignment.end_seconds)

    def moment(self, second: int) -> str:
        return moment(self.problem.hours, second)


def _case(problem: Problem, schedule: Schedule) -> _Case:
    assignments = sorted(
        schedule.assignments,
        key=lambda each: (each.start_seconds, each.end_seconds, each.operation_id, each.machine_id),
    )
    of_operation: dict[str, list[Assignment]] = {}
    for assignment in assignments:
        of_operation.setdefault(assignment.operation_id, []).append(assignment)
    reach = reach_of(problem.hours)
    timed = [each for each in assignments if reach.holds(each.start_seconds) and reach.holds(each.end_seconds)]
    times = [0, *(time for each in timed for time in (each.start_seconds, each.end_seconds))]
    return _Case(
        problem=problem,
        operations={operation.id: operation for operation in problem.operations},
        machines={machine.id: index for index, machine in enumerate(problem.machines)},
        assignments=tuple(assignments),
        of_operation=of_operation,
        reach=reach,
        # One more second, so that the second that begins at the last time has an answer too.
        open_times=open_times(problem.hours, problem.machines, min(times), max(times) + 1),
    )


def _violations(case: _Case) -> tuple[Violation, ...]:
    return tuple(
        chain(
            _missing(case),
            _repeated(case),
            chain.from_iterable(_of_assignment(case, assignment) for assignment in case.assignments),
            _overlaps(case),
            _sequences(case),
            _deadlines(case),
        )
    )


def _missing(case: _Case) -> Iterator[Violation]:
    for operation in case.problem.operations:
        if operation.id not in case.of_operation:
            message = f"{operation.id} is not in the schedule; it must be there once."
            yield Violation(code=ViolationCode.MISSING_OPERATION, operation_id=operation.id, message=message)


def _repeated(case: _Case) -> Iterator[Violation]:
    for operation_id, assignments in case.of_operation.items():
        if len(assignments) > 1:
            message = f"{operation_id} is in the schedule {len(assignments)} times; it must be there once."
            yield Violation(code=ViolationCode.DUPLICATE_OPERATION, operation_id=operation_id, message=message)


def _of_assignment(case: _Case, assignment: Assignment) -> Iterator[Violation]:
    """Rules that one assignment can break alone."""
    start, end = assignment.start_seconds, assignment.end_seconds
    operation = case.operations.get(assignment.operation_id)
    if operation is None:
        yield _broken(ViolationCode.UNKNOWN_OPERATION, assignment, 0, "is not part of the request.")
    elif operation.release_seconds > max(0, start):
        early = operation.release_seconds - max(0, start)
        text = f"starts {amount(early)} before its material arrives at {case.moment(operation.release_seconds)}."
        yield _broken(ViolationCode.BEFORE_RELEASE, assignment, early, text)
    if start < 0:
        text = f"starts {amount(-start)} before the schedule does; it must start at or after its beginning."
        yield _broken(ViolationCode.BEFORE_START, assignment, -start, text)
    if end <= start:
        text = f"ends {amount(start - end)} before its own start; it must end at least 1 s after it."
        yield _broken(ViolationCode.EMPTY_SPAN, assignment, start - end + 1, text)
    yield from _placement(case, assignment, operation)
    if not case.can_time(assignment):
        beyond = max(case.reach.first - start, case.reach.first - end, start - case.reach.last, end - case.reach.last)
        text = "is placed at a time that cannot be judged; it must lie within 250 years of the start of the schedule."
        yield _broken(ViolationCode.OUT_OF_RANGE, assignment, beyond, text)
    elif assignment.machine_id in case.machines:
        yield from _machine_time(case, assignment, operation)


def _placement(case: _Case, assignment: Assignment, operation: Operation | None) -> Iterator[Violation]:
    machine = case.machines.get(assignment.machine_id)
    eligible = _eligible(case, operation)
    if machine is None:
        text = f"is on a machine that is not part of the request{eligible}."
        yield _broken(ViolationCode.UNKNOWN_MACHINE, assignment, 0, text)
    elif operation is not None and _duration(operation, machine) is None:
        text = f"is on {machine_words(case.problem.machines[machine])}, which cannot do it{eligible}."
        yield _broken(ViolationCode.INELIGIBLE_MACHINE, assignment, 0, text)


def _machine_time(case: _Case, assignment: Assignment, operation: Operation | None) -> Iterator[Violation]:
    """Rules about the open time of a known machine."""
    index = case.machines[assignment.machine_id]
    machine, opened = case.problem.machines[index], case.open_times[index]
    start, end = assignment.start_seconds, assignment.end_seconds
    load = machine.busy_seconds - max(0, opened.between(0, start)) if machine.busy_seconds else 0
    if load > 0:
        text = f"starts on {machine_words(machine)} at {case.moment(start)}, {amount(load)} of open time too early: "
        yield _broken(
            ViolationCode.MACHINE_BUSY, assignment, load, text + "it must wait for the machine's earlier load."
        )
    if end <= start:
        return
    if not opened.is_open(start):
        closed = opened.closed_from(start, end)
        text = (
            f"starts on {machine_words(machine)} at {case.moment(start)}, which is closed for {amount(closed)} more; "
        )
        yield _broken(ViolationCode.STARTS_WHILE_CLOSED, assignment, closed, text + "it must start in open time.")
    if not opened.is_open(end - 1):
        closed = opened.closed_before(start, end)
        text = f"ends on {machine_words(machine)} at {case.moment(end)}, which has been closed for {amount(closed)}; "
        yield _broken(ViolationCode.ENDS_WHILE_CLOSED, assignment, closed, text + "its last second must be open.")
    duration = None if operation is None else _duration(operation, index)
    if operation is not None and duration is not None:
        worked = opened.between(start, end)
        yield from _working_time(assignment, machine, worked, duration)
        if not operation.interruptible and worked < end - start:
            text = f"pauses for {amount(end - start - worked)} while {machine_words(machine)} is closed; "
            text += "it must not pause, so it must fit inside one opening."
            yield _broken(ViolationCode.INTERRUPTED, assignment, end - start - worked, text)


def _working_time(assignment: Assignment, machine: Machine, worked: int, duration: int) -> Iterator[Violation]:
    held = f"has {amount(worked)} of open time on {machine_words(machine)}, "
    must = f"than the {amount(duration)} that its setup and processing take."
    if worked < duration:
        text = f"{held}{amount(duration - worked)} less {must}"
        yield _broken(ViolationCode.WORKING_TIME_SHORT, assignment, duration - worked, text)
    elif worked > duration:
        text = f"{held}{amount(worked - duration)} more {must}"
        yield _broken(ViolationCode.WORKING_TIME_LONG, assignment, worked - duration, text)


def _overlaps(case: _Case) -> Iterator[Violation]:
    on_machine: dict[int, list[Assignment]] = {machine.id: [] for machine in case.problem.machines}
    for assignment in case.assignments:
        if assignment.machine_id in on_machine and assignment.end_seconds > assignment.start_seconds:
            on_machine[assignment.machine_id].append(assignment)
    for machine in case.problem.machines:
        holder: Assignment | None = None
        for assignment in on_machine[machine.id]:
            if holder is not None and assignment.start_seconds < holder.end_seconds:
                shared = min(holder.end_seconds, assignment.end_seconds) - assignment.start_seconds
                text = f"shares {machine_words(machine)} with {holder.operation_id} for {amount(shared)} "
                text += f"from {case.moment(assignment.start_seconds)}; it must wait until the machine is free."
                yield _broken(ViolationCode.MACHINE_OVERLAP, assignment, shared, text)
            if holder is None or assignment.end_seconds > holder.end_seconds:
                holder = assignment


def _sequences(case: _Case) -> Iterator[Violation]:
    """Each placed operation against the placed one ahead of it; of repeated ones the latest end and the first start."""
    for job in case.problem.jobs:
        placed = [case.of_operation[operation.id] for operation in job.operations if operation.id in case.of_operation]
        for ahead, behind in pairwise(placed):
            last = max(ahead, key=lambda each: each.end_seconds)
            early = last.end_seconds - behind[0].start_seconds
            if early > 0:
                text = f"starts at {case.moment(behind[0].start_seconds)}, {amount(early)} before {last.operation_id} "
                text += "ends, which comes ahead of it; it must wait for that."
                yield _broken(ViolationCode.WRONG_SEQUENCE, behind[0], early, text)


def _deadlines(case: _Case) -> Iterator[Violation]:
    for operation in case.problem.operations:
        for assignment in case.of_operation.get(operation.id, ()):
            if operation.deadline_seconds is not None and assignment.end_seconds > operation.deadline_seconds:
                late = assignment.end_seconds - operation.deadline_seconds
                text = f"ends at {case.moment(assignment.end_seconds)}, {amount(late)} after its deadline "
                text += f"{case.moment(operation.deadline_seconds)}."
                yield _broken(ViolationCode.DEADLINE_MISSED, assignment, late, text)


def _broken(code: ViolationCode, assignment: Assignment, by_seconds: int, text: str) -> Violation:
    return Violation(
        code=code,
        operation_id=assignment.operation_id,
        machine_id=assignment.machine_id,
        message=f"{assignment.operation_id} {text}",
        by_seconds=by_seconds,
    )


def _duration(operation: Operation, machine: int) -> int | None:
    """Working seconds on the machine with that index, None where it is not eligible."""
    for alternative in operation.alternatives:
        if alternative.machine == machine:
            return alternative.duration_seconds
    return None


def _eligible(case: _Case, operation: Operation | None) -> str:
    """Which machines it must be on, ready to be appended to a sentence."""
    if operation is None:
        return ""
    ids = [str(case.problem.machines[alternative.machine].id) for alternative in operation.alternatives]
    more = f" or {len(ids) - NAMED_MACHINES} others" if len(ids) > NAMED_MACHINES else ""
    named = "one of the machines" if len(ids) > 1 else "machine"
    return f"; it must be on {named} {', '.join(ids[:NAMED_MACHINES])}{more}"
