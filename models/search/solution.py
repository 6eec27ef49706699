"""A complete plan that can be changed a little: what runs where, in which order, behind whom.

`order` is an order of dispatch, in which everybody stands behind those before it in its job and on its
machines; links say who these are. A change moves one operation to another place of the order and, in
it, to another place on the same or on other machines. Times are the business of `models.search.timing`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.problem import Problem
from env.simulator.arrays import NO_WORK, Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.simulation import await_earlier_load, dispatch_next, reset
from env.simulator.state import NOBODY, State
from models.search.graph import Links, Records

BEFORE, AFTER = range(2)
STABILITY, TARDINESS, CHANGES, MISSES, VALUE = range(5, 10)  # behind the entries of ProblemArrays.objective
MARKED, FIRST_MARKED, MARK, WRITTEN, PINNED_END = range(5)
CHANGED, FORMER_START, FORMER_END = range(3)

TASK = np.dtype(
    [
        ("start", np.int64),
        ("end", np.int64),
        ("release", np.int64),
        ("due", np.int64),
        ("deadline", np.int64),  # NEVER without one
        ("weight", np.float64),
        ("earlier_start", np.int64),  # in an earlier plan
        ("latest_end", np.int64),  # where pinned work of its job comes next, NEVER elsewhere
        ("place", np.int32),  # in the order
        ("chosen", np.int32),  # pair
        ("first_pair", np.int32),
        ("last_pair", np.int32),  # exclusive
        ("earlier_machine", np.int32),  # NOBODY without an earlier place
        ("group", np.int32),
        ("has_due", np.bool_),
        ("is_first", np.bool_),  # of its job
        ("is_last", np.bool_),
        ("is_interruptible", np.bool_),
        ("is_pinned", np.bool_),
    ],
    align=True,
)
"""One operation; all that is known of it lies together, because it is used together."""
OPTION = np.dtype(
    [
        ("processing", np.int64),
        ("setup", np.int64),  # its own
        ("machine", np.int32),
        ("calendar", np.int32),
        ("held_first", np.int32),
        ("held_count", np.int32),
    ],
    align=True,
)
ENGINE = np.dtype(
    [("ready", np.int64), ("first", np.int32), ("last", np.int32), ("has_pinned_work", np.bool_)], align=True
)
"""One machine: when it may begin, who runs on it first and last."""


class Solution(NamedTuple):
    """Mutable arrays of one plan. Pinned operations stand where they are and in no machine's sequence."""

    tasks: Records  # [operation] of TASK
    options: Records  # [pair] of OPTION
    engines: Records  # [machine] of ENGINE
    held: Integers  # [held] machines of each pair
    links: Links  # [operation, held, 2] who precedes and follows it on each machine that it holds
    order: Links  # [place] operation
    marks: Integers  # [place] the current mark where times must be found anew
    figures: Floats  # [10] the objective, weight of changes; weighted tardiness, changes, missed seconds, value
    counts: Integers  # [5] places marked, the first of them, the mark; journal entries; end of the last pinned work
    journal: Integers  # [entry, 3] operation with its former start and end


class Rules(NamedTuple):
    """What placing needs to know. The arrays used for each placing stand here a second time, because taking
    one out of a tuple within a tuple counts references on all of its neighbours."""

    opening_start: Integers  # [opening]
    opening_end: Integers  # [opening]
    opening_before: Integers  # [opening]
    calendar_first: Integers  # [calendar + 1]
    changeover: Integers  # [1 or machine, group, group]
    ready: Integers  # [machine] room for the simulator's arithmetic
    group: Integers  # [machine]
    arrays: ProblemArrays


def new_rules(arrays: ProblemArrays) -> Rules:
    """The rules of a problem."""
    machines = len(arrays.machine_busy)
    return Rules(
        opening_start=arrays.opening_start,
        opening_end=arrays.opening_end,
        opening_before=arrays.opening_before,
        calendar_first=arrays.calendar_first,
        changeover=arrays.changeover,
        ready=np.zeros(machines, dtype=np.int64),
        group=np.full(machines, NO_WORK, dtype=np.int64),
        arrays=arrays,
    )


