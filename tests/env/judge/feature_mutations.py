"""Every way to spoil pinned work, changeovers, and work that holds several machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from env.judge.judge import ViolationCode
from env.problem import Alternative, Changeover, Job, Machine, Operation, Pin
from env.schedule import Assignment
from tests.env.judge.plain_mutations import (
    Mutation,
    end_in_closed_time,
    overlap,
    pause_of_one_second,
    start_before_earlier_load,
    start_in_closed_time,
    unless_begun,
    work_through_a_closure,
)
from tests.env.judge.victims import NEW_MACHINE_ID, Mutant, Victim
from tests.problems import with_operation


def _pin_a_second_later(victim: Victim) -> Mutant:
    """The operation is pinned to its machine, a second after its start."""
    pin = Pin(start_seconds=victim.assignment.start_seconds + 1)
    return victim.required(ViolationCode.PIN_MOVED, alternatives=(victim.chosen,), pin=pin)


def _pin_a_second_earlier(victim: Victim) -> Mutant:
    pin = Pin(start_seconds=victim.assignment.start_seconds - 1)
    return victim.required(ViolationCode.PIN_MOVED, alternatives=(victim.chosen,), pin=pin)


def _pinned_work_moved(victim: Victim) -> Mutant | None:
    if victim.operation.pin is None:
        return None
    row = victim.assignment
    return victim.moved(ViolationCode.PIN_MOVED, start_seconds=row.start_seconds + 1, end_seconds=row.end_seconds + 1)


def _begun_work_pinned_to_end_later(victim: Victim) -> Mutant | None:
    if not victim.has_begun:
        return None
    row = victim.assignment
    pin = Pin(start_seconds=row.start_seconds, end_seconds=row.end_seconds + 1)
    return victim.required(ViolationCode.PIN_END_MOVED, alternatives=(victim.chosen,), pin=pin)


def _begun_work_cut(victim: Victim) -> Mutant | None:
    if not victim.has_begun or victim.span_seconds == 1:
        return None
    return victim.moved(ViolationCode.PIN_END_MOVED, end_seconds=victim.assignment.end_seconds - 1)


def _begun_work_started_later(victim: Victim) -> Mutant | None:
    """Work that has begun begins a second later, as if history could be written anew."""
    if not victim.has_begun or victim.span_seconds == 1:
        return None
    return victim.moved(ViolationCode.PIN_MOVED, start_seconds=victim.assignment.start_seconds + 1)


def _running_work_takes_longer(victim: Victim) -> Mutant | None:
    """The request says that running work takes a second more, and its end does not follow."""
    return _with_processing(victim, ViolationCode.WORKING_TIME_SHORT, 1)


def _running_work_takes_less(victim: Victim) -> Mutant | None:
    return _with_processing(victim, ViolationCode.WORKING_TIME_LONG, -1)


def _with_processing(victim: Victim, code: ViolationCode, longer: int) -> Mutant | None:
    seconds = victim.chosen.processing_seconds + longer
    if not victim.has_begun or victim.is_finished or seconds < 1:
        return None
    return victim.required(code, alternatives=(replace(victim.chosen, processing_seconds=seconds),))


def _running_work_ends_later_with_its_pin(victim: Victim) -> Mutant | None:
    """Pin and row agree on an end that setup and processing do not reach."""
    row = victim.assignment
    if not victim.has_begun or victim.is_finished or not victim.is_open(row.end_seconds):
        return None
    pin = Pin(start_seconds=row.start_seconds, end_seconds=row.end_seconds + 1)
    problem = with_operation(victim.problem, victim.operation.id, pin=pin)
    return replace(victim, problem=problem).moved(ViolationCode.WORKING_TIME_LONG, end_seconds=row.end_seconds + 1)


def _rival_of_running_work(victim: Victim) -> Mutant | None:
    """Other work takes the last second of work that runs."""
    if not victim.has_begun or victim.is_finished:
        return None
    last = victim.assignment.end_seconds - 1
    rival = Operation(
        id="rival", alternatives=(Alternative(machine=victim.chosen.machine, processing_seconds=1),), release_seconds=0
    )
    problem = replace(victim.problem, jobs=(*victim.problem.jobs, Job(id="rival", operations=(rival,))))
    row = Assignment(
        operation_id="rival", machine_id=victim.assignment.machine_id, start_seconds=last, end_seconds=last + 1
    )
    return replace(replace(victim, problem=problem).added(ViolationCode.MACHINE_OVERLAP, row), by_seconds=1)


def _pinned_before_zero(victim: Victim) -> Mutant:
    """Only work that has begun may start before the schedule does."""
    pinned = with_operation(
        victim.problem, victim.operation.id, alternatives=(victim.chosen,), pin=Pin(start_seconds=-1)
    )
    return replace(victim, problem=pinned).moved(ViolationCode.BEFORE_START, start_seconds=-1)


def _changeover_a_second_longer(victim: Victim) -> Mutant | None:
    return _with_changeover(victim, ViolationCode.WORKING_TIME_SHORT, 1)


def _changeover_a_second_shorter(victim: Victim) -> Mutant | None:
    return _with_changeover(victim, ViolationCode.WORKING_TIME_LONG, -1)


def _with_changeover(victim: Victim, code: ViolationCode, longer: int) -> Mutant | None:
    """Everything else is of one group and the victim of another, with a setup between them that is a second off."""
    setup = victim.worked_seconds - victim.chosen.processing_seconds + longer
    if setup < 0 or victim.operation.pin or not all(map(victim.ends_ahead, victim.chosen.machines)):
        return None
    problem = victim.problem
    for each in problem.operations:
        group = "victim" if each.id == victim.operation.id else "others"
        problem = with_operation(problem, each.id, setup_group=group)
    listed = Changeover(before="others", after="victim", setup_seconds=setup)
    problem = replace(problem, changeovers=(listed,))
    return replace(victim, problem=problem).unchanged(code)


def _rival_on_another_machine(victim: Victim) -> Mutant | None:
    """The operation comes to hold a new machine as well, on which other work takes its last second."""
    if victim.is_finished:
        return None
    index = len(victim.problem.machines)
    machine = Machine(id=NEW_MACHINE_ID)
    wide = replace(victim.chosen, also_holds=(*victim.chosen.also_holds, index))
    problem = replace(victim.problem, machines=(*victim.problem.machines, machine))
    problem = with_operation(problem, victim.operation.id, alternatives=(wide,))
    rival = Operation(id="rival", alternatives=(Alternative(machine=index, processing_seconds=1),))
    problem = replace(problem, jobs=(*problem.jobs, Job(id="rival", operations=(rival,))))
    last = victim.assignment.end_seconds - 1
    row = Assignment(operation_id="rival", machine_id=NEW_MACHINE_ID, start_seconds=last, end_seconds=last + 1)
    mutant = replace(victim, problem=problem).added(ViolationCode.MACHINE_OVERLAP, row)
    return replace(mutant, by_seconds=1, machine_id=NEW_MACHINE_ID)


def on_another_machine(mutation: Callable[[Victim, int], Mutant | None]) -> Mutation:
    """The mutation on one of the machines that are held besides the one that the assignment names."""

    def mutated(victim: Victim) -> Mutant | None:
        mutants = (mutation(victim, index) for index in victim.chosen.also_holds)
        return next((mutant for mutant in mutants if mutant is not None), None)

    return mutated


FEATURE_MUTATIONS: dict[str, Mutation] = {
    "pin a second later than the work": _pin_a_second_later,
    "pin a second earlier than the work": _pin_a_second_earlier,
    "pinned work moved by a second": _pinned_work_moved,
    "pinned end of begun work a second later": _begun_work_pinned_to_end_later,
    "begun work a second shorter": _begun_work_cut,
    "begun work started a second later": _begun_work_started_later,
    "running work that takes a second longer": _running_work_takes_longer,
    "running work that takes a second less": _running_work_takes_less,
    "running work and its pin end a second later": _running_work_ends_later_with_its_pin,
    "rival for the last second of running work": _rival_of_running_work,
    "pinned a second before the schedule": _pinned_before_zero,
    "changeover a second longer": _changeover_a_second_longer,
    "changeover a second shorter": _changeover_a_second_shorter,
    "rival for a second on another machine that is held": _rival_on_another_machine,
    "overlap of a second on another machine": on_another_machine(overlap),
    "end a second into closed time of another machine": unless_begun(on_another_machine(end_in_closed_time)),
    "start a second into closed time of another machine": unless_begun(on_another_machine(start_in_closed_time)),
    "work through a closure of another machine": unless_begun(on_another_machine(work_through_a_closure)),
    "pause of a second of another machine": unless_begun(on_another_machine(pause_of_one_second)),
    "start a second before another machine's load ends": unless_begun(on_another_machine(start_before_earlier_load)),
}
