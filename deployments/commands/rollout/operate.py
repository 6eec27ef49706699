"""`gantry rollout status, promote, pause, resume, rollback, report`: the rollout's routes, from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.rollout.simulate import simulate
from deployments.commands.terminal import plain_console
from deployments.errors import ServiceError

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
DAYS_OF_A_WEEK = 7
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
    force: Annotated[bool, typer.Option("--force", help="Skip minimum pairs and durations.")] = False,
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


def _asked(method: str, url: str, path: str, **sent: Any) -> dict[str, Any]:
    found: dict[str, Any] = _answer(method, url, path, **sent).json()
    return found


def _answer(method: str, url: str, path: str, **sent: Any) -> httpx.Response:
    """The service's answer. Raises `OrderRefused` with its words, or when there is none."""
    import httpx

    from deployments.settings.service import load_settings

    key = load_settings().api_key.get_secret_value()
    try:
        with httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            answer = client.request(method, path, headers={"X-API-Key": key}, **sent)
    except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise OrderRefused(f"{url} must be a running service, did not answer: {error}") from error
    if answer.status_code >= _FIRST_FAULT:
        raise OrderRefused(_words_of(answer))
    return answer


def _words_of(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code}: {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code}: the answer is none of Gantry's"


def _show_status(found: dict[str, Any]) -> None:
    from rich.table import Table

    console = plain_console()
    actual = (
        "nothing served yet" if found["actual_share"] is None else f"{found['actual_share']:.0%} of what was served"
    )
    held = f" (of {found['held_stage']})" if found["held_stage"] else ""
    console.print(f"{found['stage'].replace('_', ' ')}{held}, version {found['version']}, ramp {found['ramp']}")
    console.print(f"{found['challenger']} against {found['champion']}: {found['share']:.0%} of the windows, {actual}")
    console.print(f"verdict {found['gate']['verdict']}: {'; '.join(found['gate']['reasons']) or 'nothing against it'}")
    if not found.get("is_owner", True):
        console.print(f"orders, but for a rollback, are taken by {found['owner'] or 'nobody, without the database'}")
    table = Table("guardrail", "rule", "value", "limit", "n", "state")
    for each in found["guardrails"]:
        kind = f" ({each['baseline']})" if each.get("baseline") else ""
        value = "-" if each["value"] is None else f"{each['value']:.4g}"
        row = (f"{each['guardrail']}{kind}", each["rule"], value, f"{each['limit']:.4g}", str(each["n"]))
        table.add_row(*row, each["condition"])
    console.print(table)


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
    pairs = Table("challenger less champion", "against", "n", "from", "to")
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


for _command in (status, promote, pause, resume, rollback, report, simulate):
    rollout.command()(_command)