def new_plan(problem: Problem, arrays: ProblemArrays, state: State) -> Solution:
    """The plan that a complete state stands for, with the state's times; its value is still unknown."""
    operations = len(arrays.operation_job)
    pinned_ends = arrays.pin_end[arrays.operation_pinned]
    plan = Solution(
        tasks=_tasks(problem, arrays, state),
        options=_options(arrays),
        engines=_engines(arrays),
        held=arrays.held_machine,
        links=np.full((operations, int(np.diff(arrays.held_first).max()), 2), NOBODY, dtype=np.int32),
        order=np.zeros(operations, dtype=np.int32),
        marks=np.zeros(operations, dtype=np.int64),
        figures=np.array([*arrays.objective, problem.stability_seconds, 0.0, 0.0, 0.0, 0.0]),
        counts=np.array([0, operations, 1, 0, pinned_ends.max(initial=0)]),
        journal=np.zeros((operations, 3), dtype=np.int64),
    )
    # By start, then by place in the job: dispatched in this order, the state comes about again.
    link_order(plan, np.lexsort((np.arange(operations), state.end, state.start)).astype(np.int32))
    return plan


def _tasks(problem: Problem, arrays: ProblemArrays, state: State) -> Records:
    tasks = np.zeros(len(arrays.operation_job), dtype=TASK)
    places = [operation.earlier_place for operation in problem.operations]
    tasks["start"], tasks["end"], tasks["chosen"] = state.start, state.end, state.chosen_pair
    tasks["release"], tasks["due"] = arrays.operation_release, arrays.operation_due
    tasks["deadline"] = arrays.operation_deadline
    tasks["weight"], tasks["has_due"] = arrays.operation_weight, arrays.operation_has_due
    tasks["earlier_start"] = [0 if place is None else place.start_seconds for place in places]
    tasks["earlier_machine"] = [NOBODY if place is None else place.machine for place in places]
    tasks["first_pair"], tasks["last_pair"] = arrays.pair_first[:-1], arrays.pair_first[1:]
    tasks["group"] = arrays.operation_group
    tasks["is_first"][arrays.job_first[:-1]] = True
    tasks["is_last"][arrays.job_first[1:] - 1] = True
    tasks["is_interruptible"], tasks["is_pinned"] = arrays.operation_interruptible, arrays.operation_pinned
    waits_for_pin = np.append(arrays.operation_pinned[1:], False) & ~tasks["is_last"]
    tasks["latest_end"] = np.where(waits_for_pin, np.append(arrays.pin_start[1:], 0), NEVER - 1)
    return tasks


def _options(arrays: ProblemArrays) -> Records:
    options = np.zeros(len(arrays.pair_machine), dtype=OPTION)
    options["processing"], options["setup"] = arrays.pair_processing, arrays.pair_setup
    options["machine"], options["calendar"] = arrays.pair_machine, arrays.pair_calendar
    options["held_first"], options["held_count"] = arrays.held_first[:-1], np.diff(arrays.held_first)
    return options


def _engines(arrays: ProblemArrays) -> Records:
    engines = np.zeros(len(arrays.machine_busy), dtype=ENGINE)
    engines["has_pinned_work"] = np.diff(arrays.pinned_first) > 0
    ready = np.zeros(len(engines), dtype=np.int64)
    await_earlier_load(arrays, ready)
    engines["ready"] = ready
    return engines


def realise(chosen: Links, order: Links, arrays: ProblemArrays, state: State) -> None:
    """Dispatch a plan by the simulator, in its order; fills `state`."""
    reset(arrays, state)
    _dispatch_all(arrays, state, chosen, order)


@compiled
def _dispatch_all(arrays: ProblemArrays, state: State, chosen: Links, order: Links) -> None:
    for place in range(len(order)):
        operation = np.int64(order[place])
        if not arrays.operation_pinned[operation]:
            dispatch_next(arrays, state, np.int64(chosen[operation]), operation)  # type: ignore[arg-type]


@compiled
def link_order(plan: Solution, order: Links) -> None:
    """Take over an order of dispatch, shape [place], and link everybody by it."""
    for machine in range(len(plan.engines)):
        plan.engines[machine].first = plan.engines[machine].last = NOBODY
    for place in range(len(order)):
        operation = order[place]
        plan.order[place] = operation
        plan.tasks[operation].place = place
        if not plan.tasks[operation].is_pinned:
            append(plan, operation)


