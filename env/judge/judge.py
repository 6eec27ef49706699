"""The judge: whether a schedule may be served, decided without any code that could have proposed it.

Only this module may call a schedule valid. It leans on problem, schedule and errors, and on the other
modules of its room: the case, the rules, the verdict, the bound, the anomalies, a calendar and a wording of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from env.judge.anomalies import AnomalyLimits, BoundedMakespan, anomalies
from env.judge.bound import MakespanBound
from env.judge.calendar import open_times, reach_of
from env.judge.case import case_of
from env.judge.rules import violations_of
from env.judge.verdict import Anomaly, AnomalyCode, Verdict, Violation, ViolationCode
from env.problem import Problem
from env.schedule import Schedule, measure

__all__ = [
    "NO_LIMITS",
    "Anomaly",
    "AnomalyCode",
    "AnomalyLimits",
    "BoundedMakespan",
    "Verdict",
    "Violation",
    "ViolationCode",
    "judge",
    "open_seconds",
    "violations",
]

NO_LIMITS = AnomalyLimits()


def judge(
    problem: Problem,
    schedule: Schedule,
    limits: AnomalyLimits = NO_LIMITS,
    baseline_makespan_seconds: int | None = None,
    recent_makespans: Sequence[BoundedMakespan] = (),
) -> Verdict:
    """All violations, anomalies and measures of `schedule`. Never raises, whatever the schedule claims.

    What the baseline and the recent makespans are compared with is told in `env.judge.anomalies.anomalies`.
    Measures leave out assignments at times too far away to be judged (`OUT_OF_RANGE`).
    """
    case = case_of(problem, schedule)
    timed = [work for work in case.works if work.is_timed]
    until = max([0, *[work.end for work in timed]])
    # Most machines have the calendar of the plant.
    calendars = Counter([case.hours.of_each[index] for index in problem.usable_machines])
    opened = sum([count * each.between(0, until) for each, count in calendars.items()])
    left = {work.assignment.operation_id: work.seconds for work in timed if work.start < 0 and work.machines}
    if len(timed) == len(case.works):
        measures = measure(problem, schedule, opened, left, case.placed)
    else:
        reach = case.reach
        known = [each for each in schedule.assignments if reach.holds(each.start_seconds, each.end_seconds)]
        measures = measure(problem, Schedule(assignments=tuple(known)), opened, left)
    bound = MakespanBound(case)
    return Verdict(
        violations=tuple(violations_of(case)),
        anomalies=anomalies(case, measures, bound, limits, baseline_makespan_seconds, recent_makespans),
        measures=measures,
        bound_seconds=bound.seconds,
    )


def violations(problem: Problem, schedule: Schedule) -> tuple[Violation, ...]:
    """Every broken rule, whatever the order of the assignments: missing and repeated work, then each assignment
    in order of its start, then overlaps by machine, sequences by job, and missed deadlines. Never raises.

    Overlap is reported once for each assignment that starts before a machine that it holds is free, and
    each such machine.
    """
    return tuple(violations_of(case_of(problem, schedule)))


def open_seconds(problem: Problem, until_seconds: int) -> int:
    """Open time of all machines together within [0, until_seconds), 0 for a negative argument.

    What lies beyond the 250 years that the calendar can be known for is not counted.
    """
    until = max(0, min(until_seconds, reach_of(problem.hours).last))
    return sum(opened.between(0, until) for opened in open_times(problem.hours, problem.machines, 0, until))
