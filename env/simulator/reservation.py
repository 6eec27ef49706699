"""Places for the work that pinned work waits for, found before anything else is dispatched.

Backwards from each pin it is known when the work ahead of it must begin at the latest. In the order of these
instants each of it is placed as early as it fits between what has its place already; jobs that miss their pin
all the same go earlier in the next round, as in squeaky wheel optimisation (Joslin and Clements 1999), and
later rounds are shaken. What is placed then counts as pinned, and everything else is dispatched around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from env.simulator.arrays import NO_GROUP, NO_WORK, Booleans, Floats, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.calendar_fit import latest_begin, special_span
from env.simulator.compilation import compiled, compiled_lean
from env.simulator.episode import objective_bound
from env.simulator.simulation import State, await_earlier_load, dispatch, new_state, reset

MAX_ROUNDS = 4_000
MAX_PLACED = 400_000
"""Bounds of one search for places: rounds, and pieces of work placed in all of them."""
STEADY_ROUNDS = 16
"""Rounds in which only jobs that miss their pins go earlier; after these, single keys change."""
STALE_ROUNDS = 400
"""After so many rounds without success many keys change at once."""
FORCED = 100.0
"""Mean durations that a machine is preferred by when it is chosen."""

Play = Callable[[ProblemArrays, State], None]
"""Dispatches everything that is left, in place."""


class Keys(NamedTuple):
    """In which order, and on which machines rather than others."""

    jobs: Integers  # [job] that have work to be placed
    placed: Integers  # [placed operation]
    is_placed: Booleans  # [operation]
    operation: Floats  # [operation] the least comes first: when it must begin at the latest, changed by the search
    pair: Floats  # [pair] seconds that its end counts as later


class Places(NamedTuple):
    """Where a round has put the work that pins wait for; shape [operation]."""

    pair: Integers  # NOBODY where it has no place
    start: Integers
    end: Integers


def keeps_pins(arrays: ProblemArrays, state: State) -> bool:
    """Whether each operation begins after the one before it in its job; only pinned work can fail to.

    Of two that have begun nobody can change the order any more.
    """
    same_job = arrays.operation_job[1:] == arrays.operation_job[:-1]
    has_begun = arrays.operation_pinned & (state.start < 0)
    return bool(np.all(((state.start[1:] >= state.end[:-1]) | (has_begun[1:] & has_begun[:-1]))[same_job]))


def played(arrays: ProblemArrays, play: Play) -> State:
    """A complete state that keeps its pins, if one is found: as it is played, else around what pins wait for."""
    state = new_state(arrays)
    play(arrays, state)
    if not arrays.operation_urgent.any() or keeps_pins(arrays, state):
        return state
    found = played_around(arrays, play, state.start, seed=0)
    return state if found is None else found


def played_around(arrays: ProblemArrays, play: Play, start: Integers, seed: int) -> State | None:
    """A complete state in which the work that pins wait for came first; None where no round met all pins.

    `start`, shape [operation], is when a play that missed some of them had everything begin.
    """
    reserved = with_reservations(arrays, start, seed)
    if reserved is None:
        return None
    state = new_state(reserved)
    play(reserved, state)
    if not keeps_pins(arrays, state) or state.end.max() >= NEVER:
        return None
    # Nothing need stand where it was reserved, as long as everybody keeps the order; setups may forbid it.
    closed_up = new_state(arrays)
    dispatch_by_start(arrays, closed_up, state.chosen_pair, np.lexsort((state.end, state.start)))
    is_better = objective_bound(arrays, closed_up) <= objective_bound(arrays, state)
    return closed_up if is_better and keeps_pins(arrays, closed_up) else state


@compiled
def dispatch_by_start(arrays: ProblemArrays, state: State, chosen: Integers, order: Integers) -> None:
    """Dispatch a complete plan anew in an order that keeps its jobs, on the pairs `chosen`; fills `state`."""
    reset(arrays, state)
    for operation in order:
        if not arrays.operation_pinned[operation]:
            dispatch(arrays, state, chosen[operation], operation)


def with_reservations(arrays: ProblemArrays, start: Integers, seed: int) -> ProblemArrays | None:
    """The arrays with all work that pins wait for pinned as well; None where no round met all pins."""
    urgent = arrays.operation_urgent & ~arrays.operation_pinned
    found = _reserved(arrays, urgent, start, seed)
    if found is None and urgent.any() and arrays.changeover.size:
        # A changeover may be short only behind work that no pin waits for.
        found = _reserved(arrays, ~arrays.operation_pinned, start, seed)
    return found


def _reserved(arrays: ProblemArrays, is_placed: Booleans, start: Integers, seed: int) -> ProblemArrays | None:
    """The arrays with that work pinned where a search of a bounded length puts it, None where it finds no places."""
    placed = np.flatnonzero(is_placed)
    if not len(placed):
        return None
    keys = Keys(
        jobs=np.unique(arrays.operation_job[placed]),
        placed=placed,
        is_placed=is_placed,
        operation=np.zeros(len(is_placed)),
        pair=np.zeros(len(arrays.pair_machine)),
    )
    latest_begins(arrays, keys.operation)
    free = keys.operation >= NEVER
    keys.operation[free] = start[free]
    room = _with_room(arrays, is_placed)
    places = Places(*(np.full(len(is_placed), -1, dtype=np.int64) for _ in Places._fields))
    rounds = min(MAX_ROUNDS, 1 + MAX_PLACED // len(placed))
    return _pinned(arrays, room, places) if search_places(arrays, room, keys, places, rounds, seed) else None


def _with_room(arrays: ProblemArrays, is_placed: Booleans) -> ProblemArrays:
    """The arrays with lists of pinned work that have room for all that may be added to them."""
    widest = int(np.diff(arrays.held_first)[is_placed[arrays.pair_operation]].max())
    extra = int(is_placed.sum()) * widest
    longer = {
        name: np.concatenate([getattr(arrays, name), np.zeros(extra, dtype=np.int64)])
        for name in ("pinned_start", "pinned_end", "pinned_group")
    }
    return arrays._replace(pinned_first=arrays.pinned_first.copy(), **longer)


def _pinned(arrays: ProblemArrays, room: ProblemArrays, places: Places) -> ProblemArrays:
    has_place = places.pair >= 0
    return room._replace(
        operation_pinned=arrays.operation_pinned | has_place,
        operation_urgent=np.zeros_like(arrays.operation_urgent),
        pin_pair=np.where(has_place, places.pair, arrays.pin_pair),
        pin_start=np.where(has_place, places.start, arrays.pin_start),
        pin_end=np.where(has_place, places.end, arrays.pin_end),
    )


@compiled
def latest_begins(arrays: ProblemArrays, latest: Floats) -> None:
    """Fill `latest`, shape [operation], with the last begin that leaves the pins behind it within reach, else NEVER.

    Setups are left out where a matrix may shorten them.
    """
    for job in range(len(arrays.job_first) - 1):
        bound = NEVER
        for operation in range(arrays.job_first[job + 1] - 1, arrays.job_first[job] - 1, -1):
            if arrays.operation_pinned[operation]:
                bound = arrays.pin_start[operation]
            elif bound < NEVER:
                last = -NEVER
                for pair in range(arrays.pair_first[operation], arrays.pair_first[operation + 1]):
                    work = arrays.pair_processing[pair]
                    if arrays.operation_group[operation] == NO_GROUP:
                        work += arrays.pair_setup[pair]
                    interruptible = arrays.operation_interruptible[operation]
                    last = max(last, latest_begin(arrays, arrays.pair_calendar[pair], bound, work, interruptible))
                bound = last
            latest[operation] = bound


@compiled
def search_places(
    arrays: ProblemArrays, room: ProblemArrays, keys: Keys, places: Places, rounds: int, seed: int
) -> bool:
    """Rounds until one meets all pins, which is then in `room` and `places`; False where none does."""
    np.random.seed(seed)
    missed = np.zeros(len(keys.jobs), dtype=np.int64)
    best_operation, best_pair = keys.operation.copy(), keys.pair.copy()
    scale, least, stale = arrays.time_scale[0], np.iinfo(np.int64).max, 0
    for number in range(rounds):
        if number >= STEADY_ROUNDS or seed > 0:
            change_keys(arrays, keys, missed, scale)
        place_all(arrays, room, keys, places, missed)
        total = missed.sum()
        if total == 0:
            return True
        stale += 1
        if total <= least:
            stale = 0 if total < least else stale
            least = total
            best_operation[:], best_pair[:] = keys.operation, keys.pair
        elif number >= STEADY_ROUNDS:
            keys.operation[:], keys.pair[:] = best_operation, best_pair
        if number < STEADY_ROUNDS:
            send_earlier(arrays, keys, missed)
        elif stale > STALE_ROUNDS:
            for _ in range(len(keys.placed) // 4 + 1):
                change_keys(arrays, keys, missed, scale)
            least, stale = np.iinfo(np.int64).max, 0
    return False


@compiled
def change_keys(arrays: ProblemArrays, keys: Keys, missed: Integers, scale: float) -> None:
    """One random change: an operation next to another one, on a machine of its own choice, or a whole job."""
    operation = keys.placed[np.random.randint(len(keys.placed))]
    draw = np.random.random()
    if draw < 0.5:
        other = keys.placed[np.random.randint(len(keys.placed))]
        keys.operation[operation] = keys.operation[other] + np.random.standard_normal()
    elif draw < 0.8:
        first, last = arrays.pair_first[operation], arrays.pair_first[operation + 1]
        keys.pair[first:last] = 0.0
        if np.random.random() < 0.8:
            keys.pair[np.random.randint(first, last)] = -FORCED * scale
    elif draw < 0.9:
        send_earlier(arrays, keys, missed)
    else:
        job = arrays.operation_job[operation]
        keys.operation[arrays.job_first[job] : arrays.job_first[job + 1]] += 2.0 * scale * np.random.standard_normal()


@compiled
def send_earlier(arrays: ProblemArrays, keys: Keys, missed: Integers) -> None:
    """Lower the keys of jobs that miss their pins."""
    for index in range(len(keys.jobs)):
        if missed[index] > 0:
            by = 1.5 * missed[index] + arrays.time_scale[0] * np.random.random()
            keys.operation[arrays.job_first[keys.jobs[index]] : arrays.job_first[keys.jobs[index] + 1]] -= by


@compiled
def place_all(arrays: ProblemArrays, room: ProblemArrays, keys: Keys, places: Places, missed: Integers) -> None:
    """One round: place the work that pins wait for, the least key first.

    Fills `places`, and `missed`, shape [job], with the seconds by which pins come too early.
    """
    jobs, machines = keys.jobs, len(room.machine_busy)
    room.pinned_first[:] = arrays.pinned_first
    count = len(arrays.pinned_start)
    room.pinned_start[:count] = arrays.pinned_start
    room.pinned_end[:count] = arrays.pinned_end
    room.pinned_group[:count] = arrays.pinned_group
    loaded_until, no_work = np.zeros(machines, dtype=np.int64), np.full(machines, NO_WORK, dtype=np.int64)
    await_earlier_load(room, loaded_until)
    following, ready = np.zeros(len(jobs), dtype=np.int64), np.zeros(len(jobs), dtype=np.int64)
    for index in range(len(jobs)):
        missed[index] = 0
        following[index] = room.job_first[jobs[index]]
        ready[index] = room.operation_release[following[index]]
        pass_pins(room, jobs[index], index, following, ready, missed)
    while True:
        turn, least = -1, np.inf
        for index in range(len(jobs)):
            operation = following[index]
            if operation < room.job_first[jobs[index] + 1] and keys.is_placed[operation]:
                key = keys.operation[operation]
                if turn < 0 or key < least:
                    turn, least = index, key
        if turn < 0:
            return
        operation = following[turn]
        place_one(room, operation, ready[turn], loaded_until, no_work, keys.pair, places)
        following[turn] = operation + 1
        ready[turn] = places.end[operation]
        if operation + 1 < room.job_first[jobs[turn] + 1]:
            ready[turn] = max(ready[turn], room.operation_release[operation + 1])
        pass_pins(room, jobs[turn], turn, following, ready, missed)


@compiled_lean
def pass_pins(
    room: ProblemArrays, job: int, index: int, following: Integers, ready: Integers, missed: Integers
) -> None:
    """Pass over the pinned work that is next in a job, and note by how much it comes too early."""
    while following[index] < room.job_first[job + 1] and room.operation_pinned[following[index]]:
        operation = following[index]
        if room.pin_start[operation] >= 0:
            missed[index] += max(0, ready[index] - room.pin_start[operation])
        ready[index] = max(ready[index], room.pin_end[operation])
        following[index] = operation + 1


@compiled_lean
def place_one(
    room: ProblemArrays,
    operation: int,
    ready: int,
    loaded_until: Integers,
    no_work: Integers,
    bias: Floats,
    places: Places,
) -> None:
    """Place an operation where it ends first, `bias` (shape [pair]) counted in, and hold its machines for it."""
    best, best_start, best_end, least = -1, NEVER, NEVER, np.inf
    for pair in range(room.pair_first[operation], room.pair_first[operation + 1]):
        begin = ready
        for held in range(room.held_first[pair], room.held_first[pair + 1]):
            begin = max(begin, loaded_until[room.held_machine[held]])
        start, end, _ = special_span(room, loaded_until, no_work, operation, pair, begin)
        if best < 0 or end + bias[pair] < least:
            best, best_start, best_end, least = pair, start, end, end + bias[pair]
    places.pair[operation], places.start[operation], places.end[operation] = best, best_start, best_end
    if best_end >= NEVER:
        return
    group = room.operation_group[operation]
    for held in range(room.held_first[best], room.held_first[best + 1]):
        add_pinned(room, room.held_machine[held], best_start, best_end, group)


@compiled_lean
def add_pinned(room: ProblemArrays, machine: int, start: int, end: int, group: int) -> None:
    """Insert work into the list of a machine. Where its setup depends on what went before, nothing may come between."""
    starts, ends, groups, first = room.pinned_start, room.pinned_end, room.pinned_group, room.pinned_first
    begin = start
    if group != NO_GROUP:
        begin = 0
        for index in range(first[machine], first[machine + 1]):
            if ends[index] <= start:
                begin = max(begin, ends[index])
    place = first[machine + 1]
    while place > first[machine] and starts[place - 1] > begin:
        place -= 1
    for index in range(first[len(first) - 1], place, -1):
        starts[index], ends[index], groups[index] = starts[index - 1], ends[index - 1], groups[index - 1]
    starts[place], ends[place], groups[place] = begin, end, group
    for later in range(machine + 1, len(first)):
        first[later] += 1
