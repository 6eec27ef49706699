"""`gantry validate`: the judge on files."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.runtime.clock import utc_now
from env.errors import InvalidProblem
from env.judge.verdict import quantity

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from deployments.contracts.answers.validation import ScheduledJobClaim, ValidateAnswer
    from deployments.settings.service import Settings
    from env.judge.verdict import Verdict
    from env.problem import Problem

JsonFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
_SHOWN_VIOLATIONS = 20


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(validate)


def validate(request: JsonFile, answer: JsonFile) -> None:
    """Judge a schedule without the service: exit 0 when it is valid, suspicious or not, and 1 when it is not.

    REQUEST is a body of POST /schedule or a benchmark file, ANSWER is what came back, the stored decision, what gantry
    solve --json printed, or any object with scheduled_jobs. Of a request with a previous_schedule_id the earlier answer
    is the file <previous_schedule_id>.json beside it.

    Example: gantry validate request.json answer.json
    """
    from deployments.settings.service import load_settings
    from env.instances.readers import read_benchmark

    settings = load_settings()
    benchmark = read_benchmark(request, settings.max_machines)
    if benchmark is None:
        found = judge_files(request, answer, settings)
        makespan = f"{found.metrics.makespan:.2f} h"
    else:
        verdict = judge_benchmark(benchmark.problem, answer, settings)
        found, makespan = _answer(verdict), f"{verdict.measures.makespan_seconds:,}"
    for violation in found.violations[:_SHOWN_VIOLATIONS]:
        print(f"{violation.code}: {violation.message}")
    if len(found.violations) > _SHOWN_VIOLATIONS:
        print(f"... and {len(found.violations) - _SHOWN_VIOLATIONS} more")
    for anomaly in found.anomalies:
        print(f"valid but suspicious, {anomaly.code}: {anomaly.message}")
    placed = f"{found.metrics.scheduled_jobs:,} of {quantity(found.metrics.total_jobs, 'job')}"
    words = "valid" if found.valid else f"NOT valid, {quantity(len(found.violations), 'violation')}"
    print(f"{words}: {placed}, makespan {makespan}, safety score {found.safety_score:.0f}")
    if not found.valid:
        raise typer.Exit(1)


def judge_files(request: Path, answer: Path, settings: Settings) -> ValidateAnswer:
    """What the judge finds. Raises `InvalidRequest`, `MalformedBody` or `InvalidProblem` for unusable files."""
    from deployments.commands.solve import earlier_rows_beside
    from deployments.contracts.answers.validation import claimed_schedule, validate_answer
    from deployments.contracts.parsing import RequestLimits, read_validate_request
    from deployments.contracts.translation.problem import translate
    from env.judge.judge import judge

    body = {"request": _document(request), **_rows(_document(answer), "scheduled_jobs")}
    limits = RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines)
    received = read_validate_request(json.dumps(body).encode(), limits)
    claim = received.body
    now = _second_zero(claim.scheduled_jobs, settings.zone)
    earlier = earlier_rows_beside(request, claim.request)
    question = translate(claim.request, zone=settings.zone, now=now, earlier=earlier)
    verdict = judge(question.problem, claimed_schedule(claim.scheduled_jobs), settings.policy.anomaly_limits)
    return validate_answer(claim.scheduled_jobs, question, verdict, warnings=(*received.warnings, *question.warnings))


def judge_benchmark(problem: Problem, answer: Path, settings: Settings) -> Verdict:
    """What the judge finds of what `gantry solve --json` printed. Raises `InvalidRequest` or `InvalidProblem`."""
    from deployments.contracts.answers.validation import SolvedSchedule
    from deployments.contracts.parsing import read_document
    from env.judge.judge import judge
    from env.schedule import Assignment, Schedule

    rows = read_document(json.dumps(_rows(_document(answer), "schedule")).encode(), SolvedSchedule).schedule
    assignments = tuple(
        Assignment(operation_id=row.job_id, machine_id=row.machine_id, start_seconds=row.start, end_seconds=row.end)
        for row in rows
    )
    return judge(problem, Schedule(assignments=assignments), settings.policy.anomaly_limits)


def _answer(verdict: Verdict) -> ValidateAnswer:
    from deployments.contracts.answers.figures import metrics_of
    from deployments.contracts.answers.schedule import anomalies_of, violations_of
    from deployments.contracts.answers.validation import ValidateAnswer

    return ValidateAnswer(
        valid=verdict.valid,
        violations=violations_of(verdict.violations),
        anomalies=anomalies_of(verdict.anomalies),
        safety_score=verdict.safety_score,
        metrics=metrics_of(verdict.measures),
        warnings=[],
    )


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InvalidProblem([(path.name, f"must be JSON: {error}")]) from None


def _rows(answer: Any, name: str) -> dict[str, Any]:
    """The rows of a whole answer, stored or not, or rows alone, under their name; absent when the answer has none."""
    if not isinstance(answer, dict):
        return {name: answer}
    if name not in answer and isinstance(answer.get("answer"), dict):
        answer = answer["answer"]
    return {name: answer[name]} if name in answer else {}


def _second_zero(claims: list[ScheduledJobClaim], zone: ZoneInfo) -> datetime:
    """`schedule_start` of a request that left it to the service's clock: only the rows of the answer still tell it."""
    from deployments.contracts.requests.wire import in_zone, seconds_of

    for claim in claims:
        if claim.start_datetime is not None:
            return in_zone(claim.start_datetime, zone) - timedelta(seconds=seconds_of(claim.start_time))
    return utc_now()
