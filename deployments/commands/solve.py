"""`gantry solve`: one problem from a file, without the service."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from deployments.commands.terminal import compilation_shown, plain_console
from deployments.errors import MalformedBody, ServiceError
from deployments.runtime.clock import utc_now
from env.errors import InvalidProblem

if TYPE_CHECKING:
    from deployments.contracts.answers.plan_files import PlanSheet
    from deployments.contracts.requests.schedule_request import ScheduleRequest
    from deployments.contracts.translation.fixed_work import EarlierRow
    from deployments.contracts.translation.problem import Question
    from env.judge.verdict import Verdict
    from env.problem import Problem
    from env.schedule import Schedule

MAX_LATE_FAMILIES = 10
CHART_COLUMNS = 120
PROBLEM_SUFFIXES = (".json", ".fjs", ".jsp", ".fajsp", ".txt", "")
"""Of files that may hold a problem, in small or capital letters."""
POLICY = "ppo"
MANUAL = "manual"
PLAN_SUFFIXES = (".svg", ".html", ".csv", ".xlsx", ".ics")
"""What a plan can be written as."""
_SECONDS_PER_HOUR = 3600
_PRINTED = {"jobs_on_time": "families on time", "important_jobs_on_time": "important families on time"}
"""A family is on time or not, whatever the field is called."""


def earlier_rows_beside(file: Path, request: ScheduleRequest) -> tuple[EarlierRow, ...] | None:
    """The rows in `<previous_schedule_id>.json` beside `file`, None when the request continues no schedule.

    Raises `InvalidProblem` when there is no such file, or it is neither an answer nor a stored decision.
    """
    from deployments.contracts.translation.fixed_work import earlier_rows

    if request.previous_schedule_id is None:
        return None
    name = f"{request.previous_schedule_id}.json"
    path = file.parent / name
    if Path(name).name != name or not path.is_file():
        message = f"needs the earlier answer as the file {name} beside {file.name}, which is not there: "
        message += "save what POST /schedule or GET /v1/schedules/{schedule_id} answered under that name"
        raise InvalidProblem([("previous_schedule_id", message)])
    try:
        return earlier_rows(path.read_bytes())
    except ValueError as error:
        raise InvalidProblem([("previous_schedule_id", f"{name}: {error}")]) from None


class ProblemFile(NamedTuple):
    """A problem from a file, and how many seconds one unit of the file's time is.

    `understood` tells of a benchmark how it was read, `asked` of a request what else it says.
    """

    problem: Problem
    unit_seconds: int
    name: str = ""
    understood: str | None = None
    asked: tuple[ScheduleRequest, Question] | None = None


class UnknownAlgorithm(ServiceError):
    """There is no such algorithm; the message lists those that exist."""


class UnknownEnding(ServiceError):
    """Nobody can tell by the name of a file what to write into it."""


class SolvedInvalid(ServiceError):
    """The judge refused what the algorithm proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedProblem:
    """What was solved, how, and the judge's verdict."""

    problem: Problem
    schedule: Schedule
    verdict: Verdict
    file: ProblemFile
    algorithm: str
    model: str | None
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; for a request with the rows that `POST /schedule` answers."""
        from deployments.contracts.answers.schedule import scheduled_jobs_of

        asked = self.file.asked
        rows = [] if asked is None else scheduled_jobs_of(*asked, self.schedule)
        answered = {} if asked is None else {"scheduled_jobs": [row.model_dump(mode="json") for row in rows]}
        return answered | {
            "makespan": self.in_units(self.schedule.makespan_seconds),
            "seconds": self.seconds,
            "algorithm": self.algorithm,
            "model": self.model,
            "valid": self.verdict.valid,
            "operations": len(self.problem.operations),
            "metrics": self.metrics(),
            "schedule": [
                {
                    "job_id": row.operation_id,
                    "machine_id": row.machine_id,
                    "start": self.in_units(row.start_seconds),
                    "end": self.in_units(row.end_seconds),
                }
                for row in self.schedule.assignments
            ],
        }

    def metrics(self) -> dict[str, float]:
        """Key figures, times in the file's unit and shares in per cent."""
        measures = self.verdict.measures
        return {
            "makespan": self.in_units(measures.makespan_seconds),
            "completion_rate": measures.completion_percent,
            "average_utilization": measures.utilisation_percent,
            "jobs_on_time": measures.on_time_percent,
            "important_jobs_on_time": measures.important_on_time_percent,
            "total_tardiness": self.in_units(measures.tardiness_seconds),
            "total_setup_time": self.in_units(measures.setup_seconds),
        }

    def in_units(self, seconds: int) -> float:
        """Seconds in the file's unit: whole units stay whole."""
        return seconds if self.file.unit_seconds == 1 else seconds / self.file.unit_seconds


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(solve)


