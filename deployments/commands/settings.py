"""`gantry settings`: what is in force, and where each value comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, NamedTuple
from urllib.parse import urlsplit

import typer

from deployments.commands.terminal import plain_console

if TYPE_CHECKING:
    from deployments.settings.service import Settings

MASKED = "***"
DEFAULT = "default"


class _Row(NamedTuple):
    name: str
    value: object
    origin: str


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(settings)


def settings(
    policy: Annotated[bool, typer.Option("--policy", help="The policy alone, for GANTRY_POLICY_FILE.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show every setting and every key of the policy with its value and where that is from; secrets are masked.

    Exit 1, with every reason, when the service would not start like this.

    Example: gantry settings

    Example: gantry settings --policy > policy.toml
    """
    from deployments.settings.service import load_settings, variables

    found, places = load_settings(), {name: place for name, (_, place) in variables().items()}
    if policy:
        print(found.policy.as_toml(), end="")
        return
    rows, keys = list(_setting_rows(found, places)), list(_policy_rows(found, places))
    if as_json:
        print(json.dumps({"settings": _document(rows), "policy": _document(keys)}, indent=2))
    else:
        _show([*rows, *keys])


def _setting_rows(found: Settings, places: Mapping[str, str]) -> Iterator[_Row]:
    from deployments.settings.service import ENVIRONMENT_ALIAS, variable_names

    for field, name in variable_names().items():
        names = (name, ENVIRONMENT_ALIAS) if field == "environment" else (name,)
        origin = next((places[each] for each in names if each in places), DEFAULT)
        yield _Row(name, _shown(field, found), origin)


def _policy_rows(found: Settings, places: Mapping[str, str]) -> Iterator[_Row]:
    from deployments.settings.policy_file import toml_value

    for key, value in found.policy.values_by_key.items():
        origin = found.policy_reading.origins.get(key, DEFAULT)
        # What TOML writes for these values is JSON as well.
        yield _Row(key, json.loads(toml_value(value)), f"{places[origin]}, {origin}" if origin in places else origin)


def _shown(field: str, found: Settings) -> object:
    from pydantic import SecretStr

    from deployments.persistence.database import place_of
    from deployments.settings.policy_file import OFF

    match field, getattr(found, field):
        case "database_url", url:
            return place_of(url.get_secret_value())
        case "webhook_url", str(url):
            # Whoever knows all of such an address may post to it.
            return f"{urlsplit(url).scheme}://{urlsplit(url).hostname}/{MASKED}"
        case "rollout_initial_stage", None:
            return found.initial_stage
        case "rate_limit", None:
            return OFF
        case _, SecretStr():
            return MASKED
        case _, tuple(origins):
            return ",".join(map(str, origins))
        case _, int() | float() | None as value:
            return value
        case _, value:
            return str(value)


def _document(rows: list[_Row]) -> dict[str, dict[str, object]]:
    return {row.name: {"value": row.value, "from": row.origin} for row in rows}


def _show(rows: list[_Row]) -> None:
    from rich.table import Table

    table = Table(box=None)
    for title in ("name", "value", "from"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(row.name, "" if row.value is None else f"{row.value}", row.origin)
    plain_console(file_width=200).print(table)
