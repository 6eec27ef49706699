"""`gantry schedules`: stored schedules of a running service, asked for by GANTRY_URL and GANTRY_KEY."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from deployments.errors import ServiceError

DEFAULT_URL = "http://127.0.0.1:8000"
_SECONDS = 120.0
# What a file is called by, and what it is asked for by.
_ROUTES = {
    ".svg": "/gantt.svg",
    ".html": "/gantt.html",
    ".csv": ".csv",
    ".xlsx": ".xlsx",
    ".ics": ".ics",
}


class NotAnswered(ServiceError):
    """The service refused, or could not be reached."""


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Stored schedules of the service at GANTRY_URL, by GANTRY_KEY.")
    group.command()(gantt)
    group.callback()(_group)
    app.add_typer(group, name="schedules")


def _group() -> None:
    """Stored schedules of the service at GANTRY_URL, by GANTRY_KEY."""


def gantt(
    schedule_id: Annotated[str, typer.Argument(help="As answered by POST /schedule.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; its ending says what is in it: .svg, .html, .csv, .xlsx, .ics."),
    ] = None,
) -> None:
    """Save a schedule as a Gantt chart, to look at (.svg) or to zoom in (.html), or as a table or calendar.

    Example: gantry schedules gantt 0190a5c0-0000-7000-8000-00000000000a --output plan.html
    """
    target = output or Path(f"{schedule_id}.svg")
    route = _ROUTES.get(target.suffix.lower())
    if route is None:
        raise NotAnswered(f"--output must end in one of {', '.join(_ROUTES)}, was {target.name!r}")
    target.write_bytes(_fetched(schedule_id, route))
    print(f"wrote {target}")


def _fetched(schedule_id: str, route: str) -> bytes:
    """The file. Raises `NotAnswered` with what the service says."""
    from urllib.parse import quote

    import httpx

    url = os.environ.get("GANTRY_URL") or DEFAULT_URL
    key = os.environ.get("GANTRY_KEY")
    headers = {} if key is None else {"X-API-Key": key}
    try:
        with httpx.Client(base_url=url, timeout=_SECONDS, headers=headers) as client:
            response = client.get(f"/v1/schedules/{quote(schedule_id, safe='')}{route}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotAnswered(f"GANTRY_URL must be where a service listens, was {url}: {error}") from None
    if response.status_code != httpx.codes.OK:
        is_problem = "json" in response.headers.get("content-type", "")
        said = response.json().get("detail", "") if is_problem else response.reason_phrase
        remedy = "; GANTRY_KEY is the key that is sent" if response.status_code in (401, 403) else ""
        raise NotAnswered(f"{url} answered {response.status_code}: {said}{remedy}")
    return response.content