@compiled
def append(plan: Solution, operation: int) -> None:
    """Put an operation behind all others on the machines of its pair."""
    option = plan.options[plan.tasks[operation].chosen]
    for held in range(option.held_count):
        machine = plan.held[option.held_first + held]
        last = plan.engines[machine].last
        plan.links[operation, held, BEFORE] = last
        plan.links[operation, held, AFTER] = NOBODY
        if last == NOBODY:
            plan.engines[machine].first = operation
        else:
            plan.links[last, slot_on(plan, last, machine), AFTER] = operation
        plan.engines[machine].last = operation


@compiled_lean
def slot_on(plan: Solution, operation: int, machine: int) -> int:
    """Which of the machines that an operation holds is `machine`."""
    option = plan.options[plan.tasks[operation].chosen]
    held = 0
    while held + 1 < option.held_count and plan.held[option.held_first + held] != machine:
        held += 1
    return held


@compiled
def sort_order(plan: Solution) -> None:
    """Order everybody by start: the same plan, in which those who may change places are likelier to stand close."""
    tasks, order = plan.tasks, plan.order
    starts = np.empty(len(order), dtype=np.int64)
    for place in range(len(order)):
        starts[place] = tasks[order[place]].start
    sorted_order = order[np.argsort(starts, kind="mergesort")]
    for place in range(len(order)):
        order[place] = sorted_order[place]
        tasks[order[place]].place = place


@compiled_lean
def move(plan: Solution, operation: int, pair: int, place: int) -> None:
    """Move an operation to `place` in the order and to `pair`, and mark all whose predecessors are others now."""
    shift(plan.tasks, plan.order, operation, place)
    unlink(plan, operation)
    plan.tasks[operation].chosen = pair
    link(plan, operation)
    mark(plan.marks, plan.counts, place)


@compiled_lean
def shift(tasks: Records, order: Links, operation: int, place: int) -> None:
    """Move an operation within the order; those between go one place up or down."""
    current = tasks[operation].place
    step = 1 if place > current else -1
    while current != place:
        other = order[current + step]
        order[current] = other
        tasks[other].place = current
        current += step
    order[place] = operation
    tasks[operation].place = place


@compiled_lean
def unlink(plan: Solution, operation: int) -> None:
    """Take an operation off its machines; marks whoever follows it."""
    option = plan.options[plan.tasks[operation].chosen]
    for held in range(option.held_count):
        machine = plan.held[option.held_first + held]
        previous, following = plan.links[operation, held, BEFORE], plan.links[operation, held, AFTER]
        if previous == NOBODY:
            plan.engines[machine].first = following
        else:
            plan.links[previous, slot_on(plan, previous, machine), AFTER] = following
        if following == NOBODY:
            plan.engines[machine].last = previous
        else:
            plan.links[following, slot_on(plan, following, machine), BEFORE] = previous
            mark(plan.marks, plan.counts, plan.tasks[following].place)


@compiled_lean
def link(plan: Solution, operation: int) -> None:
    """Put an operation on the machines of its pair, by its place in the order; marks whoever follows it."""
    tasks = plan.tasks
    option = plan.options[tasks[operation].chosen]
    for held in range(option.held_count):
        machine = plan.held[option.held_first + held]
        previous, following = NOBODY, plan.engines[machine].first
        while following != NOBODY and tasks[following].place < tasks[operation].place:
            previous = following
            following = plan.links[following, slot_on(plan, following, machine), AFTER]
        plan.links[operation, held, BEFORE] = previous
        plan.links[operation, held, AFTER] = following
        if previous == NOBODY:
            plan.engines[machine].first = operation
        else:
            plan.links[previous, slot_on(plan, previous, machine), AFTER] = operation
        if following == NOBODY:
            plan.engines[machine].last = operation
        else:
            plan.links[following, slot_on(plan, following, machine), BEFORE] = operation
            mark(plan.marks, plan.counts, tasks[following].place)


@compiled_lean
def mark(marks: Integers, counts: Integers, place: int) -> None:
    """Mark a place, and remember the first one that is."""
    counts[MARKED] += mark_once(marks, place, counts[MARK])
    counts[FIRST_MARKED] = min(counts[FIRST_MARKED], place)


@compiled_lean
def mark_once(marks: Integers, place: int, current: int) -> int:
    """Mark a place; gives 1 where it was not marked."""
    if marks[place] == current:
        return 0
    marks[place] = current
    return 1
