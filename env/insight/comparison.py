"""What differs between two schedules: which work moved, which came and which went."""

from __future__ import annotations

from dataclasses import dataclass

from env.schedule import Assignment, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Work that is in both schedules, on another machine or at another time."""

    before: Assignment
    after: Assignment

    @property
    def changes_machine(self) -> bool:
        return self.before.machine_id != self.after.machine_id

    @property
    def start_shift_seconds(self) -> int:
        """How much later it starts, negative when it starts earlier."""
        return self.after.start_seconds - self.before.start_seconds

    @property
    def end_shift_seconds(self) -> int:
        """How much later it ends, negative when it ends earlier."""
        return self.after.end_seconds - self.before.end_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleComparison:
    """Every operation of either schedule, once: moved, kept, added (only after) or removed (only before).

    `moved` and `added` are in the order of the later schedule, `removed` in that of the earlier one.
    """

    moved: tuple[Move, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept_count: int

    @property
    def change_count(self) -> int:
        """Operations that somebody on the floor has to be told about."""
        return len(self.moved) + len(self.added) + len(self.removed)


def compare(before: Schedule, after: Schedule, shift_seconds: int = 0) -> ScheduleComparison:
    """What `after` changes. Second 0 of `after` is second `shift_seconds` of `before`.

    Both sides of a `Move` are told in the seconds of `before`.
    """
    earlier, later = before.by_operation, after.by_operation
    pairs = [
        Move(before=earlier[operation_id], after=_shifted(assignment, shift_seconds))
        for operation_id, assignment in later.items()
        if operation_id in earlier
    ]
    moved = tuple(pair for pair in pairs if pair.before != pair.after)
    return ScheduleComparison(
        moved=moved,
        added=tuple(operation_id for operation_id in later if operation_id not in earlier),
        removed=tuple(operation_id for operation_id in earlier if operation_id not in later),
        kept_count=len(pairs) - len(moved),
    )


def _shifted(assignment: Assignment, shift_seconds: int) -> Assignment:
    if not shift_seconds:
        return assignment
    return Assignment(
        operation_id=assignment.operation_id,
        machine_id=assignment.machine_id,
        start_seconds=assignment.start_seconds + shift_seconds,
        end_seconds=assignment.end_seconds + shift_seconds,
    )
