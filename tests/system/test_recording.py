"""The recording of the API: what it covers, what it takes for equal, and whether everything is still answered so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.system.recording.catalogue import REQUESTS
from tests.system.recording.normal_form import Answer, normal_form
from tests.system.recording.player import play
from tests.system.recording.recorded_answers import differences, read_answers, write_answers
from tests.system.recording.recorded_service import recorded_service

ROOT = Path(__file__).resolve().parents[2]
RECORDING = ROOT / "tests" / "data" / "recorded_answers.json"
DECISION_ID = "0190a5c0-0000-7000-8000-00000000000a"
# What no client brings about by itself: a controller that is gone, no arm that is safe, a database that is away.
OUT_OF_REACH = {202, 500, 503}


@pytest.mark.system
def test_every_answer_is_as_it_was_recorded(tmp_path: Path) -> None:
    """A fresh service answers all requests as the recorded one did, but for ids and times."""
    with recorded_service(tmp_path) as service:
        answers = play(service.url, service.keys, REQUESTS)
    found = differences(read_answers(RECORDING), answers)
    assert not found, found


def test_requests_are_named_once_and_in_order() -> None:
    """Each name stands for one request, and whatever a request takes from another one was asked before."""
    assert [name for name, count in Counter(request.name for request in REQUESTS).items() if count > 1] == []
    asked: set[str] = set()
    for request in REQUESTS:
        assert request.earlier <= asked, request.name
        asked.add(request.name)


def test_recording_has_every_request() -> None:
    """The file holds the answer to each request, in the same order, and to nothing else."""
    assert list(read_answers(RECORDING)) == [request.name for request in REQUESTS]


def test_recording_covers_every_documented_answer() -> None:
    """Each route of the OpenAPI document is asked, and each status that it may have was answered by some route."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    answers = read_answers(RECORDING).values()
    documented = {
        f"{method.upper()} {route}": set(map(int, operation["responses"]))
        for route, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert documented.keys() <= {answer.asked for answer in answers}
    statuses = set().union(*documented.values())
    assert statuses - {answer.status for answer in answers} <= OUT_OF_REACH


def _normal(body: Any, known_ids: dict[str, str] | None = None) -> Any:
    return normal_form(httpx.Response(200, json=body), "GET /", known_ids or {}, is_whole=False).body


@pytest.mark.parametrize(
    ("body", "normal"),
    [
        ({"schedule_id": DECISION_ID}, {"schedule_id": "<id>"}),
        ({"created_at": "2026-01-05T06:30:00.123456Z"}, {"created_at": "<instant>"}),
        ({"start_datetime": "2026-01-05T06:30:00Z"}, {"start_datetime": "2026-01-05T06:30:00Z"}),
        ({"generation_time": 0.045, "makespan": 0.045}, {"generation_time": "<seconds>", "makespan": 0.045}),
        ({"uptime": None}, {"uptime": None}),
        ({"next_cursor": "abc"}, {"next_cursor": "<cursor>"}),
    ],
)
def test_only_ids_and_times_are_replaced(body: Any, normal: Any) -> None:
    """What differs each time becomes a placeholder, and a schedule stays as it was answered."""
    assert _normal(body) == normal


def test_known_ids_become_the_names_of_their_requests() -> None:
    """An id of an earlier answer says whose it is, so that one decision cannot pass for another."""
    assert _normal([f"there is no schedule '{DECISION_ID}'"], {DECISION_ID: "shop"}) == [
        "there is no schedule '<id of shop>'"
    ]


def test_spelling_of_json_counts() -> None:
    """The same values, written with other blanks, are another answer."""
    spaced = httpx.Response(200, content=b'{"a": 1}', headers={"content-type": "application/json"})
    assert normal_form(spaced, "GET /", {}, is_whole=False).body == {"spelling": "spaced", "json": {"a": 1}}


def test_long_body_becomes_a_digest_with_key_figures() -> None:
    """Of a plant of thousands of rows the recording keeps what a person wants to see, and the proof of the rest."""
    body = {"metrics": {"makespan": 44.8}, "scheduled_jobs": ["x" * 40_000]}
    kept = _normal(body)
    assert kept.keys() == {"sha256", "length", "metrics"}
    assert kept["metrics"] == {"makespan": 44.8}
    assert kept != _normal(body | {"scheduled_jobs": ["y" * 40_000]})


def _answer(status: int = 200, body: Any = None, **headers: str) -> Answer:
    return Answer(asked="GET /", status=status, headers={"server": "x", **headers}, body=body)


def test_answers_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    """Headers that are missing, and those that only one answer has, survive the file."""
    answers = {
        "first": _answer(body={"rows": [{"name": "ä" * 50, "hours": 1.0}] * 3}),
        "second": _answer(401, ["line", "line"], vary="Origin"),
        "third": Answer(asked="GET /", status=405, headers={}, body=None),
    }
    write_answers(tmp_path / "answers.json", answers)
    assert read_answers(tmp_path / "answers.json") == answers


def test_differences_show_what_is_other_missing_and_new() -> None:
    """One unified diff of everything that is not as it was; nothing at all when everything is."""
    before = {"same": _answer(), "other": _answer(body={"n": 1}), "missing": _answer()}
    after = {"same": _answer(), "other": _answer(body={"n": 1.0}), "new": _answer(503)}
    assert differences(before, before) == ""
    found = differences(before, after).splitlines()
    assert [line for line in found if line.startswith("---")] == [
        "--- other (recorded)",
        "--- missing (recorded)",
        "--- new (recorded)",
    ]
    changed = '{"asked": "GET /", "status": 200, "headers": {"server": "x"}, "body": {"n": 1.0}}'
    assert f"+{changed}" in found
