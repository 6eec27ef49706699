"""When everything in a plan happens, found anew at the cost of what a change touches.

Every constraint is honoured, because each operation is placed by the simulator's own arithmetic
(`env.simulator.calendar_fit`), behind whatever precedes it in its job and on its machines. Marks in the plan's order
say whose predecessors changed; one pass along the order is enough, since nobody depends on a later
place. A change that is not wanted is taken back from a journal.
"""

from __future__ import annotations

import numpy as np

from env.objective import MISSED_SECONDS
from env.simulator.arrays import LATE_SECONDS, MAKESPAN_WEIGHT, MISSED, NO_GROUP, NO_WORK, TARDINESS_WEIGHT, Integers
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import setup_between, span, special_span
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.simulation import lateness
from env.simulator.state import NOBODY
from models.search.graph import Links, Records
from models.search.solution import (
    AFTER,
    BEFORE,
    CHANGED,
    CHANGES,
    FIRST_MARKED,
    FORMER_END,
    FORMER_START,
    MARK,
    MARKED,
    MISSES,
    PINNED_END,
    STABILITY,
    TARDINESS,
    VALUE,
    WRITTEN,
    Rules,
    Solution,
    mark,
    mark_once,
    move,
)

ENTANGLED = (0, -1)
"""A span that ends before it starts: of an operation that it takes `entangled_span` to place."""


@compiled
def time_all(plan: Solution, rules: Rules) -> None:
    """Find all times and the value of a plan."""
    figures, tasks = plan.figures, plan.tasks
    late_seconds = figures[LATE_SECONDS]
    figures[TARDINESS] = figures[CHANGES] = figures[MISSES] = 0.0
    for place in range(len(plan.order)):
        operation = plan.order[place]
        figures[TARDINESS] += weighted_lateness(tasks, operation, late_seconds)
        figures[CHANGES] += changed(plan.tasks, plan.options, operation)
        figures[MISSES] += missed(tasks, operation)
        if not tasks[operation].is_pinned:
            mark(plan.marks, plan.counts, place)
    propagate(plan, rules, np.inf)
    settle(plan.counts, len(plan.order))


@compiled_lean
def settle(counts: Integers, places: int) -> None:
    """Forget marks and journal."""
    counts[MARK] += 1
    counts[MARKED] = counts[WRITTEN] = 0
    counts[FIRST_MARKED] = places


@compiled_lean
def try_move(plan: Solution, rules: Rules, operation: int, pair: int, place: int, limit: float) -> bool:
    """Make a move and keep it, unless it breaks a constraint or the plan would be worth more than `limit`."""
    figures = plan.figures
    old_pair, old_place = plan.tasks[operation].chosen, plan.tasks[operation].place
    tardiness, changes, misses, value = figures[TARDINESS], figures[CHANGES], figures[MISSES], figures[VALUE]
    figures[CHANGES] -= changed(plan.tasks, plan.options, operation)
    move(plan, operation, pair, place)
    figures[CHANGES] += changed(plan.tasks, plan.options, operation)
    is_kept = propagate(plan, rules, limit) and figures[VALUE] <= limit
    if not is_kept:
        move(plan, operation, old_pair, old_place)
        restore_times(plan)
        figures[TARDINESS], figures[CHANGES], figures[MISSES], figures[VALUE] = tardiness, changes, misses, value
    settle(plan.counts, len(plan.order))
    return is_kept


@compiled_lean
def restore_times(plan: Solution) -> None:
    """Undo what the journal says, latest entry first."""
    for entry in range(plan.counts[WRITTEN] - 1, -1, -1):
        task = plan.tasks[plan.journal[entry, CHANGED]]
        task.start, task.end = plan.journal[entry, FORMER_START], plan.journal[entry, FORMER_END]