def solve(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="Request JSON or benchmark file.")
    ],
    algorithm: Annotated[str, typer.Option(help="ppo, manual, fifo, edd, spt, mwkr, atcs or composite.")] = POLICY,
    model: Annotated[Path | None, typer.Option(help="Policy folder; default: the configured one.")] = None,
    budget: Annotated[float, typer.Option(min=0, help="Seconds in all; 0: policy pass only.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    iterations: Annotated[
        int | None, typer.Option(min=0, help="Moves of the search instead of a budget: reproducible for a seed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Also write the plan: .svg, .html (to zoom in), .csv, .xlsx or .ics.")
    ] = None,
) -> None:
    """Schedule a file without the service.

    Benchmark files (.fjs, .jsp and others, docs/BENCHMARKS.md) are told by their content, and one line on stderr says
    how this one was understood. A request with a previous_schedule_id needs the earlier answer, or the stored decision,
    as <previous_schedule_id>.json beside it.

    Example: gantry solve plant.json --algorithm ppo --budget 0.5 --output plan.html
    """
    if output is not None:
        _require_known_ending(output)
    solution = solve_file(file, algorithm, model, budget_ms=round(1000 * budget), seed=seed, iterations=iterations)
    if solution.file.understood is not None:
        print(solution.file.understood, file=sys.stderr)
    if as_json:
        print(json.dumps(solution.as_json()))
    else:
        _show(solution)
    if output is not None:
        output.write_bytes(plan_file(solution, output.suffix.lower()))
        print(f"wrote {output}", file=sys.stderr)
    if not solution.verdict.valid:
        raise SolvedInvalid(f"the judge refused the schedule: {solution.verdict.violations[0].message}")


def _require_known_ending(output: Path) -> None:
    """Before anything is solved: what it is to be written as."""
    if output.suffix.lower() not in PLAN_SUFFIXES:
        raise UnknownEnding(f"--output must end in one of {', '.join(PLAN_SUFFIXES)}, was {output.name!r}")


def plan_file(solution: SolvedProblem, suffix: str) -> bytes:
    """The plan as a file of that ending. Raises `UnknownEnding` for a calendar of a benchmark, which has no dates."""
    from deployments.contracts.answers.chart import gantt_html, gantt_svg
    from deployments.contracts.answers.plan_files import plan_csv, plan_ics, plan_xlsx

    sheet = _sheet(solution)
    if suffix == ".ics":
        if not sheet.is_dated:
            raise UnknownEnding(f"a calendar needs dates, and {sheet.name} has none: write .svg, .html, .csv or .xlsx")
        return plan_ics(sheet, utc_now())
    writers: dict[str, Callable[[PlanSheet], bytes]] = {
        ".svg": gantt_svg,
        ".html": gantt_html,
        ".csv": plan_csv,
        ".xlsx": plan_xlsx,
    }
    return writers[suffix](sheet)


def _sheet(solution: SolvedProblem) -> PlanSheet:
    from deployments.contracts.answers.plan_files import KeptAnswer, bare_sheet, sheet_of
    from deployments.contracts.answers.schedule import scheduled_jobs_of

    name, asked = solution.file.name, solution.file.asked
    title = f"{name} by {solution.model or solution.algorithm}"
    if asked is None:
        return bare_sheet(solution.problem, solution.schedule, name=name, title=title)
    request, question = asked
    rows = [row.model_dump(mode="json") for row in scheduled_jobs_of(request, question, solution.schedule)]
    answer = KeptAnswer.model_validate({"scheduled_jobs": rows})
    return sheet_of(answer, request, question, start=question.start, zone=question.zone, name=name, title=title)


def solve_file(
    file: Path,
    algorithm: str,
    model: Path | None = None,
    *,
    budget_ms: int = 0,
    seed: int = 0,
    iterations: int | None = None,
) -> SolvedProblem:
    """Solve the problem in `file`. Raises `GantryError` for an unusable file, policy or algorithm."""
    from env.judge.judge import judge

    found = read_problem(file)
    problem = found.problem
    schedule_with, model_id = scheduler(algorithm, model, budget_ms, seed, iterations)
    _warm_up(algorithm, model)
    begun = time.perf_counter()
    schedule = schedule_with(problem)
    seconds = time.perf_counter() - begun
    return SolvedProblem(
        problem=problem,
        schedule=schedule,
        verdict=judge(problem, schedule),
        file=found,
        algorithm=algorithm,
        model=model_id,
        seconds=seconds,
    )


