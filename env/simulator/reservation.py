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
from env.simulator.simulation import await_earlier_load, dispatch_next, new_state, reset
from env.simulator.state import NOBODY, State

MAX_ROUNDS = 16_000
MAX_COMPARED = 100_000_000
"""Bounds of one search for places: rounds, and comparisons in all of them. A round compares each piece of work with
all jobs, and all of its machines; a plant for which one round is too much is left alone."""
TRIES = 4
"""Searches for places after a play that missed a pin, each with a seed of its own."""
STEADY_ROUNDS = 16
"""Rounds in which only jobs that miss their pins go earlier; after these, single keys change."""
STALE_ROUNDS = 400
"""After so many rounds without success many keys change at once."""
HOTTEST = 0.1
"""Mean durations by which a round may be worse at first, as in simulated annealing."""
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
    tries = (played_around(arrays, play, state.start, seed) for seed in range(TRIES))
    return next((found for found in tries if found is not None), state)


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
            dispatch_next(arrays, state, chosen[operation], operation)


def with_reservations(arrays: ProblemArrays, start: Integers, seed: int) -> ProblemArrays | None:
    """The arrays with all work that pins wait for pinned as well; None where no round met all pins.

    Every other seed places all work where setups depend on what went before.
    """
    urgent = arrays.operation_urgent & ~arrays.operation_pinned
    if not urgent.any():
        return None
    # A changeover may be short only behind work that no pin waits for: then all work has to be placed.
    places_all = arrays.changeover.size > 0 and seed % 2 == 1
    return _reserved(arrays, ~arrays.operation_pinned if places_all else urgent, start, seed)


def _reserved(arrays: ProblemArrays, is_placed: Booleans, start: Integers, seed: int) -> ProblemArrays | None:
    """The arrays with that work pinned where a search of a bounded length puts it, None where it finds no places."""
    placed = np.flatnonzero(is_placed)
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
    places = Places(*(np.full(len(is_placed), NOBODY, dtype=np.int64) for _ in Places._fields))
    compared = len(placed) * len(keys.jobs) + int(np.diff(arrays.pair_first)[placed].sum()) + len(room.pinned_start)
    rounds = min(MAX_ROUNDS, MAX_COMPARED // compared)
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
        has_special_work=np.array([True]),
        pin_pair=np.where(has_place, places.pair, arrays.pin_pair),
        pin_start=np.where(has_place, places.start, arrays.pin_start),
        pin_end=np.where(has_place, places.end, arrays.pin_end),
    )


def around_earlier_places(arrays: ProblemArrays, pair: Integers, start: Integers, play: Play) -> State | None:
    """A complete state in which as much as possible stays where an earlier plan had it; None where that misses a pin.

    `pair` and `start`, shape [operation], are those places, and pair is NOBODY where there is none. What cannot stay
    goes as early as possible around what does, and takes along what follows it in its job where it must; whatever
    had no place is played around all of this.
    """
    room = _with_room(arrays, np.ones(len(pair), dtype=np.bool_))
    places = Places(*(np.full(len(pair), NOBODY, dtype=np.int64) for _ in Places._fields))
    order = np.lexsort((np.arange(len(pair)), start))
    if not keep_places(arrays, room, order, pair, start, places):
        return None
    reserved = _pinned(arrays, room, places)
    state = new_state(reserved)
    play(reserved, state)
    return state if keeps_pins(arrays, state) and state.end.max() < NEVER else None


@compiled
def keep_places(
    arrays: ProblemArrays, room: ProblemArrays, order: Integers, pair: Integers, start: Integers, places: Places
) -> bool:
    """Rounds in which ever more leaves its earlier place, until all else can stay. Fills `places`.

    `order` is that of the earlier starts. False where work would run into what is pinned behind it in its job.
    """
    machines = len(room.machine_busy)
    loaded_until, no_work = np.zeros(machines, dtype=np.int64), np.full(machines, NO_WORK, dtype=np.int64)
    no_bias = np.zeros(len(arrays.pair_machine))
    await_earlier_load(room, loaded_until)
    moves = np.zeros(len(order), dtype=np.bool_)
    for _ in range(len(order)):
        clear(arrays, room)
        places.pair[:] = NOBODY
        for operation in order:
            if pair[operation] != NOBODY and not moves[operation] and not arrays.operation_pinned[operation]:
                moves[operation] = not stays(
                    arrays, room, moves, places, operation, pair[operation], start[operation], loaded_until, no_work
                )
        is_settled = True
        for operation in order:
            if not moves[operation] or places.pair[operation] != NOBODY:
                continue
            ready = max(room.operation_release[operation], end_ahead(arrays, places, operation))
            if ready < NEVER:
                place_one(room, operation, ready, loaded_until, no_work, no_bias, places)
            behind = operation + 1
            if behind == arrays.job_first[arrays.operation_job[operation] + 1]:
                continue
            end = end_ahead(arrays, places, behind)
            if arrays.operation_pinned[behind] and end > arrays.pin_start[behind]:
                return False
            if places.pair[behind] != NOBODY and not moves[behind] and end > places.start[behind]:
                moves[behind] = True
                is_settled = False
        if is_settled:
            return True
    return False