@compiled_lean
def propagate(plan: Solution, rules: Rules, limit: float) -> bool:
    """Time everything that is marked and all that follows from it; the journal can take it back.

    False as soon as the plan breaks a constraint, or its makespan alone is worth more than `limit`.
    """
    tasks, options, engines, links = plan.tasks, plan.options, plan.engines, plan.links
    order, marks, counts, journal = plan.order, plan.marks, plan.counts, plan.journal
    starts, ends, before = rules.opening_start, rules.opening_end, rules.opening_before
    calendar_first, changeover = rules.calendar_first, rules.changeover
    latest = limit / max(plan.figures[MAKESPAN_WEIGHT], 1e-9)
    place, waiting, current = counts[FIRST_MARKED], counts[MARKED], counts[MARK]
    late_seconds, counts_deadlines = plan.figures[LATE_SECONDS], plan.figures[MISSED] > 0.0
    tardiness, changes, misses = 0.0, 0.0, 0.0
    written = 0
    is_sound = True
    while waiting > 0 and is_sound:
        if marks[place] != current:
            place += 1
            continue
        operation = order[place]
        place += 1
        waiting -= 1
        start, end = span_of(
            tasks, options, engines, links, starts, ends, before, calendar_first, changeover, operation
        )
        if end < start:
            start, end = entangled_span(plan, rules, operation)
        task = tasks[operation]
        if start == task.start and end == task.end:
            continue
        journal[written, CHANGED] = operation
        journal[written, FORMER_START] = task.start
        journal[written, FORMER_END] = task.end
        written += 1
        tardiness -= weighted_lateness(tasks, operation, late_seconds)
        changes -= changed(tasks, options, operation)
        if counts_deadlines:
            misses += lateness(end, task.deadline, MISSED_SECONDS) - lateness(task.end, task.deadline, MISSED_SECONDS)
        task.start, task.end = start, end
        tardiness += weighted_lateness(tasks, operation, late_seconds)
        changes += changed(tasks, options, operation)
        is_sound = end <= task.latest_end and end <= latest
        if not task.is_last and not tasks[operation + 1].is_pinned:
            waiting += mark_once(marks, tasks[operation + 1].place, current)
        for held in range(options[task.chosen].held_count):
            following = links[operation, held, AFTER]
            if following != NOBODY:
                waiting += mark_once(marks, tasks[following].place, current)
    counts[WRITTEN] = written
    if is_sound:
        plan.figures[TARDINESS] += tardiness
        plan.figures[CHANGES] += changes
        plan.figures[MISSES] += misses
        plan.figures[VALUE] = value_of(plan)
    return is_sound


@compiled_lean
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
    """Start and end of an operation behind its predecessors as they stand, or ENTANGLED.

    Takes arrays one by one, because this is the innermost work of all.
    """
    task = tasks[operation]
    option = options[task.chosen]
    engine = engines[option.machine]
    if option.held_count > 1 or engine.has_pinned_work:
        return ENTANGLED
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
        option.processing + setup_between(changeover, option.machine, group, task.group, option.setup),
        task.is_interruptible,
    )


@compiled_lean
def entangled_span(plan: Solution, rules: Rules, operation: int) -> tuple[int, int]:
    """`span_of` an operation that holds several machines or shares its machine with pinned work."""
    tasks = plan.tasks
    option = plan.options[tasks[operation].chosen]
    ready = ready_in_job(tasks, operation)
    for held in range(option.held_count):
        machine = plan.held[option.held_first + held]
        previous = plan.links[operation, held, BEFORE]
        rules.ready[machine] = plan.engines[machine].ready if previous == NOBODY else tasks[previous].end
        rules.group[machine] = NO_WORK if previous == NOBODY else tasks[previous].group
        ready = max(ready, rules.ready[machine])
    if ready >= NEVER:
        return NEVER, NEVER
    pair = np.int64(tasks[operation].chosen)
    start, end, _ = special_span(rules.arrays, rules.ready, rules.group, operation, pair, ready)  # type: ignore[arg-type]
    return start, end


@compiled_lean
def ready_in_job(tasks: Records, operation: int) -> int:
    """When release and job let an operation begin."""
    task = tasks[operation]
    return task.release if task.is_first else max(task.release, tasks[operation - 1].end)  # type: ignore[no-any-return]


@compiled_lean
def weighted_lateness(tasks: Records, operation: int, late_seconds: float) -> float:
    """Weight times what the objective counts of an operation that is late."""
    task = tasks[operation]
    return task.weight * lateness(task.end, task.due, late_seconds) if task.has_due else 0.0


@compiled_lean
def missed(tasks: Records, operation: int) -> float:
    """What the objective counts of an operation that misses its deadline."""
    return lateness(tasks[operation].end, tasks[operation].deadline, MISSED_SECONDS)


@compiled_lean
def changed(tasks: Records, options: Records, operation: int) -> float:
    """1 where an operation is not where an earlier plan had it."""
    task = tasks[operation]
    if task.earlier_machine == NOBODY:
        return 0.0
    is_there = options[task.chosen].machine == task.earlier_machine and task.start == task.earlier_start
    return 0.0 if is_there else 1.0


@compiled_lean
def makespan_of(plan: Solution) -> int:
    """End of the last operation."""
    latest = plan.counts[PINNED_END]
    for machine in range(len(plan.engines)):
        last = plan.engines[machine].last
        if last != NOBODY:
            latest = max(latest, plan.tasks[last].end)
    return latest  # type: ignore[no-any-return]


@compiled_lean
def value_of(plan: Solution) -> float:
    """The objective of `env.objective` in seconds, without what decides between equals."""
    figures = plan.figures
    value = figures[MAKESPAN_WEIGHT] * makespan_of(plan) + figures[TARDINESS_WEIGHT] * figures[TARDINESS]
    value += figures[STABILITY] * figures[CHANGES]
    return value + figures[MISSED] * figures[MISSES]  # type: ignore[no-any-return]
