"""Simulated annealing over plans: every constraint and every objective, until it is told to stop.

A move takes an operation out of the chain of causes that ends in the last or in a late operation, and
puts it further forward or on another machine. Worse plans are accepted with the probability of
Metropolis et al. (1953) at a temperature that falls as the budget runs out, so the same search makes
good use of a tenth of a second and of ten.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from env.simulator.arrays import MAKESPAN_WEIGHT, TARDINESS_WEIGHT, Floats, Integers
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.state import NOBODY
from models.search.graph import Links, Records
from models.search.solution import (
    AFTER,
    BEFORE,
    CHANGES,
    MISSES,
    STABILITY,
    VALUE,
    Rules,
    Solution,
    link_order,
    slot_on,
    sort_order,
)
from models.search.timing import makespan_of, ready_in_job, time_all, try_move

HOTTEST, COLDEST = 0.1, 0.001
"""Temperatures at the begin and the end, in units of what a worsening move costs in the mean."""
LIST_EVERY = 128
SORT_EVERY = 4_096
MAX_LATE = 256
RANDOM, MOVES, LATE_COUNT, ACCEPTED = range(4)
BEST, MEAN_LOSS, WIDE = range(3)
ANYWHERE, TO_LATE = 0.1, 0.7
HELD = 1e11
"""Weight of what no temperature may give up, as large as a missed deadline's."""
GOLDEN = 0x2545F4914F6CDD1D
STOP = 0.2
FURTHER = 0.3


class Annealing(NamedTuple):
    """Everything that a search remembers between two calls."""

    plan: Solution
    counts: Integers  # [4] random state, moves tried, late operations listed, moves accepted
    figures: Floats  # [3] best value, mean loss of a worsening move, share of moves to any place
    late: Links  # [listed] late operations
    best_chosen: Links  # [operation]
    best_order: Links  # [place]


def new_annealing(plan: Solution, rules: Rules, seed: int, trials: int = 64, wide: float = 0.0) -> Annealing:
    """A search that begins at `plan`; some trials tell what a worsening move costs.

    `wide` is the share of moves that may go to any place of the order, 0 for none.
    """
    counts = np.zeros(4, dtype=np.int64)
    counts[RANDOM] = first_random_state(seed)
    time_all(plan, rules)
    search = Annealing(
        plan=plan,
        counts=counts,
        figures=np.array([plan.figures[VALUE], 0.0, wide]),
        late=np.zeros(MAX_LATE, dtype=np.int32),
        best_chosen=plan.tasks["chosen"].copy(),
        best_order=plan.order.copy(),
    )
    measure_losses(search, rules, trials)
    return search


@compiled
def measure_losses(search: Annealing, rules: Rules, trials: int) -> None:
    """Set the scale of the temperature: what moves that make the plan worse cost in the mean.

    Moves that cost a deadline, or anything else that is held, do not count: no temperature should afford them.
    """
    plan, figures = search.plan, search.figures
    first = plan.figures[VALUE]
    list_late(search)
    total, count = 0.0, 0
    for _ in range(trials):
        operation, pair, place = draw_move(search)
        if operation != NOBODY:
            before, misses, changes = plan.figures[VALUE], plan.figures[MISSES], plan.figures[CHANGES]
            is_made = try_move(plan, rules, operation, pair, place, 2.0 * first)
            is_soft = plan.figures[STABILITY] < HELD or plan.figures[CHANGES] == changes
            is_soft = is_soft and plan.figures[MISSES] == misses
            if is_made and is_soft and plan.figures[VALUE] > before:
                total += plan.figures[VALUE] - before
                count += 1
    figures[MEAN_LOSS] = total / max(count, 1)
    go_back(search, rules)


@compiled
def go_back(search: Annealing, rules: Rules) -> None:
    """Go on from the best plan."""
    for operation in range(len(search.plan.tasks)):
        search.plan.tasks[operation].chosen = search.best_chosen[operation]
    link_order(search.plan, search.best_order)
    time_all(search.plan, rules)