@compiled_lean
def stays(
    arrays: ProblemArrays,
    room: ProblemArrays,
    moves: Booleans,
    places: Places,
    operation: int,
    pair: int,
    start: int,
    loaded_until: Integers,
    no_work: Integers,
) -> bool:
    """Put an operation into its earlier place; false where that is closed, taken, or too early for it."""
    begin, end, _ = special_span(room, loaded_until, no_work, operation, pair, start)
    ready = room.operation_release[operation]
    # What is ahead of it and moves has no place yet; whether it ends in time is seen when it has.
    if arrays.job_first[arrays.operation_job[operation]] != operation and not moves[operation - 1]:
        ready = max(ready, end_ahead(arrays, places, operation))
    for held in range(room.held_first[pair], room.held_first[pair + 1]):
        ready = max(ready, loaded_until[room.held_machine[held]])
    if begin != start or ready > begin:
        return False
    put(room, places, operation, pair, begin, end)
    return True


@compiled_lean
def end_ahead(arrays: ProblemArrays, places: Places, operation: int) -> int:
    """When what is ahead of an operation in its job ends, NEVER where that has no place; 0 for the first of a job."""
    if arrays.job_first[arrays.operation_job[operation]] == operation:
        return 0
    if arrays.operation_pinned[operation - 1]:
        return arrays.pin_end[operation - 1]  # type: ignore[no-any-return]
    return NEVER if places.pair[operation - 1] == NOBODY else places.end[operation - 1]


@compiled_lean
def clear(arrays: ProblemArrays, room: ProblemArrays) -> None:
    """Take out again what was added to the lists of pinned work."""
    for machine in range(len(arrays.pinned_first)):
        room.pinned_first[machine] = arrays.pinned_first[machine]
    for index in range(len(arrays.pinned_start)):
        room.pinned_start[index] = arrays.pinned_start[index]
        room.pinned_end[index] = arrays.pinned_end[index]
        room.pinned_group[index] = arrays.pinned_group[index]


@compiled_lean
def put(room: ProblemArrays, places: Places, operation: int, pair: int, start: int, end: int) -> None:
    """Give an operation its place, and add it to the pinned work of its machines."""
    places.pair[operation], places.start[operation], places.end[operation] = pair, start, end
    if end >= NEVER:
        return
    for held in range(room.held_first[pair], room.held_first[pair + 1]):
        add_pinned(room, room.held_machine[held], start, end, room.operation_group[operation])


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
    """Rounds until one meets all pins, which is then in `room` and `places`; False where none does.

    First jobs that miss their pins go earlier, then single keys change and are annealed.
    """
    np.random.seed(seed)
    missed = np.zeros(len(keys.jobs), dtype=np.int64)
    kept_operation, kept_pair = keys.operation.copy(), keys.pair.copy()
    scale, least, current, stale = arrays.time_scale[0], np.inf, np.inf, 0
    for number in range(rounds):
        if number >= STEADY_ROUNDS or seed > 0:
            change_keys(arrays, keys, missed, scale)
        place_all(arrays, room, keys, places, missed)
        total = float(missed.sum())
        if total == 0.0:
            return True
        stale = 0 if total < least else stale + 1
        least = min(least, total)
        warmth = HOTTEST * scale * (1.0 - number / rounds)
        if total <= current - warmth * np.log(np.random.random() + 1e-12):
            current = total
            kept_operation[:], kept_pair[:] = keys.operation, keys.pair
        elif number >= STEADY_ROUNDS:
            keys.operation[:], keys.pair[:] = kept_operation, kept_pair
        if number < STEADY_ROUNDS:
            send_earlier(arrays, keys, missed)
        elif stale > STALE_ROUNDS:
            for _ in range(len(keys.placed) // 4 + 1):
                change_keys(arrays, keys, missed, scale)
            least, current, stale = np.inf, np.inf, 0
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
    clear(arrays, room)
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
    put(room, places, operation, best, best_start, best_end)


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
