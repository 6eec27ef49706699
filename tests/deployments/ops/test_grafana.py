"""The dashboards: by Grafana's own schema, about metrics that exist, in queries that Prometheus understands."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import yaml

from deployments.runtime.metrics import METRICS
from tests.deployments.ops.test_prometheus import ROOT, promtool_command, rules, told_names

FOLDER = ROOT / "deployments" / "ops" / "grafana"
BOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
SCHEMA = ROOT / "tests" / "data" / "grafana" / "dashboard.schema.json"
INTERVAL = "$__rate_interval"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What Prometheus and Ray's exporter add to our labels.
FOREIGN_LABELS = frozenset({"deployment", "le", "replica"})
FED_LATER = {
    "Refused for want of room": "requests are refused when more come than the machine can do",
    "Why not the policy": "the policy must crash, be late, or break a rule",
    "News of the rollout that were told, in an hour": "nobody is told unless there is a target",
    "Broken rules": "no plan breaks a rule unless a policy or the service is at fault",
    "Longer plans": "as many pairs as the window holds must have been compared",
    "Suspicions": "plans are suspicious when a policy does what it should not",
}
"""Panels that show nothing in a short run in which nothing is wrong, and what must happen before they do."""


class Query(NamedTuple):
    """One query of a panel."""

    board: str
    panel: str
    expression: str
    legend: str


def board_of(path: Path) -> dict[str, Any]:
    """The dashboard in the file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def panels_of(path: Path) -> list[dict[str, Any]]:
    """Its panels without the headings."""
    return [panel for panel in board_of(path)["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Every query of every dashboard."""
    for path in BOARDS:
        for panel in panels_of(path):
            for target in panel["targets"]:
                yield Query(path.stem, panel["title"], target["expr"], target["legendFormat"])


def test_schema_is_the_vendored_one() -> None:
    """The page beside it says from which package it was made, and its checksum."""
    page = SCHEMA.with_name("README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in page
    assert "Apache License" in SCHEMA.with_name("LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_dashboard_follows_grafanas_schema(path: Path) -> None:
    """The dashboard, and the options of each panel by its kind, with no member that Grafana does not know."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = {name: schema | {"$ref": f"#/definitions/{name}"} for name in schema["definitions"]}
    jsonschema.validate(board_of(path), parts["Dashboard"], jsonschema.Draft7Validator)
    for panel in panels_of(path):
        kind = {"timeseries": "TimeSeries", "stat": "Stat"}[panel["type"]]
        jsonschema.validate(panel["options"], parts[f"{kind}Options"], jsonschema.Draft7Validator)
        if (custom := panel["fieldConfig"]["defaults"].get("custom")) is not None:
            jsonschema.validate(custom, parts[f"{kind}Custom"], jsonschema.Draft7Validator)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_schema_refuses_what_grafana_does_not_know(path: Path) -> None:
    """A schema that takes anything would show nothing."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8")) | {"$ref": "#/definitions/Dashboard"}
    spoiled = board_of(path)
    spoiled["panels"][-1]["fieldConfig"]["defaults"]["units"] = "s"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoiled, schema, jsonschema.Draft7Validator)


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_panel_says_what_it_shows(path: Path) -> None:
    """Title, description, unit and legends, by the datasource that is chosen at the top; none lies on another."""
    board, taken = board_of(path), Counter[tuple[int, int]]()
    (variable,) = board["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken.update((place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"]))
    assert max(taken.values()) == 1
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels_of(path):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == DATASOURCE
        for target in panel["targets"]:
            assert target["legendFormat"]
            assert target["datasource"] == DATASOURCE
    titles = [panel["title"] for panel in panels_of(path)]
    assert len(set(titles)) == len(titles)


def test_dashboards_are_four_and_provisioned() -> None:
    """Their ids never change, because people keep links to them; the file that tells Grafana of them can be read."""
    assert {board_of(path)["uid"] for path in BOARDS} == {
        f"gantry-{name}" for name in ("overview", "planning", "rollout", "durability")
    }
    (provider,) = yaml.safe_load((FOLDER / "provisioning.yml").read_text(encoding="utf-8"))["providers"]
    assert (provider["name"], provider["type"]) == ("gantry", "file")


def test_queries_ask_for_metrics_that_exist() -> None:
    """Names of the catalogue or of recorded rules, by labels that they have."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    labels = {f"ray_{metric.name}": metric.labels for metric in METRICS}
    for query in queries():
        names = set(re.findall(r"\b(?:ray_gantry_\w+|gantry:[\w:]+)", query.expression))
        assert names, query
        assert names <= told_names() | recorded, query
        known = {
            label for name, found in labels.items() if any(each.startswith(name) for each in names) for label in found
        }
        asked = {each.strip() for group in re.findall(r"by \(([^)]*)\)", query.expression) for each in group.split(",")}
        asked |= set(re.findall(r"\{\{(\w+)\}\}", query.legend))
        assert asked <= known | FOREIGN_LABELS, query


def test_every_metric_is_shown() -> None:
    """What is told and looked at by nobody might as well not be told."""
    shown = " ".join(query.expression for query in queries())
    assert [metric.name for metric in METRICS if f"ray_{metric.name}" not in shown] == []


def test_panels_that_are_fed_later_exist() -> None:
    """The system test leaves these out, and no other."""
    assert set(FED_LATER) <= {query.panel for query in queries()}


@pytest.mark.system
def test_queries_are_understood_by_promtool(tmp_path: Path) -> None:
    """Each as a rule of its own, with Grafana's interval filled in."""
    document = tmp_path / "queries.yml"
    recorded = [
        {"record": f"panel:{number}", "expr": query.expression.replace(INTERVAL, "1m")}
        for number, query in enumerate(queries())
    ]
    document.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    done = subprocess.run(
        [promtool_command(), "check", "rules", str(document)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(recorded)} rules found" in done.stdout