@compiled
def anneal(search: Annealing, rules: Rules, moves: int, warmth: float) -> None:
    """Try so many moves; `warmth` falls from 1 to 0 over the budget."""
    plan, counts, figures = search.plan, search.counts, search.figures
    heat = HOTTEST * (COLDEST / HOTTEST) ** (1.0 - warmth) * figures[MEAN_LOSS]
    for _ in range(moves):
        if counts[MOVES] % LIST_EVERY == 0:
            list_late(search)
        if counts[MOVES] % SORT_EVERY == 0:
            sort_order(plan)
        counts[MOVES] += 1
        operation, pair, place = draw_move(search)
        if operation == NOBODY:
            continue
        limit = plan.figures[VALUE] - heat * np.log(random_share(counts, RANDOM) + 1e-12)
        if try_move(plan, rules, operation, pair, place, limit):
            counts[ACCEPTED] += 1
            if plan.figures[VALUE] < figures[BEST]:
                figures[BEST] = plan.figures[VALUE]
                remember(search)


@compiled_lean
def remember(search: Annealing) -> None:
    """Keep the plan as the best one."""
    tasks, order = search.plan.tasks, search.plan.order
    for operation in range(len(tasks)):
        search.best_chosen[operation] = tasks[operation].chosen
        search.best_order[operation] = order[operation]


@compiled_lean
def list_late(search: Annealing) -> None:
    """List late operations, at most MAX_LATE of them, from a random one on; where deadlines are missed only those."""
    tasks, counts = search.plan.tasks, search.counts
    operations = len(tasks)
    misses = False
    if search.plan.figures[MISSES] > 0.0:
        for operation in range(operations):
            misses = misses or can_be_met_sooner(tasks, operation)
    operation = random_below(counts, RANDOM, operations)
    found = 0
    for _ in range(operations):
        operation = operation + 1 if operation + 1 < operations else 0
        task = tasks[operation]
        is_late = can_be_met_sooner(tasks, operation) if misses else task.has_due and task.end > task.due
        if found < MAX_LATE and is_late:
            search.late[found] = operation
            found += 1
    counts[LATE_COUNT] = found


@compiled_lean
def can_be_met_sooner(tasks: Records, operation: int) -> bool:
    """Whether an operation misses its deadline, and could be moved."""
    task = tasks[operation]
    return task.end > task.deadline and not task.is_pinned


@compiled_lean
def draw_move(search: Annealing) -> tuple[int, int, int]:
    """An operation with its new pair and place; NOBODY where the draw leads nowhere."""
    counts = search.counts
    operation = draw_cause(search.plan, counts, search.late)
    task = search.plan.tasks[operation]
    if task.is_pinned:
        return NOBODY, 0, 0
    pair = task.first_pair + random_below(counts, RANDOM, task.last_pair - task.first_pair)
    if search.figures[WIDE] > 0.0 and random_share(counts, RANDOM) < search.figures[WIDE]:
        return draw_place(search.plan, counts, operation, pair)
    if pair == task.chosen or random_below(counts, RANDOM, 4) == 0:
        return draw_forward(search.plan, counts, operation)
    return draw_elsewhere(search.plan, counts, operation, pair)


@compiled_lean
def draw_cause(plan: Solution, counts: Integers, late: Links) -> int:
    """An operation on the chain of causes of the last, or of a late operation; now and then any operation."""
    choice = random_share(counts, RANDOM)
    if choice < ANYWHERE:
        return random_below(counts, RANDOM, len(plan.tasks))
    is_for_late = choice < TO_LATE or plan.figures[MAKESPAN_WEIGHT] < 1.0
    counts_lateness = plan.figures[TARDINESS_WEIGHT] > 0.0 or plan.figures[MISSES] > 0.0
    if is_for_late and counts_lateness and counts[LATE_COUNT] > 0:
        operation = late[random_below(counts, RANDOM, counts[LATE_COUNT])]
    else:
        operation = last_operation(plan, counts)
    while operation != NOBODY:
        cause = binding_predecessor(plan, operation)
        if cause == NOBODY or random_share(counts, RANDOM) < STOP:
            return operation  # type: ignore[no-any-return]
        operation = cause
    return random_below(counts, RANDOM, len(plan.tasks))


@compiled_lean
def last_operation(plan: Solution, counts: Integers) -> int:
    """One of those that end last, NOBODY where that is pinned work."""
    makespan = makespan_of(plan)
    found, ties = NOBODY, 0
    for machine in range(len(plan.engines)):
        last = plan.engines[machine].last
        if last != NOBODY and plan.tasks[last].end == makespan:
            ties += 1
            if random_below(counts, RANDOM, ties) == 0:
                found = last
    return found


