"""`gantry demo`: the whole product on one screen, on files that nobody misses afterwards."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deployments.commands.terminal import StepDisplay, plain_console
from deployments.errors import ServiceError
from deployments.runtime.clock import utc_now
from deployments.runtime.durable_file import temporary_folder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from deployments.contracts.answers.figures import Metrics
    from deployments.contracts.requests.schedule_request import ScheduleRequest
    from deployments.contracts.translation.problem import Question
    from deployments.settings.service import Settings

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "plant-170.json"
_REQUEST_SECONDS = 60.0
_CHART_COLUMNS = 110
_ROWS = (
    ("makespan", "makespan", "h"),
    ("scheduled_jobs", "jobs scheduled", ""),
    ("jobs_on_time", "families on time", "%"),
    ("important_jobs_on_time", "important families on time", "%"),
    ("total_tardiness", "total tardiness", "h"),
    ("average_utilization", "utilisation", "%"),
    ("total_setup_time", "setup", "h"),
)


class DemoFailed(ServiceError):
    """The service did not answer the example as it should."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(demo)


def demo() -> None:
    """Start the service on SQLite, schedule a plant of 170 jobs over HTTP, show the plan, and stop.

    Example: gantry demo
    """
    console = plain_console()
    with temporary_folder("demo") as data_folder:
        use_throwaway_settings(data_folder)
        answer = _answer_over_http(console)
    _show(console, answer)


def use_throwaway_settings(data_folder: Path) -> None:
    """Settings of this process and its children: whatever the shell or a .env file says, nothing else is touched."""
    from deployments.settings.service import DEVELOPMENT_API_KEY, PREFIX, PUBLISHED_MODEL

    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ |= {
        "ENVIRONMENT": "development",
        "GANTRY_ENVIRONMENT": "development",
        "GANTRY_API_KEY": DEVELOPMENT_API_KEY,
        "GANTRY_DATA_FOLDER": str(data_folder),
        "GANTRY_SPOOL_FOLDER": str(data_folder / "spool"),
        "GANTRY_DATABASE_URL": f"sqlite:///{data_folder / 'gantry.sqlite3'}",
        "GANTRY_MODEL_PATH": str(PUBLISHED_MODEL),
        "GANTRY_PLANT_TIMEZONE": "UTC",
        "GANTRY_ROLLOUT_INITIAL_STAGE": "full",
        "GANTRY_LOG_LEVEL": "warning",
        # An empty variable hides what a .env file may say.
        "GANTRY_POLICY_FILE": "",
    }


def _answer_over_http(console: Console) -> dict[str, Any]:
    import httpx

    from deployments.local_cluster.cluster import free_port
    from deployments.local_cluster.service import DEFAULT_CONFIG, running
    from deployments.settings.service import load_settings

    settings = load_settings()
    display = StepDisplay(console.print, console)
    with (
        running(settings, DEFAULT_CONFIG, free_port(), display=display, quiet=True) as listener,
        httpx.Client(base_url=listener.url, timeout=_REQUEST_SECONDS, trust_env=False) as client,
    ):
        console.print(f"ready on {listener.url}; posting {EXAMPLE.name} to /schedule ...")
        key = {"X-API-Key": settings.api_key.get_secret_value()}
        response = client.post("/schedule", content=EXAMPLE.read_bytes(), headers=key)
    if response.status_code != httpx.codes.OK:
        raise DemoFailed(f"POST /schedule must answer 200, was {response.status_code}: {response.text[:500]}")
    answer: dict[str, Any] = response.json()
    return answer


def _show(console: Console, answer: dict[str, Any]) -> None:
    from deployments.contracts.answers.chart import gantt_html, gantt_svg
    from deployments.contracts.answers.plan_files import KeptAnswer, sheet_of
    from deployments.contracts.answers.validation import ScheduledJobClaim, claimed_schedule
    from deployments.settings.service import load_settings
    from env.insight.gantt import gantt_text

    request, question = _asked(load_settings())
    schedule = claimed_schedule([ScheduledJobClaim.model_validate(row) for row in answer["scheduled_jobs"]])
    console.print(_table(answer, _manual_metrics(question)))
    console.print(gantt_text(question.problem, schedule, width=min(console.width, _CHART_COLUMNS)), highlight=False)
    folder = Path(tempfile.mkdtemp(prefix="gantry-demo-plan-"))
    (folder / "answer.json").write_text(json.dumps(answer, indent=1), encoding="utf-8")
    sheet = sheet_of(
        KeptAnswer.model_validate(answer),
        request,
        question,
        start=question.start,
        zone=question.zone,
        name=EXAMPLE.stem,
        title=f"{EXAMPLE.stem} by {answer['algorithm_used']}",
    )
    (folder / "gantt.html").write_bytes(gantt_html(sheet))
    (folder / "gantt.svg").write_bytes(gantt_svg(sheet))
    files = f"Gantt chart: {folder / 'gantt.html'} (to zoom in), {folder / 'gantt.svg'}"
    console.print(f"{files}\nwhole answer: {folder / 'answer.json'}", soft_wrap=True)


def _asked(settings: Settings) -> tuple[ScheduleRequest, Question]:
    from deployments.contracts.parsing import RequestLimits, read_schedule_request
    from deployments.contracts.translation.problem import translate

    limits = RequestLimits(jobs=settings.max_jobs, machines=settings.max_machines)
    request = read_schedule_request(EXAMPLE.read_bytes(), limits).body
    return request, translate(request, zone=settings.zone, now=utc_now())


def _manual_metrics(question: Question) -> Metrics:
    from deployments.contracts.answers.figures import metrics_of
    from env.judge.judge import judge
    from env.simulator.rules import Rule, dispatch

    schedule = dispatch(question.problem, Rule.PLANNER)
    return metrics_of(judge(question.problem, schedule).measures)


def _table(answer: dict[str, Any], manual: Metrics) -> Table:
    from rich.table import Table

    served, model = answer["algorithm_used"], answer["decision"]["model"]
    table = Table(title=f"served by {served} ({model or 'planning rule'}), judged safe: {answer['safety']['valid']}")
    table.add_column("measure")
    table.add_column(served, justify="right")
    table.add_column("manual rule", justify="right")
    for name, label, unit in _ROWS:
        figures = (answer["metrics"][name], getattr(manual, name))
        table.add_row(label, *(f"{figure:.1f} {unit}" if unit else str(figure) for figure in figures))
    table.add_row("answered in", f"{1000 * answer['generation_time']:.0f} ms", "")
    return table
