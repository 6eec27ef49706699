"""The API documentation, held against the API: what its pages show is what a client gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.api import create_api
from deployments.contracts.requests.schedule_request import (
    DEFAULT_BUDGET_MS,
    DEFAULT_SETUP_HOURS,
    DEFAULT_STABILITY_HOURS,
    IMPORTANT_WEIGHT,
    JobRequest,
    MachineRequest,
    ScheduleRequest,
)
from env.problem import Problem
from env.schedule import Schedule
from env.simulator.rules import Rule, dispatch
from tests.deployments.api.calls import KEY, call
from tests.deployments.api.route_table import ROWS
from tests.deployments.fakes import JournalDecisions, MemoryJournal, PlannedProposer, scheduling_over, services_over

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDE = (DOCS / "API_USAGE_GUIDE.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "API_QUICK_REFERENCE.md").read_text(encoding="utf-8")
ANYTHING = "…"
_EXAMPLE = re.compile(r"```http\n(?P<asked>.*?)```.*?```json\n(?P<answered>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A request of the guide, and what the guide says comes back."""

    method: str
    path: str
    headers: dict[str, str]
    content: str
    answered: Any


def examples() -> Iterator[Example]:
    """All of them, in the order of the page: later ones speak about the schedule of the first."""
    for found in _EXAMPLE.finditer(GUIDE):
        head, _, content = found["asked"].partition("\n\n")
        first, *headers = head.strip().splitlines()
        method, path = first.split()
        yield Example(
            method=method,
            path=path,
            headers=KEY | dict(line.split(": ") for line in headers),
            content=content,
            answered=json.loads(found["answered"]),
        )


def shows(shown: Any, found: Any) -> bool:
    """Whether `found` has all that is shown; objects may have more, and an ellipsis stands for anything."""
    if isinstance(shown, dict):
        return isinstance(found, dict) and all(name in found and shows(shown[name], found[name]) for name in shown)
    if isinstance(shown, list):
        return isinstance(found, list) and len(shown) == len(found) and all(map(shows, shown, found))
    return shown in (ANYTHING, found)


def by_the_rule(problem: Problem) -> Schedule:
    """The examples leave a planner no choice, so any proposer makes the same plan."""
    return dispatch(problem, Rule.PLANNER)


async def test_guide_shows_what_the_api_answers() -> None:
    """Every request of the guide is answered as the guide says."""
    journal = MemoryJournal()
    decisions = JournalDecisions(journal)
    scheduling = scheduling_over(
        ppo=PlannedProposer(by_the_rule, model="full_production@1"), journal=journal, archive=decisions
    )
    services = services_over(journal=journal, decisions=decisions, scheduling=scheduling)
    api = create_api(lambda: services)
    schedule_id = ""
    for example in examples():
        path, content = (text.replace("{schedule_id}", schedule_id) for text in (example.path, example.content))
        answer = (await call(example.method, path, app=api, headers=example.headers, content=content)).json()
        assert shows(example.answered, answer), (example.path, json.dumps(answer, indent=1))
        schedule_id = schedule_id or answer["schedule_id"]


def test_guide_has_examples() -> None:
    """The test above is not empty."""
    assert len(list(examples())) >= 9


async def test_reference_lists_every_route() -> None:
    """The table of routes is that of the API: none is missing, none is invented."""
    paths = (await call("GET", "/openapi.json")).json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert set(re.findall(r"^\| (GET|POST|DELETE) \| `(/[^`]*)` \|", REFERENCE, re.MULTILINE)) == served


def test_reference_lists_every_field() -> None:
    """Each field of a request, of a job and of a machine has its row under its own heading."""
    for title, model in (("The request", ScheduleRequest), ("A job", JobRequest), ("A machine", MachineRequest)):
        section = REFERENCE.split(f"## {title}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(model.model_fields)


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("openapi.json", f"of tardiness; default {IMPORTANT_WEIGHT:g} when important, else 3, 2, 1 for priority"),
        ("API_QUICK_REFERENCE.md", f"| `weight` | of tardiness; {IMPORTANT_WEIGHT:g} when important, else 3, 2, 1 for"),
        ("API_QUICK_REFERENCE.md", f"| `setup_time` | {DEFAULT_SETUP_HOURS:g} |"),
        ("REQUEST_FEATURES.md", f"of tardiness; by default {IMPORTANT_WEIGHT:g} for important jobs, else 3, 2, 1 for"),
        ("REQUEST_FEATURES.md", f"objective (default {DEFAULT_STABILITY_HOURS:g}; 0 lets"),
        ("REQUEST_FEATURES.md", f"for the whole schedule, {DEFAULT_BUDGET_MS} by default"),
        ("OBJECTIVES.md", f"gives one; else {IMPORTANT_WEIGHT:g} for an important job, and 3, 2 or 1 for priority"),
        ("OBJECTIVES.md", f"`stability_weight` hours (default {DEFAULT_STABILITY_HOURS:g})"),
    ],
)
def test_pages_name_the_defaults_of_the_code(page: str, sentence: str) -> None:
    """Whoever reads what an absent field means reads what the service does."""
    assert sentence in (DOCS / page).read_text(encoding="utf-8")


def test_reference_names_the_scopes_that_open_a_route() -> None:
    """Those by which the table of all routes calls each of them, neither more nor fewer."""
    shown = re.findall(r"^\| ([A-Z]+) \| `([^`]+)` \| ([a-z ]+) \|", REFERENCE, re.MULTILINE)
    told = {f"{method} {path}": frozenset(scopes.split(" or ")) for method, path, scopes in shown}
    assert told == {row.name: frozenset(row.shown_scopes.split(" or ")) for row in ROWS}
