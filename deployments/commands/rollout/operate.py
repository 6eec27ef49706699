"""`gantry rollout status, promote, pause, resume, rollback, report`: the rollout's routes, from a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.rollout.replay import replay
from deployments.commands.rollout.simulate import simulate
from deployments.commands.terminal import plain_console
from deployments.errors import ServiceError

if TYPE_CHECKING:
    import httpx
    from rich.console import Console

DEFAULT_URL = "http://127.0.0.1:8000"
DAYS_OF_A_WEEK = 7
STATUS_COLUMNS = 80
SHADOW, FULL, PAUSED, ROLLED_BACK = "shadow", "full", "paused", "rolled_back"
"""Stages as the service calls them. The command is a client: what it would take to import them is the service's."""
WORST_FIRST = ("triggered", "breach", "healthy")
"""Conditions of a rule of which something is known."""
TOLD_TO_PLANNERS = "Each answer says so: by a warning, and by decision.stage, rolled_back."
AFTER_ROLLBACK = (
    "Next: an operator finds and mends the cause (GET /v1/rollout/events), and then\n"
    'begins the next ramp, in shadow: gantry rollout promote --reason "..."'
)
_TIMEOUT_SECONDS = 30.0
_FIRST_FAULT = 400
_ACCEPTED = 202

Url = Annotated[str, typer.Option(help="Where the service listens.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit trail.")]
ExpectedVersion = Annotated[
    int | None, typer.Option(min=0, help="Version that you looked at; another one is refused. Default: any.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's answer and nothing else.")]


class OrderRefused(ServiceError):
    """The service did not do what it was asked to; the message is its own."""


