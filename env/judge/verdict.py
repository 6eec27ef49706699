"""What the judge says, and in which words: violations, anomalies, and the verdict that is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from env.judge.calendar import local_moment, reach_of
from env.problem import Machine, WorkingHours
from env.schedule import Measures

DEDUCTION_POINTS = 10.0
MIN_VALID_SCORE = 1.0
SPEAKABLE_SECONDS = 10**15


class ViolationCode(StrEnum):
    """What a schedule can do wrong.

    `description` is one sentence; `counted` says what `Violation.by_seconds` counts, and is empty where
    the rule has no amount. The docs page is generated from both.
    """

    description: str
    counted: str

    MISSING_OPERATION = "missing_operation", "An operation of the request is not in the schedule."
    DUPLICATE_OPERATION = "duplicate_operation", "An operation is scheduled more than once."
    UNKNOWN_OPERATION = "unknown_operation", "The schedule holds an operation that the request does not know."
    UNKNOWN_MACHINE = "unknown_machine", "An operation is placed on a machine that the request does not know."
    INELIGIBLE_MACHINE = "ineligible_machine", "An operation is placed on a machine that cannot do it."
    EMPTY_SPAN = (
        "empty_span",
        "An operation that takes time ends at or before its own start.",
        "how much later it must end",
    )
    OUT_OF_RANGE = (
        "out_of_range",
        "A time lies so far from the start of the schedule that it cannot be judged.",
        "how far it lies beyond the last time that can",
    )
    BEFORE_START = "before_start", "An operation starts before the schedule does.", "how much too early"
    BEFORE_RELEASE = "before_release", "An operation starts before its material has arrived.", "how much too early"
    PIN_MOVED = "pin_moved", "Pinned work starts at another time than its own.", "how far it was moved"
    PIN_END_MOVED = (
        "pin_end_moved",
        "Work that has begun ends at another time than its own.",
        "how far the end was moved",
    )
    MACHINE_BUSY = (
        "machine_busy",
        "An operation starts before a machine that it holds has finished its earlier load.",
        "open time of that machine that is left of the load",
    )
    STARTS_WHILE_CLOSED = (
        "starts_while_closed",
        "An operation starts while a machine that it holds is closed.",
        "closed time with which it begins",
    )
    ENDS_WHILE_CLOSED = (
        "ends_while_closed",
        "An operation is still held at its end while a machine that it holds is closed.",
        "closed time with which it ends",
    )
    WORKING_TIME_SHORT = (
        "working_time_short",
        "The open time of a span is less than its setup and processing take.",
        "open time that is lacking",
    )
    WORKING_TIME_LONG = (
        "working_time_long",
        "The open time of a span is more than its setup and processing take.",
        "open time that is too much",
    )
    INTERRUPTED = "interrupted", "An operation that must not pause spans closed time.", "closed time in its span"
    MACHINE_OVERLAP = "machine_overlap", "Two operations hold one machine at the same time.", "how long both hold it"
    WRONG_SEQUENCE = (
        "wrong_sequence",
        "An operation starts before the one ahead of it in its job has ended.",
        "how much too early",
    )
    DEADLINE_MISSED = "deadline_missed", "An operation ends after its deadline; reported, never critical.", "how late"

    def __new__(cls, value: str, description: str = "", counted: str = "") -> ViolationCode:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        member.counted = counted
        return member

    @property
    def is_critical(self) -> bool:
        """Whether a schedule with this violation must not be served."""
        return self is not ViolationCode.DEADLINE_MISSED


class AnomalyCode(StrEnum):
    """What makes a schedule suspicious without making it wrong. `description` is one sentence."""

    description: str

    MAKESPAN_ABOVE_LIMIT = "makespan_above_limit", "The makespan is longer than the absolute limit in hours."
    MAKESPAN_ABOVE_BASELINE = "makespan_above_baseline", "The makespan exceeds the baseline's by too many per cent."
    MAKESPAN_UNLIKE_HISTORY = (
        "makespan_unlike_history",
        "The makespan over its lower bound is larger or smaller than the median of the plant's recent schedules of "
        "similar size by too many per cent.",
    )
    LOW_UTILISATION = (
        "low_utilisation",
        "The machines that some operation may use work too small a part of their open time, in per cent; the limit is "
        "that share of what the same work could reach.",
    )
    INCOMPLETE = "incomplete", "Too small a part of the operations is scheduled, in per cent."
    LOAD_IMBALANCE = (
        "load_imbalance",
        "One machine works too many times what it would if others had taken some of the work that waited for it.",
    )

    def __new__(cls, value: str, description: str = "") -> AnomalyCode:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule, by how many seconds, in a sentence for the planner.

    `by_seconds` is at least 1 where the rule has an amount, 0 where it has none (a missing operation).
    """

    code: ViolationCode
    message: str
    operation_id: str | None = None
    machine_id: int | None = None
    by_seconds: int = 0

    @property
    def is_critical(self) -> bool:
        return self.code.is_critical


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One measure beyond its limit, both in the unit that the code names."""

    code: AnomalyCode
    message: str
    value: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All that the judge found; `measures` use its own reckoning of open time.

    No plan for the problem has a makespan below `bound_seconds`.
    """

    violations: tuple[Violation, ...]
    anomalies: tuple[Anomaly, ...]
    measures: Measures
    bound_seconds: int = 0

    @cached_property
    def valid(self) -> bool:
        """Whether the schedule may be served: no critical violation."""
        return not any(violation.is_critical for violation in self.violations)

    @cached_property
    def safety_score(self) -> float:
        """How far to trust the schedule, 0 to 100.

        0 with any critical violation; otherwise 100 less 10 for each missed deadline and each
        anomaly, but not below 1, so that 0 always means "must not be served".
        """
        if not self.valid:
            return 0.0
        remarks = len(self.violations) + len(self.anomalies)
        return max(MIN_VALID_SCORE, 100.0 - DEDUCTION_POINTS * remarks)


def amount(seconds: int) -> str:
    """`seconds` >= 0 in hours, minutes and seconds without the parts that are zero: "2 h 15 min", "0 s"."""
    # Also keeps clear of the interpreter's limit on printing integers of thousands of digits.
    if seconds > SPEAKABLE_SECONDS:
        return "more than 30 million years"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{value} {unit}" for value, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if value]
    return " ".join(parts) or "0 s"


def quantity(count: int, one: str, many: str = "") -> str:
    """So many of something: "1 job", "2,000 jobs", and "3 families" where `many` says how."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


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
