"""What differs between two schedules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from env.schedule import Schedule, compare
from tests.problems import schedule_of

BEFORE = schedule_of(("A", 1, 0, 10), ("B", 1, 10, 20), ("C", 2, 0, 5), ("D", 2, 5, 9))


def test_same_schedule_has_no_changes() -> None:
    """Nothing moved, whatever the order of the rows."""
    found = compare(BEFORE, Schedule(assignments=BEFORE.assignments[::-1]))
    assert (found.moved, found.added, found.removed, found.kept_count, found.change_count) == ((), (), (), 4, 0)


def test_moves_tell_machine_and_shift() -> None:
    """B goes to machine 2 and starts 5 s earlier, C ends 2 s later, D is gone and E is new."""
    found = compare(BEFORE, schedule_of(("A", 1, 0, 10), ("B", 2, 5, 15), ("C", 2, 0, 7), ("E", 1, 20, 21)))
    moved = [
        (move.before.operation_id, move.changes_machine, move.start_shift_seconds, move.end_shift_seconds)
        for move in found.moved
    ]
    assert moved == [("B", True, -5, -5), ("C", False, 0, 2)]
    assert (found.added, found.removed, found.kept_count, found.change_count) == (("E",), ("D",), 1, 4)


def test_schedules_with_other_starts_are_compared_in_absolute_time() -> None:
    """Work that stays where it was did not move, although the later schedule counts from 100 s on."""
    later = schedule_of(("A", 1, -100, -90), ("B", 1, -90, -80), ("C", 2, -100, -95), ("D", 2, -94, -90))
    (move,) = compare(BEFORE, later, shift_seconds=100).moved
    assert (move.after.operation_id, move.after.start_seconds, move.start_shift_seconds) == ("D", 6, 1)


ROWS = st.dictionaries(
    st.sampled_from("ABCDE"), st.tuples(st.integers(1, 2), st.integers(0, 3), st.integers(4, 6))
).map(lambda rows: schedule_of(*((name, *row) for name, row in rows.items())))


@given(before=ROWS, after=ROWS)
def test_every_operation_is_counted_once(before: Schedule, after: Schedule) -> None:
    """Kept and changed work together are the work of both schedules, and the way back has as many changes."""
    there, back = compare(before, after), compare(after, before)
    assert there.kept_count + there.change_count == len(before.by_operation.keys() | after.by_operation.keys())
    assert (there.change_count, there.added, there.removed) == (back.change_count, back.removed, back.added)
