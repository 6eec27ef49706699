"""How often the judge calls plans suspicious: ordinary ones of first requests, and planted spoilt ones.

`python -m tests.deployments.serve.anomaly_rates` prints the table, and fails when an ordinary plan is suspicious or a
spoilt one is not. A plan of the manual rule may be suspicious where the policy's is shorter by a tenth or more: then
the judge is right.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from env.judge.anomalies import MIN_HISTORY
from env.judge.judge import AnomalyCode, BoundedMakespan, judge
from env.judge.verdict import Verdict
from env.problem import Alternative, Job, Machine, Operation, Problem, WorkingHours
from env.schedule import Assignment, Schedule
from env.simulator.rules import Rule, dispatch
from models.policy.artefact import load_predictor
from models.search.anytime import search
from tests.deployments.serve.ordinary_requests import KINDS, ordinary_problem
from tests.deployments.shipped_policy import POLICY
from tests.problems import DAY, HOUR

REQUESTS = 200
BUDGET_MS = 100
SHORTER = 0.9
MONDAY = datetime(2026, 1, 5, 6, 30, tzinfo=UTC)
Planner = Callable[[Problem], Schedule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoilt:
    """A plan that somebody should look at; `code` is what the judge must say of it, whatever else it says."""

    name: str
    code: AnomalyCode
    problem: Problem
    schedule: Schedule
    recent: tuple[BoundedMakespan, ...] = ()

    def verdict(self) -> Verdict:
        return judge(self.problem, self.schedule, POLICY.anomaly_limits, recent_makespans=self.recent)

    def is_flagged(self) -> bool:
        return self.code in {anomaly.code for anomaly in self.verdict().anomalies}


def spoilt_plans() -> Iterable[Spoilt]:
    """Twenty of them: ten ways, each on a small and on a large plant. All but the incomplete ones are valid."""
    for size, jobs, machines in (("small", 12, 4), ("large", 120, 20)):
        shop, week = _shop(jobs, machines, None), _shop(jobs, machines, "UTC")
        good, slow = dispatch(shop, Rule.COMPOSITE), _shop(jobs, machines, None, slower=4)
        usual = (_bounded(slow, dispatch(slow, Rule.COMPOSITE)),) * MIN_HISTORY
        low, unlike = AnomalyCode.LOW_UTILISATION, AnomalyCode.MAKESPAN_UNLIKE_HISTORY
        uneven, incomplete = AnomalyCode.LOAD_IMBALANCE, AnomalyCode.INCOMPLETE
        latest = max(good.assignments, key=lambda each: each.end_seconds)
        for name, code, problem, schedule, recent in (
            ("stretched three times", low, shop, _timed(good, lambda start: 3 * start), ()),
            ("begun a week late", low, week, _timed(dispatch(week, Rule.COMPOSITE), lambda start: start + 7 * DAY), ()),
            ("a gap as long as two plans", low, shop, _gap(good, good.makespan_seconds // 2, 2), ()),
            ("a straggler", low, shop, _timed(good, lambda start, end=latest.end_seconds: start + 3 * end, latest), ()),
            ("one job after another", low, shop, _one_by_one(shop), ()),
            ("all on as few machines as can do it", uneven, shop, dispatch(_crowded(shop), Rule.COMPOSITE), ()),
            ("two more hours of delay with each start", low, shop, _dragging(good), ()),
            ("one operation left out", incomplete, shop, Schedule(assignments=good.assignments[1:]), ()),
            ("half of the jobs left out", incomplete, shop, Schedule(assignments=good.assignments[::2]), ()),
            ("the slowest machines", unlike, slow, dispatch(_slowest(slow), Rule.COMPOSITE), usual),
        ):
            yield Spoilt(name=f"{name}, {size}", code=code, problem=problem, schedule=schedule, recent=recent)


def ordinary_verdicts(requests: Iterable[int], plan: Planner) -> Iterable[tuple[str, Problem, Verdict]]:
    """What the judge says of each first request's plan."""
    for seed in requests:
        name, problem = ordinary_problem(seed)
        yield name, problem, judge(problem, plan(problem), POLICY.anomaly_limits)


