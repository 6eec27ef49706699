"""An answer without what differs each time: ids, the instants and durations of the play, and the sizes of queues.

Nothing else is touched. The schedules themselves stay as they were answered, because each request says when it starts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b")
_PLACEHOLDERS = {
    "<instant>": ("timestamp", "created_at"),
    "<seconds>": (
        "found_seconds",
        "generation_time",
        "keys_age",
        "oldest_seconds",
        "seconds_in_stage",
        "stage_seconds",
        "uptime",
    ),
    "<hours>": ("lead_time_hours",),
    "<ms>": ("judge_ms", "proposal_ms", "p50", "p95"),
    "<count>": ("records", "bytes"),
    "<cursor>": ("next_cursor",),
    "<id>": ("key_id", "router"),
    "<host and folder>": ("owner",),
}
_PLACEHOLDER_OF = {field: placeholder for placeholder, fields in _PLACEHOLDERS.items() for field in fields}
# A rollback by hand reaches the controller as an order and as the latch of a router, whichever comes first.
_LEFT_OUT = frozenset({"latch"})
_IN_TEXT = (
    # Schedules know whole seconds only, so an instant with a fraction is one of the service's own clock.
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)?"), "<instant>"),
    (re.compile(r"\b\d{4}-W\d\d\b"), "<week>"),
    (re.compile(r'(?<="found_seconds":)[^,}]+'), "<seconds>"),
    (re.compile(r"(?<=ask again in )\d+(?= s)"), "<seconds>"),
    # Where the service keeps its files.
    (re.compile(r"/[^\s'\"]+(?=/data/)"), "<folder>"),
)
_IN_PAGES = (
    (re.compile(r"\b\d{1,2} [A-Z][a-z]{2}( \d{4})? \d\d:\d\d( UTC)?"), "<instant>"),
    (re.compile(r"(?<=<td>response, 95th percentile</td>).*?(?=</tr>)"), "<seconds>"),
    (re.compile(r"(?<=<td>)[\d,]+(?=</td><td>\d+ [a-z])"), "<ms>"),
    # Lead times, which begin when the service was asked.
    (re.compile(r"(?<=\.\d</td><td>)-?[\d,]+\.\d\d(?=</td></tr>)"), "<hours>"),
)
_CHART = re.compile(r"<svg.*?</svg>", re.DOTALL)
_COORDINATE = re.compile(r"\d+\.\d+")
_NAME_IN_CHART = re.compile(r'<text class="stage-name".*?</text>')
# What the way of an answer over the wire decides.
# The entity tag of a file, and when it was last modified, tell when the project was checked out.
_UNRECORDED_HEADERS = frozenset({"date", "content-length", "connection", "transfer-encoding", "etag", "last-modified"})
_EXPIRES = re.compile(r"(?<=; expires=)[^;]+")
_LARGEST_BODY = 24_000
_KEY_FIGURES = ("metrics", "warnings", "decision", "safety", "changes", "valid", "violations", "health", "gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is compared. `body` is JSON, lines of text, or a digest and key figures where it is long."""

    asked: str
    status: int
    headers: Mapping[str, str]
    body: Any


def normal_form(response: httpx.Response, asked: str, known_ids: Mapping[str, str], *, is_whole: bool) -> Answer:
    """The answer to what was `asked`; `known_ids` maps ids of earlier answers to the names of their requests.

    Of a long body only a digest and the key figures are kept, unless `is_whole`.
    """
    body = _body(response, known_ids)
    return Answer(
        asked=asked,
        status=response.status_code,
        headers={
            name: _EXPIRES.sub("<instant>", _retry(_without_ids(value, known_ids), response.status_code, name))
            for name, value in sorted(response.headers.items())
            if name not in _UNRECORDED_HEADERS
        },
        body=body if is_whole else _shortened(body),
    )


def _body(response: httpx.Response, known_ids: Mapping[str, str]) -> Any:
    kind = response.headers.get("content-type", "")
    if not response.content:
        return None
    if "json" in kind:
        text = response.text
        plain = json.loads(_without_ids(text, known_ids))
        spelling = _spelling(text)
        found = _plain(plain)
        return found if spelling == "compact" else {"spelling": spelling, "json": found}
    if kind.startswith("text/plain; version="):
        return "<metrics>"
    if kind.startswith("text/calendar") or "spreadsheetml" in kind:
        return "<file that says when it was made>"
    if kind.startswith(("text/html", "text/plain", "text/csv", "image/svg", "text/event-stream")):
        page = _without(_IN_TEXT + _IN_PAGES, _without_ids(response.text, known_ids))
        return _CHART.sub(_without_times, page).splitlines()
    return _digest(response.content)


def _without_times(chart: re.Match[str]) -> str:
    """A chart over time without its coordinates, and without the names for which not every stage lasts long enough."""
    return _COORDINATE.sub("<x>", _NAME_IN_CHART.sub("", chart[0])) if "<instant>" in chart[0] else chart[0]


def _spelling(text: str) -> str:
    """How the JSON is written: parsed it would no longer tell."""
    document = json.loads(text)
    if text == json.dumps(document, ensure_ascii=False, separators=(",", ":")):
        return "compact"
    return "spaced" if text == json.dumps(document) else "other"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        named = {name: _of_field(name, each) for name, each in value.items() if name not in _LEFT_OUT}
        return named | _by_neighbours(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return _without(_IN_TEXT, value) if isinstance(value, str) else value


def _by_neighbours(value: dict[str, Any]) -> dict[str, str]:
    """Placeholders for fields whose names alone do not tell."""
    goal = value.get("goal")
    if isinstance(value.get("version"), str):
        # Of the package; that of the rollout is a number.
        return {"version": "<version>"}
    if isinstance(goal, dict) and goal["name"] == "response_seconds":
        return {"value": "<seconds>", "state": "<state>"}
    return {"evidence": "<order or latch>"} if value.get("trigger") == "by hand" else {}


def _of_field(name: str, value: Any) -> Any:
    is_single = value is not None and not isinstance(value, dict | list)
    return _PLACEHOLDER_OF[name] if is_single and name in _PLACEHOLDER_OF else _plain(value)


def _without_ids(text: str, known_ids: Mapping[str, str]) -> str:
    return _UUID.sub(lambda found: f"<id of {known_ids[found[0]]}>" if found[0] in known_ids else "<id>", text)


def _without(patterns: Iterable[tuple[re.Pattern[str], str]], text: str) -> str:
    for pattern, placeholder in patterns:
        text = pattern.sub(placeholder, text)
    return text


def _retry(value: str, status: int, name: str) -> str:
    return "<seconds>" if (name, status) == ("retry-after", 429) else value


def _shortened(body: Any) -> Any:
    text = json.dumps(body, ensure_ascii=False)
    if len(text) <= _LARGEST_BODY:
        return body
    figures = {name: body[name] for name in _KEY_FIGURES if name in body} if isinstance(body, dict) else {}
    return _digest(text.encode()) | figures


def _digest(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "length": len(content)}