@compiled_lean
def binding_predecessor(plan: Solution, operation: int) -> int:
    """Who keeps an operation from beginning earlier: the later of those before it in its job and on its machines."""
    tasks = plan.tasks
    task = tasks[operation]
    found, latest = NOBODY, task.release
    if not task.is_first and tasks[operation - 1].end >= latest:
        found, latest = operation - 1, tasks[operation - 1].end
    if task.is_pinned:
        return found
    for held in range(plan.options[task.chosen].held_count):
        previous = plan.links[operation, held, BEFORE]
        if previous != NOBODY and tasks[previous].end >= latest:
            found, latest = previous, tasks[previous].end
    return found


@compiled_lean
def draw_forward(plan: Solution, counts: Integers, operation: int) -> tuple[int, int, int]:
    """Before one of those that precede it on its machine, mostly the nearest."""
    tasks, links = plan.tasks, plan.links
    pair = tasks[operation].chosen
    machine = plan.options[pair].machine
    target = links[operation, 0, BEFORE]
    if target == NOBODY:
        return NOBODY, 0, 0
    previous = links[target, slot_on(plan, target, machine), BEFORE]
    while previous != NOBODY and random_share(counts, RANDOM) < FURTHER:
        target = previous
        previous = links[target, slot_on(plan, target, machine), BEFORE]
    return between(plan, operation, pair, previous, target)


@compiled_lean
def draw_elsewhere(plan: Solution, counts: Integers, operation: int, pair: int) -> tuple[int, int, int]:
    """On another machine, before the first work that it may precede, or a little later."""
    tasks, links = plan.tasks, plan.links
    machine = plan.options[pair].machine
    ready = tasks[operation].start
    if random_below(counts, RANDOM, 2) == 0:
        ready = ready_in_job(tasks, operation)
    low = -1 if tasks[operation].is_first else tasks[operation - 1].place
    previous, target = NOBODY, plan.engines[machine].first
    while target != NOBODY and (tasks[target].end <= ready or tasks[target].place <= low):
        previous, target = target, links[target, slot_on(plan, target, machine), AFTER]
    while target != NOBODY and random_share(counts, RANDOM) < FURTHER:
        previous, target = target, links[target, slot_on(plan, target, machine), AFTER]
    return between(plan, operation, pair, previous, target)


@compiled_lean
def draw_place(plan: Solution, counts: Integers, operation: int, pair: int) -> tuple[int, int, int]:
    """Any place between its neighbours in the job."""
    low, high = room_in_job(plan.tasks, operation)
    current = np.int64(plan.tasks[operation].place)
    place = low + 1 + random_below(counts, RANDOM, int(high - low - 1))
    if place == current and pair == plan.tasks[operation].chosen:
        return NOBODY, 0, 0
    return operation, np.int64(pair), place  # type: ignore[return-value]


@compiled_lean
def between(plan: Solution, operation: int, pair: int, previous: int, target: int) -> tuple[int, int, int]:
    """The move of an operation to between two others and its neighbours in the job; NOBODY where there is no room."""
    tasks = plan.tasks
    low, high = room_in_job(tasks, operation)
    if previous != NOBODY:
        low = max(low, np.int64(tasks[previous].place))
    if target != NOBODY:
        high = min(high, np.int64(tasks[target].place))
    current = np.int64(tasks[operation].place)
    lowest = low + 1 if low < current else low  # taking the operation out moves those behind it one place down
    highest = high if high < current else high - 1
    if low >= high or lowest > highest:
        return NOBODY, 0, 0
    place = min(max(current, lowest), highest)
    return operation, np.int64(pair), place  # type: ignore[return-value]


@compiled_lean
def room_in_job(tasks: Records, operation: int) -> tuple[np.int64, np.int64]:
    """The places in the order of its neighbours in the job, between which an operation has to stay."""
    low, high = np.int64(-1), np.int64(len(tasks))
    if not tasks[operation].is_first:
        low = np.int64(tasks[operation - 1].place)
    if not tasks[operation].is_last:
        high = np.int64(tasks[operation + 1].place)
    return low, high


def first_random_state(seed: int) -> int:
    """A state that is never zero, far from that of the next seed."""
    mixed = (seed + 1) * GOLDEN % 2**62
    return mixed | 1


@compiled_lean
def random_below(numbers: Integers, place: int, limit: int) -> int:
    """A whole number in [0, limit) by xorshift (Marsaglia 2003), whose state is numbers[place]."""
    state = np.uint64(numbers[place])
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    numbers[place] = np.int64(state)
    return np.int64((state >> np.uint64(11)) % np.uint64(limit))  # type: ignore[return-value]


@compiled_lean
def random_share(numbers: Integers, place: int) -> float:
    """A number in [0, 1)."""
    return random_below(numbers, place, 1 << 53) / (1 << 53)
