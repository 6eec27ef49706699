"""Where work goes on a machine: the earliest begin and end that calendar, setups and pinned work allow.

Most plants need only the calendar; `has_special_work` tells those apart in which setups depend on the
sequence, work is pinned or an operation holds several machines, because their arithmetic costs more.
"""

from __future__ import annotations

from env.simulator.arrays import NO_GROUP, NO_WORK, OWN_SETUP, Integers, ProblemArrays
from env.simulator.calendar import NEVER
from env.simulator.compilation import compiled_lean


@compiled_lean
def span(
    starts: Integers,
    ends: Integers,
    before: Integers,
    first: int,
    last: int,
    ready: int,
    work: int,
    interruptible: bool,
) -> tuple[int, int]:
    """Start and end of `work` open seconds, begun as early as possible at or after `ready`.

    `starts`, `ends` and `before` are the openings of all calendars, shape [opening]; first to last
    (exclusive) are those of the machine. (NEVER, NEVER) when they do not hold the work.
    """
    opening = first_ending_after(ends, first, last, ready)
    if not interruptible:
        while opening < last and ends[opening] - max(ready, starts[opening]) < work:
            opening += 1
    if opening >= last:
        return NEVER, NEVER
    start = max(ready, starts[opening])
    if ends[opening] - start >= work:
        return start, start + work
    done = before[opening] + (start - starts[opening]) + work
    opening += 1
    while opening < last and before[opening] + (ends[opening] - starts[opening]) < done:
        opening += 1
    if opening >= last:
        return NEVER, NEVER
    return start, starts[opening] + done - before[opening]


@compiled_lean
def latest_begin(arrays: ProblemArrays, calendar: int, end: int, work: int, interruptible: bool) -> int:
    """The last instant from which `work` open seconds on a calendar end at or before `end`; -NEVER where there is none.

    With `interruptible` false they lie in one opening.
    """
    starts, ends, before = arrays.opening_start, arrays.opening_end, arrays.opening_before
    first, last = arrays.calendar_first[calendar], arrays.calendar_first[calendar + 1]
    opening = first_ending_after(ends, first, last, end)
    if opening == last or starts[opening] >= end:
        opening -= 1
    if opening < first:
        return -NEVER
    if not interruptible:
        while opening >= first and min(end, ends[opening]) - starts[opening] < work:
            opening -= 1
        return -NEVER if opening < first else min(end, ends[opening]) - work
    left = before[opening] + min(end, ends[opening]) - starts[opening] - work
    if left < 0:
        return -NEVER
    while before[opening] > left:
        opening -= 1
    return starts[opening] + left - before[opening]  # type: ignore[no-any-return]


@compiled_lean
def first_ending_after(ends: Integers, low: int, high: int, instant: int) -> int:
    """Index in [low, high] of the first opening that ends after `instant`."""
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > instant:
            high = middle
        else:
            low = middle + 1
    return low


@compiled_lean
def calendar_span(arrays: ProblemArrays, calendar: int, ready: int, work: int, interruptible: bool) -> tuple[int, int]:
    """`span` on one of the problem's calendars."""
    return span(
        arrays.opening_start,
        arrays.opening_end,
        arrays.opening_before,
        arrays.calendar_first[calendar],
        arrays.calendar_first[calendar + 1],
        ready,
        work,
        interruptible,
    )


@compiled_lean
def special_span(
    arrays: ProblemArrays,
    machine_ready: Integers,
    machine_group: Integers,
    operation: int,
    pair: int,
    ready: int,
) -> tuple[int, int, int]:
    """Start, end and working seconds of a pair where setups, pinned work or several machines count.

    Work moves behind whatever pinned work it would touch; each move may change its setup.
    """
    while True:
        work = arrays.pair_processing[pair] + setup_at(arrays, machine_ready, machine_group, operation, pair, ready)
        start, end = calendar_span(
            arrays, arrays.pair_calendar[pair], ready, work, arrays.operation_interruptible[operation]
        )
        blocked_until = end_of_pinned_work(arrays, pair, ready, end)
        if blocked_until <= ready:
            return start, end, work
        ready = blocked_until


@compiled_lean
def end_of_pinned_work(arrays: ProblemArrays, pair: int, ready: int, end: int) -> int:
    """End of the first pinned work of its machines that ends after `ready` and begins before `end`; else `ready`."""
    found = ready
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        machine = arrays.held_machine[held]
        for index in range(arrays.pinned_first[machine], arrays.pinned_first[machine + 1]):
            if arrays.pinned_end[index] > ready and arrays.pinned_start[index] < end:
                found = max(found, arrays.pinned_end[index])
                break
    return found


@compiled_lean
def setup_at(
    arrays: ProblemArrays, machine_ready: Integers, machine_group: Integers, operation: int, pair: int, instant: int
) -> int:
    """Longest setup over the machines of a pair, given the last work on each that ended at or before `instant`.

    A machine without work of its own is ready when its earlier load is done, which is no work; what is pinned may
    have ended before that, and before second 0.
    """
    own = arrays.pair_setup[pair]
    group = arrays.operation_group[operation]
    if group == NO_GROUP:
        return own  # type: ignore[no-any-return]
    longest = 0
    for held in range(arrays.held_first[pair], arrays.held_first[pair + 1]):
        machine = arrays.held_machine[held]
        last_group = machine_group[machine]
        last_end = -NEVER if last_group == NO_WORK else machine_ready[machine]
        for index in range(arrays.pinned_first[machine], arrays.pinned_first[machine + 1]):
            if last_end < arrays.pinned_end[index] <= instant:
                last_end, last_group = arrays.pinned_end[index], arrays.pinned_group[index]
        longest = max(longest, setup_between(arrays.changeover, machine, last_group, group, own))
    return longest


@compiled_lean
def setup_between(changeover: Integers, machine: int, before: int, after: int, own: int) -> int:
    """Setup on one machine for work of group `after` behind work of group `before`, `own` where none is listed.

    `changeover` has shape [1 or machine, group, group]: one table for all machines, or one for each.
    """
    if min(before, after) <= NO_GROUP:
        return own
    listed = changeover[min(machine, len(changeover) - 1), before, after]
    return own if listed == OWN_SETUP else listed
