"""Amounts and instants as a planner reads them, for the sentences of the judge."""

from __future__ import annotations

from collections.abc import Sequence

from env.judge.calendar import local_moment, reach_of
from env.problem import Machine, WorkingHours

SPEAKABLE_SECONDS = 10**15


def amount(seconds: int) -> str:
    """`seconds` >= 0 in hours, minutes and seconds without the parts that are zero: "2 h 15 min", "0 s"."""
    # Also keeps clear of the interpreter's limit on printing integers of thousands of digits.
    if seconds > SPEAKABLE_SECONDS:
        return "more than 30 million years"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{value} {unit}" for value, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if value]
    return " ".join(parts) or "0 s"


def moment(hours: WorkingHours | None, second: int) -> str:
    """An instant by the wall clock of the plant where there is one, otherwise relative to the schedule's start."""
    if hours is not None and reach_of(hours).holds(second):
        return f"{local_moment(hours, second):%a %Y-%m-%d %H:%M:%S}"
    if second == 0:
        return "the start of the schedule"
    return f"{amount(abs(second))} {'before' if second < 0 else 'after'} the start of the schedule"


def machine_words(machine: Machine) -> str:
    """The machine by its id, and by its name when it has one."""
    return f"machine {machine.id} ({machine.name})" if machine.name else f"machine {machine.id}"


def machines_words(machines: Sequence[Machine]) -> str:
    """One machine or several that are held together: "machine 1 (CM01)", "machines 1 (CM01), 2 and 3"."""
    if len(machines) == 1:
        return machine_words(machines[0])
    named = [machine_words(machine).removeprefix("machine ") for machine in machines]
    return f"machines {', '.join(named[:-1])} and {named[-1]}"
