"""Every way to spoil work that any plant has: what is in the schedule, where, from when to when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from env.judge.judge import ViolationCode
from env.problem import Machine
from env.schedule import Schedule
from tests.env.judge.victims import NEW_MACHINE_ID, Mutant, Victim
from tests.problems import DAY, HOUR, open_mask

Mutation = Callable[[Victim], Mutant | None]
"""Answers None where a schedule has no place for it."""


def _missing(victim: Victim) -> Mutant:
    rows = tuple(each for each in victim.schedule.assignments if each is not victim.assignment)
    mutant = victim.moved(ViolationCode.MISSING_OPERATION, 0)
    return replace(mutant, schedule=Schedule(assignments=rows))


def _repeated_at_once(victim: Victim) -> Mutant:
    return victim.added(ViolationCode.DUPLICATE_OPERATION, replace(victim.assignment))


def _repeated_later(victim: Victim) -> Mutant:
    start = victim.schedule.makespan_seconds + DAY
    again = replace(victim.assignment, start_seconds=start, end_seconds=start + victim.span_seconds)
    return victim.added(ViolationCode.DUPLICATE_OPERATION, again)


def _renamed(victim: Victim) -> Mutant:
    mutant = victim.moved(ViolationCode.UNKNOWN_OPERATION, 0, operation_id="nobody's")
    return replace(mutant, operation_id="nobody's")


def _machine_of_nobody(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.UNKNOWN_MACHINE, 0, machine_id=NEW_MACHINE_ID)


def _machine_that_cannot(victim: Victim) -> Mutant:
    machines = (*victim.problem.machines, Machine(id=NEW_MACHINE_ID))
    wider = replace(victim, problem=replace(victim.problem, machines=machines))
    return wider.moved(ViolationCode.INELIGIBLE_MACHINE, 0, machine_id=NEW_MACHINE_ID)


def _no_span(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.EMPTY_SPAN, 1, end_seconds=victim.assignment.start_seconds)


def _backward_span(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.EMPTY_SPAN, 2, end_seconds=victim.assignment.start_seconds - 1)


def _beyond_the_calendar(victim: Victim) -> Mutant | None:
    if victim.problem.hours is None:
        return None
    last = 250 * 366 * DAY
    return victim.moved(ViolationCode.OUT_OF_RANGE, start_seconds=last + 1 - victim.span_seconds, end_seconds=last + 1)


def _early_end(victim: Victim) -> Mutant | None:
    if victim.span_seconds == 1:
        return None
    return victim.moved(ViolationCode.WORKING_TIME_SHORT, end_seconds=victim.assignment.end_seconds - 1)


def _late_end(victim: Victim) -> Mutant | None:
    if not victim.is_open(victim.assignment.end_seconds):
        return None
    return victim.moved(ViolationCode.WORKING_TIME_LONG, end_seconds=victim.assignment.end_seconds + 1)


def _late_start(victim: Victim) -> Mutant | None:
    if victim.span_seconds == 1:
        return None
    return victim.moved(ViolationCode.WORKING_TIME_SHORT, start_seconds=victim.assignment.start_seconds + 1)


def _early_start(victim: Victim) -> Mutant | None:
    start = victim.assignment.start_seconds
    if start == 0 or not victim.is_open(start - 1) or _follows_closely(victim):
        return None
    return victim.moved(ViolationCode.WORKING_TIME_LONG, start_seconds=start - 1)


def _follows_closely(victim: Victim) -> bool:
    """Whether a second earlier other work would go before it, and with a setup matrix its setup might change."""
    return any(victim.assignment.start_seconds in victim.ends_ahead(machine) for machine in victim.chosen.machines)


def end_in_closed_time(victim: Victim, index: int) -> Mutant:
    end = victim.assignment.end_seconds
    return victim.closed(index, end, end + HOUR).moved(ViolationCode.ENDS_WHILE_CLOSED, end_seconds=end + 1)


def start_in_closed_time(victim: Victim, index: int) -> Mutant | None:
    start = victim.assignment.start_seconds
    if start == 0:
        return None
    return victim.closed(index, start - HOUR, start).moved(ViolationCode.STARTS_WHILE_CLOSED, start_seconds=start - 1)


def work_through_a_closure(victim: Victim, index: int) -> Mutant:
    return victim.closed(index, victim.last_start, victim.last_start + 1).unchanged(ViolationCode.WORKING_TIME_SHORT)


def pause_of_one_second(victim: Victim, index: int) -> Mutant | None:
    end = victim.assignment.end_seconds
    if victim.span_seconds == 1 or victim.operation.interruptible or not victim.is_open(end):
        return None
    paused = victim.closed(index, victim.last_start, victim.last_start + 1)
    return paused.moved(ViolationCode.INTERRUPTED, end_seconds=end + 1)


def _start_before_zero(victim: Victim) -> Mutant:
    return victim.moved(ViolationCode.BEFORE_START, start_seconds=-1, end_seconds=victim.span_seconds - 1)


def _start_before_material(victim: Victim) -> Mutant | None:
    if victim.assignment.start_seconds < 0:
        return None
    return victim.required(ViolationCode.BEFORE_RELEASE, release_seconds=victim.assignment.start_seconds + 1)


def start_before_earlier_load(victim: Victim, index: int) -> Mutant:
    machine = victim.problem.machines[index]
    opened = int(open_mask(victim.problem, index)[: victim.assignment.start_seconds].sum())
    mutant = victim.on(replace(machine, busy_seconds=opened + 1)).unchanged(ViolationCode.MACHINE_BUSY)
    return replace(mutant, machine_id=machine.id)


def overlap(victim: Victim, index: int) -> Mutant | None:
    ahead = max(victim.ends_ahead(index), default=None)
    # What has ended before the schedule begins holds nothing any more.
    if ahead is None or ahead <= 0:
        return None
    mutant = victim.moved(ViolationCode.MACHINE_OVERLAP, start_seconds=ahead - 1)
    return replace(mutant, machine_id=victim.problem.machines[index].id)


def _before_the_step_ahead(victim: Victim) -> Mutant | None:
    for job in victim.problem.jobs:
        steps = [operation.id for operation in job.operations]
        if victim.assignment.operation_id in steps[1:] and not victim.has_begun:
            ahead = victim.schedule.by_operation[steps[steps.index(victim.assignment.operation_id) - 1]]
            return victim.moved(ViolationCode.WRONG_SEQUENCE, start_seconds=ahead.end_seconds - 1)
    return None


def _after_deadline(victim: Victim) -> Mutant:
    return victim.required(ViolationCode.DEADLINE_MISSED, deadline_seconds=victim.assignment.end_seconds - 1)


def unless_begun(mutation: Mutation) -> Mutation:
    """The mutation for work that is held to everything."""
    return lambda victim: None if victim.has_begun else mutation(victim)


def unless_finished(mutation: Mutation) -> Mutation:
    """The mutation for work whose duration is judged."""
    return lambda victim: None if victim.is_finished else mutation(victim)


def on_its_machine(mutation: Callable[[Victim, int], Mutant | None]) -> Mutation:
    """The mutation on the machine that the assignment names."""
    return lambda victim: mutation(victim, victim.chosen.machine)


PLAIN_MUTATIONS: dict[str, Mutation] = {
    "missing operation": _missing,
    "operation repeated in place": _repeated_at_once,
    "operation repeated later": _repeated_later,
    "unknown operation": _renamed,
    "unknown machine": _machine_of_nobody,
    "machine that cannot do it": _machine_that_cannot,
    "no span": _no_span,
    "backward span": _backward_span,
    "beyond the calendar": _beyond_the_calendar,
    "end a second early": unless_finished(_early_end),
    "end a second late": unless_finished(_late_end),
    "start a second late": unless_finished(_late_start),
    "start a second early": unless_begun(_early_start),
    "end a second into closed time": unless_finished(on_its_machine(end_in_closed_time)),
    "start a second into closed time": unless_begun(on_its_machine(start_in_closed_time)),
    "work through a closure of a second": unless_finished(on_its_machine(work_through_a_closure)),
    "pause of a second that is not allowed": unless_begun(on_its_machine(pause_of_one_second)),
    "start a second before the schedule": unless_begun(_start_before_zero),
    "start a second before material": _start_before_material,
    "start a second before earlier load ends": unless_begun(on_its_machine(start_before_earlier_load)),
    "overlap of a second": on_its_machine(overlap),
    "a second before the step ahead ends": _before_the_step_ahead,
    "a second after the deadline": _after_deadline,
}