def status(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show stage, split, guardrails and verdict. Needs the scope operate.

    Example: gantry rollout status
    """
    found = _asked("GET", url, "/v1/rollout")
    if as_json:
        print(json.dumps(found))
        return
    _show_status(found)


def promote(
    reason: Reason,
    url: Url = DEFAULT_URL,
    expected_version: ExpectedVersion = None,
    force: Annotated[bool, typer.Option("--force", help="Skip minimum durations and missing evidence.")] = False,
    as_json: AsJson = False,
) -> None:
    """One stage up, if the gate is open; after a rollback the next ramp, from shadow.

    Example: gantry rollout promote --reason "a week in shadow, 18 % shorter" --expected-version 1
    """
    _order(url, "promote", {"reason": reason, "expected_version": expected_version, "force": force}, as_json)


def pause(
    reason: Reason, url: Url = DEFAULT_URL, expected_version: ExpectedVersion = None, as_json: AsJson = False
) -> None:
    """Keep the share and block promotion.

    Example: gantry rollout pause --reason "stocktaking until Friday"
    """
    _order(url, "pause", {"reason": reason, "expected_version": expected_version}, as_json)


def resume(
    reason: Reason, url: Url = DEFAULT_URL, expected_version: ExpectedVersion = None, as_json: AsJson = False
) -> None:
    """Go on from a pause.

    Example: gantry rollout resume --reason "stocktaking is over"
    """
    _order(url, "resume", {"reason": reason, "expected_version": expected_version}, as_json)


def rollback(reason: Reason, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Manual at once, from every state, also without controller and database. Needs the scope rollback or operate.

    Example: gantry rollout rollback --reason "late trucks since the night shift"
    """
    _order(url, "rollback", {"reason": reason}, as_json)


def report(
    url: Url = DEFAULT_URL,
    weekly: Annotated[bool, typer.Option("--weekly", help="Figures by arm of the last seven days.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the page there instead of a summary here.")] = None,
    as_json: AsJson = False,
) -> None:
    """KPIs by arm, paired differences with intervals, and the verdict.

    Example: gantry rollout report --weekly --output report.html
    """
    days = {"days": DAYS_OF_A_WEEK} if weekly else {}
    if output is not None:
        page = _answer("GET", url, "/v1/rollout/report", params=days | {"format": "html"}).text
        try:
            output.write_text(page, encoding="utf-8")
        except OSError as error:
            raise OrderRefused(f"{output} must be writable: {error.strerror}") from error
        print(f"wrote {output}")
        return
    found = _asked("GET", url, "/v1/rollout/report", params=days)
    if as_json:
        print(json.dumps(found))
        return
    _show_report(found)


def _order(url: str, action: str, body: dict[str, Any], as_json: bool) -> None:
    answer = _answer("POST", url, f"/v1/rollout/{action}", json={k: v for k, v in body.items() if v is not None})
    found = answer.json()
    if as_json:
        print(json.dumps(found))
        return
    version = "" if found["version"] is None else f", version {found['version']}"
    print(f"{found['stage'].replace('_', ' ')}{version}, share {found['share']:.0%}")
    if answer.status_code == _ACCEPTED:
        print(found["detail"])
    if found["stage"] == ROLLED_BACK:
        print(f"Manual, the planner's rule, serves everybody from now on.\n{TOLD_TO_PLANNERS}\n{AFTER_ROLLBACK}")


def _asked(method: str, url: str, path: str, **sent: Any) -> dict[str, Any]:
    found: dict[str, Any] = _answer(method, url, path, **sent).json()
    return found


def _answer(method: str, url: str, path: str, **sent: Any) -> httpx.Response:
    """The service's answer. Raises `OrderRefused` with its words, or when there is none."""
    import httpx

    from deployments.settings.service import caller_key

    try:
        with httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = client.request(method, path, headers={"X-API-Key": caller_key()}, **sent)
    except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise OrderRefused(
            f"no service answers at {url} ({type(error).__name__}): start it with `gantry serve`, or name it by --url"
        ) from error
    if answer.status_code >= _FIRST_FAULT:
        raise OrderRefused(_words_of(answer))
    return answer


def _words_of(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code}: {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: the answer is none of Gantry's"


def _show_status(found: dict[str, Any]) -> None:
    console = plain_console(STATUS_COLUMNS)
    for paragraph in _sentences(found):
        console.print(paragraph, highlight=False)
    console.print()
    # A controller of 0.2.0 asks none of them.
    _show_evidence(console, found["gate"].get("evidence", ()))
    _show_guardrails(console, found["guardrails"])


def _sentences(found: dict[str, Any]) -> Iterator[str]:
    """Who serves whom since when, what is missing for the next stage, and who must do what."""
    stage, serving = found["stage"], found["serving_stage"]
    since = datetime.fromisoformat(found["stage_since"]).astimezone(UTC)
    lasted = _lasted((datetime.now(UTC) - since).total_seconds())
    held = f" in {serving}" if stage == PAUSED else ""
    yield f"Stage: {stage.replace('_', ' ')}{held}, since {since:%Y-%m-%d %H:%M} UTC, {lasted}."
    yield _who_serves(found, serving)
    yield f"Version {found['version']}, ramp {found['ramp']}, {found['challenger']} against {found['champion']}."
    if held_back := found.get("held_back"):
        yield f"Shown to be worse in {', '.join(held_back)}: these lists stay on {found['champion']}."
    if found.get("is_dry_run"):
        yield "A dry run: guardrails are watched, and nothing is rolled back by them."
    for trigger in found.get("triggers", ()):
        yield f"A guardrail has fired at {trigger['at'][:16]}: {trigger['guardrail']}, {trigger['rule']}."
    yield from _what_is_next(found, stage)
    if not found.get("is_owner", True):
        owner = found["owner"] or "nobody, without the database"
        yield f"Orders, but for a rollback, are taken by {owner}."


def _who_serves(found: dict[str, Any], serving: str) -> str:
    challenger, champion, share = found["challenger"], found["champion"], found["share"]
    if serving == ROLLED_BACK:
        return f"manual, the planner's rule, serves everybody, and no policy plans. {TOLD_TO_PLANNERS}"
    if serving == SHADOW:
        return f"{champion} serves everybody; {challenger} plans beside it, is compared and serves nobody."
    actual = found["actual_share"]
    served = "nothing was served yet" if actual is None else f"{actual:.0%} of what was served was its"
    if serving == FULL:
        return f"{challenger} serves everybody ({served}); manual where it has no safe plan."
    return f"{challenger} serves {share:.0%} of the windows, {served}; {champion} serves the others."


def _what_is_next(found: dict[str, Any], stage: str) -> Iterator[str]:
    """The gate's verdict in the words of whoever must act."""
    gate, version = found["gate"], found["version"]
    verdict, reasons = gate["verdict"], [f"  - {reason}" for reason in gate["reasons"]]
    order = 'gantry rollout {} --reason "..."'
    if stage == ROLLED_BACK:
        yield AFTER_ROLLBACK
        return
    if verdict == "PROMOTE":
        yield f"Next stage: open (verdict {verdict}). An operator promotes it:"
        yield f"  {order.format('promote')} --expected-version {version}"
        yield from reasons
        return
    if verdict == "ROLLBACK":
        yield f"Next stage: closed (verdict {verdict}). An operator must look; where nothing has rolled back by itself:"
        yield f"  {order.format('rollback')}"
    elif stage == PAUSED:
        yield f"Next stage: closed (verdict {verdict}) until an operator goes on:"
        yield f"  {order.format('resume')}"
    elif verdict == "FUTILE":
        yield f"Next stage: closed (verdict {verdict}). An operator rolls back, or activates another model:"
        yield f"  {order.format('rollback')}"
    elif stage == FULL:
        yield f"There is no next stage (verdict {verdict})."
    elif gate.get("can_be_forced"):
        yield f"Next stage: not yet (verdict {verdict}). More requests and days bring what is missing:"
    else:
        yield f"Next stage: not yet (verdict {verdict}). An operator must look at:"
    yield from reasons


def _show_evidence(console: Console, evidence: Sequence[dict[str, Any]]) -> None:
    """How each question of the gate stands, in windows or days."""
    from rich.table import Table

    from deployments.rollout.ramp.gate import odds_text

    table = Table("question", "odds", "needed", "windows", "missing", "state", box=None, pad_edge=False)
    for each in evidence:
        missing = "-" if each["windows_missing"] is None else f"{each['windows_missing']:.0f}"
        state = "answered" if each["is_answered"] else "open"
        told = (
            f"{odds_text(each['odds'])} to 1",
            f"{odds_text(each['needed_odds'])} to 1",
            str(each["windows"]),
            missing,
            state,
        )
        table.add_row(each["question"], *told)
    if table.row_count:
        console.print(table)
        console.print()


def _show_guardrails(console: Console, guardrails: Sequence[dict[str, Any]]) -> None:
    """A table of what can be told, the worst first, and one sentence about the rest."""
    from rich.table import Table

    table = Table("guardrail", "rule", "value", "limit", "n", "state", box=None, pad_edge=False)
    known = [each for each in guardrails if each["condition"] in WORST_FIRST]
    for each in sorted(known, key=lambda each: WORST_FIRST.index(each["condition"])):
        value = "-" if each["value"] is None else f"{each['value']:.4g}"
        table.add_row(_guardrail(each), each["rule"], value, f"{each['limit']:.4g}", str(each["n"]), each["condition"])
    if known:
        console.print(table)
    silent = sorted({_guardrail(each) for each in guardrails if each["condition"] not in WORST_FIRST})
    if silent:
        console.print(f"Not enough data for every rule of: {', '.join(silent)}.", highlight=False)


def _guardrail(reading: dict[str, Any]) -> str:
    return f"{reading['guardrail']} ({reading['baseline']})" if reading.get("baseline") else str(reading["guardrail"])


def _lasted(seconds: float) -> str:
    minutes = max(0, int(seconds // 60))
    days, hours = minutes // (24 * 60), minutes // 60 % 24
    return f"{days} days and {hours} hours" if days else f"{hours} hours and {minutes % 60} minutes"


def _show_report(found: dict[str, Any]) -> None:
    from rich.table import Table

    from deployments.rollout.report.goals import Goal

    console = plain_console()
    gate = found["gate"]
    console.print(f"verdict {gate['verdict']}: {'; '.join(gate['reasons']) or 'nothing against it'}")
    goals = Table("goal", "target", "value", "n", "state")
    for each in found["goals"]:
        goal = Goal(**each["goal"])
        value = "-" if each["value"] is None else f"{each['value']:.4g} {goal.unit}"
        goals.add_row(goal.label, goal.condition, value, str(each["n"]), each["state"])
    console.print(goals)
    arms = Table("stage", "arm", "evaluations", "served", "makespan h", "families on time %", "utilisation %")
    for each in found["arms_by_stage"]:
        kpis = each["kpis"] or {}
        hours = f"{kpis['makespan_seconds'] / 3600:.1f}" if kpis else "-"
        shown = [f"{kpis[name]:.1f}" if kpis else "-" for name in ("on_time_percent", "utilisation_percent")]
        arms.add_row(each["group"], each["arm"], str(each["evaluations"]), str(each["served"]), hours, *shown)
    console.print(arms)
    pairs = Table("challenger less champion", "against", "windows", "from", "to")
    for each in found["differences"]:
        interval = each["interval"]
        bounds = (
            ("not enough data", "") if interval is None else (f"{interval['lower']:.3g}", f"{interval['upper']:.3g}")
        )
        pairs.add_row(each["name"], each["baseline"], str(each["n"]), *bounds)
    console.print(pairs)


rollout = typer.Typer(no_args_is_help=True, help="From shadow to full production.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    app.add_typer(rollout, name="rollout")


@rollout.callback()
def group() -> None:
    """From shadow to full production."""


for _command in (status, promote, pause, resume, rollback, report, simulate, replay):
    rollout.command()(_command)
