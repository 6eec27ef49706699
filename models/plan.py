"""A complete plan that can be changed a little and timed anew at the cost of what the change touches.

Every constraint is honoured, because each operation is placed by the simulator's own arithmetic
(`env.placing`), behind whatever precedes it in its job and on its machines. A key for each operation,
rising along every job and every machine, says in which order times follow from each other; so one
pass over what changed is enough, and a change that is not wanted is taken back from a journal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.calendar_tables import NEVER
from env.compilation import compiled
from env.placing import calendar_span, setup_between, span, special_span
from env.problem import Problem
from env.problem_arrays import Floats, Integers, ProblemArrays
from env.simulation import State, dispatch, reset
from env.special_work import NO_GROUP
from models.disjunctive_graph import Links, Records

NOBODY = -1
KEY_STEP = 1 << 40
KEY_UNIT = 1 << 16
"""A key is a multiple of this plus the operation's number, so that no two are ever equal."""
BEFORE, AFTER = range(2)
MAKESPAN_WEIGHT, TARDINESS_WEIGHT, STABILITY, TARDINESS, CHANGES, VALUE = range(6)
QUEUED, WRITTEN, PINNED_END = range(3)

TASK = np.dtype(
    [
        ("start", np.int64),
        ("end", np.int64),
        ("key", np.int64),
        ("release", np.int64),
        ("due", np.int64),
        ("weight", np.float64),
        ("earlier_start", np.int64),  # in an earlier plan
        ("latest_end", np.int64),  # where pinned work of its job comes next, NEVER elsewhere
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
        ("is_queued", np.bool_),
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


class Plan(NamedTuple):
    """Mutable arrays of one plan. Pinned operations stand where they are and in no machine's sequence."""

    tasks: Records  # [operation] of TASK
    options: Records  # [pair] of OPTION
    engines: Records  # [machine] of ENGINE
    held: Integers  # [held] machines of each pair
    links: Links  # [operation, held, 2] who precedes and follows it on each machine that it holds
    figures: Floats  # [6] weights of makespan, tardiness and changes; weighted tardiness, changes, value
    counts: Integers  # [3] queued operations, journal entries, end of the last pinned work
    queue: Links  # [operation] heap by key
    journal: Integers  # [entry, 3] operation with its former start and end


class Rules(NamedTuple):
    """What placing needs to know. The arrays used for each placing stand here a second time, because taking
    one out of a tuple within a tuple counts references on all of its neighbours."""

    opening_start: Integers  # [opening]
    opening_end: Integers  # [opening]
    opening_before: Integers  # [opening]
    calendar_first: Integers  # [calendar + 1]
    changeover: Integers  # [group, group]
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
        group=np.full(machines, NO_GROUP, dtype=np.int64),
        arrays=arrays,
    )


def new_plan(problem: Problem, rules: Rules, state: State) -> Plan:
    """The plan that a complete state stands for."""
    arrays = rules.arrays
    operations = len(arrays.operation_job)
    pinned_ends = arrays.pin_end[arrays.operation_pinned]
    plan = Plan(
        tasks=_tasks(problem, arrays, state),
        options=_options(arrays),
        engines=_engines(arrays),
        held=arrays.held_machine,
        links=np.full((operations, int(np.diff(arrays.held_first).max()), 2), NOBODY, dtype=np.int32),
        figures=np.array([*arrays.objective, problem.stability_seconds, 0.0, 0.0, 0.0]),
        counts=np.array([0, 0, pinned_ends.max(initial=0)]),
        queue=np.zeros(operations, dtype=np.int32),
        journal=np.zeros((operations, 3), dtype=np.int64),
    )
    # By start, then by place in the job: dispatched in this order, the state comes about again.
    order = np.lexsort((np.arange(operations), state.end, state.start))
    link_sequence(plan, rules, order)
    return plan


def _tasks(problem: Problem, arrays: ProblemArrays, state: State) -> Records:
    tasks = np.zeros(len(arrays.operation_job), dtype=TASK)
    places = [operation.earlier_place for operation in problem.operations]
    tasks["start"], tasks["end"], tasks["chosen"] = state.start, state.end, state.chosen_pair
    tasks["release"], tasks["due"] = arrays.operation_release, arrays.operation_due
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
    return engines


def realise(chosen: Links, key: Integers, arrays: ProblemArrays, state: State) -> None:
    """Dispatch a plan by the simulator, in the order of its keys; fills `state`."""
    reset(arrays, state)
    _dispatch_all(arrays, state, chosen, np.argsort(key, kind="stable"))


@compiled
def _dispatch_all(arrays: ProblemArrays, state: State, chosen: Links, order: Integers) -> None:
    for operation in order:
        if not arrays.operation_pinned[operation]:
            dispatch(arrays, state, np.int64(chosen[operation]), operation)  # type: ignore[arg-type]


@compiled
def link_sequence(plan: Plan, rules: Rules, order: Integers) -> None:
    """Give keys and links by a dispatch order, and time everything; shape [operation]."""
    arrays, engines, tasks = rules.arrays, plan.engines, plan.tasks
    plan.figures[TARDINESS] = plan.figures[CHANGES] = 0.0
    for machine in range(len(engines)):
        engines[machine].first = engines[machine].last = NOBODY
        if arrays.machine_busy[machine] > 0:
            calendar, busy = arrays.machine_calendar[machine], arrays.machine_busy[machine]
            engines[machine].ready = calendar_span(arrays, calendar, 0, busy, True)[1]
    for place in range(len(order)):
        operation = order[place]
        task = tasks[operation]
        task.key = place * KEY_STEP + operation
        if not task.is_pinned:
            append(plan, operation)
            push(tasks, plan.queue, plan.counts, operation)
        plan.figures[TARDINESS] += weighted_tardiness(tasks, operation)
        plan.figures[CHANGES] += changed(plan, operation)
    propagate(plan, rules, np.inf)
    plan.counts[WRITTEN] = 0


@compiled
def renumber(plan: Plan) -> None:
    """Spread the keys evenly again, in the same order: between neighbours there is room for some 20 halvings only."""
    tasks = plan.tasks
    keys = np.empty(len(tasks), dtype=np.int64)
    for operation in range(len(tasks)):
        keys[operation] = tasks[operation].key
    order = np.argsort(keys)
    for place in range(len(order)):
        tasks[order[place]].key = place * KEY_STEP + order[place]


@compiled
def append(plan: Plan, operation: int) -> None:
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


@compiled
def slot_on(plan: Plan, operation: int, machine: int) -> int:
    """Which of the machines that an operation holds is `machine`."""
    option = plan.options[plan.tasks[operation].chosen]
    held = 0
    while held + 1 < option.held_count and plan.held[option.held_first + held] != machine:
        held += 1
    return held


@compiled
def span_of(
    tasks: Records,
    options: Records,
    engines: Records,
    links: Links,
    opening_start: Integers,
    opening_end: Integers,
    opening_before: Integers,
    calendar_first: Integers,
    changeover: Integers,
    operation: int,
) -> tuple[int, int]:
    """Start and end of an operation behind its predecessors as they stand; (0, -1) if it is entangled.

    Takes arrays one by one, because this is the innermost work of all.
    """
    task = tasks[operation]
    option = options[task.chosen]
    engine = engines[option.machine]
    if option.held_count > 1 or engine.has_pinned_work:
        return 0, -1
    previous = links[operation, 0, BEFORE]
    ready, group = engine.ready, NO_GROUP
    if previous != NOBODY:
        ready, group = tasks[previous].end, tasks[previous].group
    ready = max(ready, ready_in_job(tasks, operation))
    if ready >= NEVER:
        return NEVER, NEVER
    return span(
        opening_start,
        opening_end,
        opening_before,
        calendar_first[option.calendar],
        calendar_first[option.calendar + 1],
        ready,
        option.processing + setup_between(changeover, group, task.group, option.setup),
        task.is_interruptible,
    )


@compiled
def entangled_span(plan: Plan, rules: Rules, operation: int) -> tuple[int, int]:
    """`span_of` an operation that holds several machines or shares its machine with pinned work."""
    tasks = plan.tasks
    option = plan.options[tasks[operation].chosen]
    ready = ready_in_job(tasks, operation)
    for held in range(option.held_count):
        machine = plan.held[option.held_first + held]
        previous = plan.links[operation, held, BEFORE]
        rules.ready[machine] = plan.engines[machine].ready if previous == NOBODY else tasks[previous].end
        rules.group[machine] = NO_GROUP if previous == NOBODY else tasks[previous].group
        ready = max(ready, rules.ready[machine])
    if ready >= NEVER:
        return NEVER, NEVER
    pair = np.int64(tasks[operation].chosen)
    start, end, _ = special_span(rules.arrays, rules.ready, rules.group, operation, pair, ready)  # type: ignore[arg-type]
    return start, end


@compiled
def ready_in_job(tasks: Records, operation: int) -> int:
    """When release and job let an operation begin."""
    task = tasks[operation]
    return task.release if task.is_first else max(task.release, tasks[operation - 1].end)  # type: ignore[no-any-return]


@compiled
def weighted_tardiness(tasks: Records, operation: int) -> float:
    """Weight times how late an operation is."""
    task = tasks[operation]
    return task.weight * max(0, task.end - task.due) if task.has_due else 0.0


@compiled
def changed(plan: Plan, operation: int) -> float:
    """1 where an operation is not where an earlier plan had it."""
    task = plan.tasks[operation]
    if task.earlier_machine == NOBODY:
        return 0.0
    is_there = plan.options[task.chosen].machine == task.earlier_machine and task.start == task.earlier_start
    return 0.0 if is_there else 1.0


@compiled
def makespan_of(plan: Plan) -> int:
    """End of the last operation."""
    latest = plan.counts[PINNED_END]
    for machine in range(len(plan.engines)):
        last = plan.engines[machine].last
        if last != NOBODY:
            latest = max(latest, plan.tasks[last].end)
    return latest  # type: ignore[no-any-return]


@compiled
def value_of(plan: Plan) -> float:
    """The objective of `env.objective`, in seconds."""
    figures = plan.figures
    value = figures[MAKESPAN_WEIGHT] * makespan_of(plan) + figures[TARDINESS_WEIGHT] * figures[TARDINESS]
    return value + figures[STABILITY] * figures[CHANGES]  # type: ignore[no-any-return]


@compiled
def unlink(plan: Plan, operation: int) -> None:
    """Take an operation off its machines; whoever followed is queued to be timed anew."""
    option = plan.options[plan.tasks[operation].chosen]
    plan.figures[CHANGES] -= changed(plan, operation)
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
            push(plan.tasks, plan.queue, plan.counts, following)


@compiled
def link(plan: Plan, operation: int, pair: int, key: int) -> None:
    """Put an operation on the machines of `pair` at its place by `key`; it and whoever follow are queued."""
    tasks = plan.tasks
    option = plan.options[pair]
    tasks[operation].chosen, tasks[operation].key = pair, key
    for held in range(option.held_count):
        machine = plan.held[option.held_first + held]
        previous, following = NOBODY, plan.engines[machine].first
        while following != NOBODY and tasks[following].key < key:
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
            push(tasks, plan.queue, plan.counts, following)
    plan.figures[CHANGES] += changed(plan, operation)
    push(tasks, plan.queue, plan.counts, operation)


@compiled
def propagate(plan: Plan, rules: Rules, limit: float) -> bool:
    """Time everything that is queued and all that follows from it; the journal can take it back.

    False as soon as the plan breaks a constraint, or its makespan alone is worth more than `limit`.
    """
    tasks, options, engines, links = plan.tasks, plan.options, plan.engines, plan.links
    queue, counts = plan.queue, plan.counts
    starts, ends, before = rules.opening_start, rules.opening_end, rules.opening_before
    calendar_first, changeover = rules.calendar_first, rules.changeover
    latest = limit / max(plan.figures[MAKESPAN_WEIGHT], 1e-9)
    while counts[QUEUED] > 0:
        operation = pop(tasks, queue, counts)
        start, end = span_of(
            tasks, options, engines, links, starts, ends, before, calendar_first, changeover, operation
        )
        if end < start:
            start, end = entangled_span(plan, rules, operation)
        task = tasks[operation]
        if start == task.start and end == task.end:
            continue
        retime(plan, operation, start, end)
        if end > task.latest_end or end > latest:
            return False
        if not task.is_last and not tasks[operation + 1].is_pinned:
            push(tasks, queue, counts, operation + 1)
        for held in range(options[task.chosen].held_count):
            following = links[operation, held, AFTER]
            if following != NOBODY:
                push(tasks, queue, counts, following)
    plan.figures[VALUE] = value_of(plan)
    return True


@compiled
def retime(plan: Plan, operation: int, start: int, end: int) -> None:
    """Write new times of an operation and keep the old ones."""
    task, figures = plan.tasks[operation], plan.figures
    entry = plan.counts[WRITTEN]
    plan.journal[entry, 0] = operation
    plan.journal[entry, 1] = task.start
    plan.journal[entry, 2] = task.end
    plan.counts[WRITTEN] = entry + 1
    figures[TARDINESS] -= weighted_tardiness(plan.tasks, operation)
    figures[CHANGES] -= changed(plan, operation)
    task.start, task.end = start, end
    figures[TARDINESS] += weighted_tardiness(plan.tasks, operation)
    figures[CHANGES] += changed(plan, operation)


@compiled
def try_move(plan: Plan, rules: Rules, operation: int, pair: int, key: int, limit: float) -> bool:
    """Make a move and keep it, unless it breaks a constraint or the plan would be worth more than `limit`."""
    figures = plan.figures
    old_pair, old_key = plan.tasks[operation].chosen, plan.tasks[operation].key
    tardiness, changes, value = figures[TARDINESS], figures[CHANGES], figures[VALUE]
    unlink(plan, operation)
    link(plan, operation, pair, key)
    is_kept = propagate(plan, rules, limit)
    if is_kept and figures[VALUE] <= limit:
        plan.counts[WRITTEN] = 0
    else:
        is_kept = False
        take_back(plan, operation, old_pair, old_key)
        figures[TARDINESS], figures[CHANGES], figures[VALUE] = tardiness, changes, value
    return is_kept


@compiled
def take_back(plan: Plan, operation: int, pair: int, key: int) -> None:
    """Undo a change: `operation` goes back to `pair` and `key`, and all times to what they were."""
    tasks, counts = plan.tasks, plan.counts
    unlink(plan, operation)
    link(plan, operation, pair, key)
    for place in range(counts[QUEUED]):
        tasks[plan.queue[place]].is_queued = False
    for entry in range(counts[WRITTEN] - 1, -1, -1):
        task = tasks[plan.journal[entry, 0]]
        task.start, task.end = plan.journal[entry, 1], plan.journal[entry, 2]
    counts[QUEUED] = counts[WRITTEN] = 0


@compiled
def push(tasks: Records, queue: Links, counts: Integers, operation: int) -> None:
    """Queue an operation, once."""
    if tasks[operation].is_queued:
        return
    tasks[operation].is_queued = True
    place = counts[QUEUED]
    counts[QUEUED] = place + 1
    key = tasks[operation].key
    while place > 0:
        parent = (place - 1) // 2
        if tasks[queue[parent]].key <= key:
            break
        queue[place] = queue[parent]
        place = parent
    queue[place] = operation


@compiled
def pop(tasks: Records, queue: Links, counts: Integers) -> int:
    """The queued operation with the lowest key."""
    first = queue[0]
    tasks[first].is_queued = False
    count = counts[QUEUED] - 1
    counts[QUEUED] = count
    moved = queue[count]
    key = tasks[moved].key
    place = 0
    while 2 * place + 1 < count:
        child = 2 * place + 1
        if child + 1 < count and tasks[queue[child + 1]].key < tasks[queue[child]].key:
            child += 1
        if key <= tasks[queue[child]].key:
            break
        queue[place] = queue[child]
        place = child
    queue[place] = moved
    return np.int64(first)  # type: ignore[return-value]