def read_problem(file: Path) -> ProblemFile:
    """The problem in a benchmark file or request JSON. Raises `GantryError` that says what is wrong with it."""
    from deployments.settings.service import load_settings
    from env.instances.readers import read_benchmark

    settings = load_settings()
    benchmark = read_benchmark(file, settings.max_machines)
    if benchmark is not None:
        return ProblemFile(benchmark.problem, 1, file.name, benchmark.understood)
    from deployments.contracts.parsing import RequestLimits, read_schedule_request
    from deployments.contracts.translation.problem import translate

    limits = RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines)
    try:
        received = read_schedule_request(file.read_bytes(), limits)
    except MalformedBody as error:
        raise MalformedBody(f"{file.name}: {error}") from None
    request = received.body
    for warning in received.warnings:
        print(f"{file.name}: {warning}", file=sys.stderr)
    earlier = earlier_rows_beside(file, request)
    question = translate(request, zone=settings.zone, now=utc_now(), earlier=earlier)
    return ProblemFile(question.problem, _SECONDS_PER_HOUR, file.name, asked=(request, question))


def scheduler(
    algorithm: str, model: Path | None, budget_ms: int, seed: int, iterations: int | None = None
) -> tuple[Callable[[Problem], Schedule], str | None]:
    """The algorithm by its name, and the policy's id if it is one. Raises `UnknownAlgorithm`."""
    from deployments.settings.service import load_settings
    from env.simulator.rules import Rule, dispatch
    from models.policy.artefact import load_predictor
    from models.search.anytime import search

    if algorithm == POLICY:
        predictor = load_predictor(model or load_settings().model_path)
        return (
            lambda problem: search(predictor, problem, budget_ms, seed, iterations=iterations).schedule,
            predictor.model_id,
        )
    rules = {rule.name.lower(): rule for rule in Rule} | {MANUAL: Rule.PLANNER}
    if algorithm not in rules:
        raise UnknownAlgorithm(f"algorithm must be one of {', '.join([POLICY, *sorted(rules)])}, was {algorithm!r}")
    return lambda problem: dispatch(problem, rules[algorithm]), None


def _warm_up(algorithm: str, model: Path | None) -> None:
    from deployments.settings.service import load_settings
    from models.policy.artefact import load_predictor
    from models.search.warm_up import warm_policy, warm_rules

    with compilation_shown():
        if algorithm == POLICY:
            warm_policy(load_predictor(model or load_settings().model_path))
        else:
            warm_rules()


def _show(solution: SolvedProblem) -> None:
    from rich.table import Table

    from env.insight.gantt import gantt_text

    console = plain_console()
    in_hours = solution.file.unit_seconds == _SECONDS_PER_HOUR
    unit = " h" if in_hours else ""
    table = Table(title=f"{solution.algorithm} {solution.model or ''}".strip(), show_header=False)
    for name, value in solution.metrics().items():
        is_time = name in {"makespan", "total_tardiness", "total_setup_time"}
        table.add_row(_PRINTED.get(name, name.replace("_", " ")), f"{value:,.2f}{unit if is_time else ' %'}")
    table.add_row("operations", f"{len(solution.problem.operations):,}")
    table.add_row("valid", "yes" if solution.verdict.valid else "NO")
    table.add_row("solved in", f"{1000 * solution.seconds:,.1f} ms")
    console.print(table)
    for line in late_families(solution):
        console.print(line)
    chart = gantt_text(solution.problem, solution.schedule, min(console.width, CHART_COLUMNS), in_hours=in_hours)
    console.print(chart, highlight=False)


def late_families(solution: SolvedProblem) -> list[str]:
    """One line for each family with work behind its due date, the latest first; none where nothing is due."""
    unit = " h" if solution.file.unit_seconds == _SECONDS_PER_HOUR else ""
    placed = solution.schedule.by_operation
    due = [(job, step) for job in solution.problem.jobs for step in job.operations if step.due_seconds is not None]
    if not due:
        return []
    late: dict[str, tuple[int, str]] = {}
    for job, step in due:
        behind = placed[step.id].end_seconds - (step.due_seconds or 0) if step.id in placed else 0
        if behind > 0:
            late[job.id] = max(late.get(job.id, (0, "")), (behind, step.id))
    latest = sorted(late.items(), key=lambda item: (-item[1][0], item[0]))
    lines = [f"late families: {len(late):,} of {len({job.id for job, _ in due}):,}"]
    lines += [
        f"  {family}: {step} ends {solution.in_units(behind):,.2f}{unit} late"
        for family, (behind, step) in latest[:MAX_LATE_FAMILIES]
    ]
    more = len(latest) - MAX_LATE_FAMILIES
    return [*lines, f"  and {more:,} more"] if more > 0 else lines