def _shop(jobs: int, machines: int, zone: str | None, slower: int = 1) -> Problem:
    """Jobs of one to three operations, each on half of the machines, `slower` times as long on every second one."""
    rng = np.random.default_rng(jobs)

    def operation(name: str) -> Operation:
        first, seconds = int(rng.integers(0, 2)), int(rng.integers(1, 8)) * HOUR // 2
        half = range(first * machines // 2, first * machines // 2 + machines // 2)
        times = ((machine, seconds * (slower if machine % 2 else 1)) for machine in half)
        return Operation(
            id=name,
            alternatives=tuple(Alternative(machine=machine, processing_seconds=taken) for machine, taken in times),
        )

    return Problem(
        jobs=tuple(
            Job(id=f"J{job}", operations=tuple(operation(f"J{job}-{step}") for step in range(int(rng.integers(1, 4)))))
            for job in range(jobs)
        ),
        machines=tuple(Machine(id=10 + index) for index in range(machines)),
        hours=None if zone is None else WorkingHours(origin=MONDAY, zone=zone),
    )


def _timed(schedule: Schedule, start_of: Callable[[int], int], only: Assignment | None = None) -> Schedule:
    """All work, or `only` one piece of it, at another start."""
    return Schedule(
        assignments=tuple(
            replace(
                each,
                start_seconds=start_of(each.start_seconds),
                end_seconds=start_of(each.start_seconds) + each.end_seconds - each.start_seconds,
            )
            if only is None or each is only
            else each
            for each in schedule.assignments
        )
    )


def _gap(schedule: Schedule, at: int, plans: int) -> Schedule:
    """Nothing that would begin after `at` begins before so many makespans have passed."""
    return _timed(schedule, lambda start: start + plans * schedule.makespan_seconds * (start >= at))


def _dragging(schedule: Schedule) -> Schedule:
    """In the order of the starts, each two hours later than the one before already is."""
    starts = sorted({each.start_seconds for each in schedule.assignments})
    return _timed(schedule, lambda start: start + 2 * HOUR * starts.index(start))


def _one_by_one(problem: Problem) -> Schedule:
    """Only one piece of work in the whole plant at any time."""
    rows, now = [], 0
    for operation in problem.operations:
        chosen = operation.alternatives[0]
        machine, end = problem.machines[chosen.machine].id, now + chosen.duration_seconds
        rows.append(Assignment(operation_id=operation.id, machine_id=machine, start_seconds=now, end_seconds=end))
        now = end
    return Schedule(assignments=tuple(rows))


def _with_alternatives(problem: Problem, kept: Callable[[Operation], tuple[Alternative, ...]]) -> Problem:
    jobs = (
        replace(job, operations=tuple(replace(each, alternatives=kept(each)) for each in job.operations))
        for job in problem.jobs
    )
    return replace(problem, jobs=tuple(jobs))


def _crowded(problem: Problem) -> Problem:
    """Each operation only on the first of its machines."""
    return _with_alternatives(problem, lambda each: each.alternatives[:1])


def _slowest(problem: Problem) -> Problem:
    """Only the machines that take longest."""

    def slowest(operation: Operation) -> tuple[Alternative, ...]:
        longest = max(each.processing_seconds for each in operation.alternatives)
        return tuple(each for each in operation.alternatives if each.processing_seconds == longest)

    return _with_alternatives(problem, slowest)


def _bounded(problem: Problem, schedule: Schedule) -> BoundedMakespan:
    verdict = judge(problem, schedule)
    return BoundedMakespan(makespan_seconds=verdict.measures.makespan_seconds, bound_seconds=verdict.bound_seconds)


def ordinary_table(requests: int) -> tuple[list[str], int]:
    """One line for each way to plan, and how many suspicious plans nobody can explain."""
    predictor = load_predictor()
    planners: dict[str, Planner] = {
        "policy, no budget": lambda problem: search(predictor, problem, 0).schedule,
        f"policy, {BUDGET_MS} ms": lambda problem: search(predictor, problem, BUDGET_MS).schedule,
        "manual rule": lambda problem: dispatch(problem, Rule.PLANNER),
    }
    lines, unexplained = [], 0
    for planner, plan in planners.items():
        flagged = Counter[str]()
        for name, problem, verdict in ordinary_verdicts(range(requests), plan):
            assert verdict.valid, (name, verdict.violations[0])
            better = search(predictor, problem, 0).schedule.makespan_seconds if verdict.anomalies else 0
            is_right = planner == "manual rule" and better < SHORTER * verdict.measures.makespan_seconds
            unexplained += bool(verdict.anomalies) and not is_right
            flagged.update(f"{anomaly.code.value} ({name})" for anomaly in verdict.anomalies)
        found = ", ".join(f"{count} {what}" for what, count in flagged.items())
        lines.append(f"{planner:<18} {requests:>4} {flagged.total():>10}  {found}")
    return lines, unexplained


if __name__ == "__main__":
    spoilt = list(spoilt_plans())
    missed = [each.name for each in spoilt if not each.is_flagged()]
    for each in spoilt:
        codes = ", ".join(anomaly.code.value for anomaly in each.verdict().anomalies)
        print(f"{each.name:<48} {codes or 'nothing'}")
    print(f"{len(spoilt) - len(missed)} of {len(spoilt)} spoilt plans flagged\n")
    lines, unexplained = ordinary_table(REQUESTS)
    print(f"{f'first requests of {len(KINDS)} kinds':<18} plans suspicious", *lines, sep="\n")
    sys.exit(bool(missed or unexplained))
