"""What makes a problem unsolvable before anyone tries. Each reason is a proof, never a guess.

Only cheap proofs stand here. A job that must not pause and is longer than the longest opening, or
that no holiday leaves room for, is still found by the proposers, which say so by `HorizonExceeded`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from env.planner_words import amount
from env.problem import Job, Problem, WeeklyBreak

LONGEST_YEARS = 50
_SECONDS_PER_YEAR = 365 * 24 * 3600
_DAY_MINUTES = 24 * 60
_WEEK_MINUTES = 7 * _DAY_MINUTES
Reason = tuple[str, str]


def precheck(problem: Problem, path_of: Mapping[str, str]) -> Iterator[Reason]:
    """(field, message) of each proof; `path_of` maps an operation to its place in the request."""
    if problem.hours is not None and not _opens_in_a_week(problem.hours.breaks):
        yield "calendar.breaks", "must leave the plant open at some time of the week, left none"
    for job in problem.jobs:
        yield from _unreachable_times(job, path_of)
    yield from _too_much_work(problem, path_of)


def _opens_in_a_week(breaks: tuple[WeeklyBreak, ...]) -> bool:
    is_closed = bytearray(_WEEK_MINUTES)
    for rest in breaks:
        first = rest.start.hour * 60 + rest.start.minute
        last = rest.end.hour * 60 + rest.end.minute
        minutes = last - first if last > first else last - first + _DAY_MINUTES
        for weekday in rest.weekdays:
            for minute in range(minutes):
                is_closed[(weekday * _DAY_MINUTES + first + minute) % _WEEK_MINUTES] = 1
    return not all(is_closed)


def _unreachable_times(job: Job, path_of: Mapping[str, str]) -> Iterator[Reason]:
    """Even with every machine idle and always open, work takes its time after its release and its predecessors."""
    earliest = 0
    for operation in job.operations:
        if operation.release_seconds > LONGEST_YEARS * _SECONDS_PER_YEAR:
            yield f"{path_of[operation.id]}.release_at", f"must be within {LONGEST_YEARS} years of schedule_start"
        shortest = min(alternative.duration_seconds for alternative in operation.alternatives)
        earliest = max(earliest, operation.release_seconds) + shortest
        deadline = operation.deadline_seconds
        if deadline is not None and deadline < earliest:
            missing = amount(earliest - deadline)
            yield f"{path_of[operation.id]}.deadline_at", f"must be reachable, was {missing} too early at best"


def _too_much_work(problem: Problem, path_of: Mapping[str, str]) -> Iterator[Reason]:
    """Work that shares its machines is spread over them at best."""
    seconds: dict[tuple[int, ...], int] = defaultdict(int)
    example: dict[tuple[int, ...], str] = {}
    for operation in problem.operations:
        machines = tuple(alternative.machine for alternative in operation.alternatives)
        seconds[machines] += min(alternative.duration_seconds for alternative in operation.alternatives)
        example.setdefault(machines, path_of[operation.id])
    for machines, total in seconds.items():
        years = total / len(machines) / _SECONDS_PER_YEAR
        if years > LONGEST_YEARS:
            field = f"{example[machines]}.machine_types"
            yield field, f"must leave each machine at most {LONGEST_YEARS} years of work, left {years:.0f} years"
