"""Reading bodies: what is refused, with which words, and how much of it is listed."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from deployments.api.middleware import MEMORY_OF_ONE_BODY
from deployments.contracts.answers.planners import FeedbackRequest
from deployments.contracts.answers.validation import ScheduledJobClaim
from deployments.contracts.parsing import (
    RequestLimits,
    dotted,
    memory_bytes,
    read_schedule_request,
    read_validate_request,
    receive,
)
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import WireModel, field_names, model_of_field
from deployments.errors import InvalidRequest, MalformedBody
from tests.deployments.fakes import LIMITS, body, job, machine

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


def _reasons(document: object, limits: RequestLimits = LIMITS) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        read_schedule_request(json.dumps(document).encode(), limits)
    return list(caught.value.reasons)


def _job_reasons(**changes: Any) -> list[tuple[str, str]]:
    return _reasons(body(jobs=[job(**changes)]))


_A_DATE = "must be an ISO 8601 date and time such as 2026-12-13T14:00:00, or a date such as 2026-12-13"


@pytest.mark.parametrize("raw", [b"{", b"nul", b'{"jobs": [}', b'{"a": "\xff"}', b'{"a": "\\ud800"}', b"[" * 300])
def test_body_that_is_not_json_is_malformed(raw: bytes) -> None:
    """An empty, cut, wrongly encoded or bottomless body is not JSON, and the error says where."""
    with pytest.raises(MalformedBody, match=r"the body must be JSON: .* at line 1 column"):
        read_schedule_request(raw, LIMITS)


@pytest.mark.parametrize("raw", [b"", b" \n", b"\xef\xbb\xbf"])
def test_empty_body_is_called_empty(raw: bytes) -> None:
    """A client that forgot the body need not know what a parser calls its end."""
    with pytest.raises(MalformedBody, match=r"^the body must be JSON, was empty$"):
        read_schedule_request(raw, LIMITS)


@pytest.mark.parametrize(
    ("document", "found"),
    [([], "an empty list"), ([1, 2], "a list of 2 entries"), (None, "null"), (3, "3"), ("x", '"x"')],
)
def test_body_must_be_an_object(document: object, found: str) -> None:
    """JSON that is no object is refused by name."""
    assert _reasons(document) == [("body", f"must be an object, was {found}")]


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"processing_time": 0}, "processing_time", "must be greater than 0, was 0"),
        ({"processing_time": -1.5}, "processing_time", "must be greater than 0, was -1.5"),
        ({"processing_time": 1e300}, "processing_time", "must be at most 10000, was 1e+300"),
        ({"processing_time": 10_000.1}, "processing_time", "must be at most 10000, was 10000.1"),
        ({"processing_time": float("nan")}, "processing_time", "must be a finite number, was NaN"),
        ({"processing_time": float("inf")}, "processing_time", "must be a finite number, was Infinity"),
        ({"processing_time": "2.5 h"}, "processing_time", 'must be a number, was "2.5 h"'),
        ({"processing_time": True}, "processing_time", "must be a number, was true"),
        ({"setup_time": -0.1}, "setup_time", "must be from 0 to 10000, was -0.1"),
        ({"machine_types": "x"}, "machine_types", 'must be a list, was "x"'),
        ({"machine_types": [1.5]}, "machine_types[0]", "must be a whole number, was 1.5"),
        ({"priority": 1.5}, "priority", "must be a whole number, was 1.5"),
        ({"priority": "high"}, "priority", 'must be a whole number, was "high"'),
        ({"is_important": 2}, "is_important", "must be true or false, was 2"),
        ({"job_id": 7.5}, "job_id", "must be text, was 7.5"),
        ({"job_id": ""}, "job_id", 'must not be empty, was ""'),
        ({"job_id": "a\nb"}, "job_id", 'must consist of printable characters, was "a\\nb"'),
        ({"lcd_date": 1753142400}, "lcd_date", f"{_A_DATE}, was 1753142400"),
        ({"lcd_date": "tomorrow"}, "lcd_date", f'{_A_DATE}, was "tomorrow"'),
        ({"lcd_date": "13.12.2026"}, "lcd_date", f'{_A_DATE}, was "13.12.2026"'),
        ({"lcd_date": "2026-13-45"}, "lcd_date", f'{_A_DATE}, was "2026-13-45"'),
        ({"weight": 0}, "weight", "must be greater than 0, was 0"),
        ({"sequence": -1}, "sequence", "must be at least 0, was -1"),
        ({"job_id": "x" * 129}, "job_id", f'must have at most 128 characters, was "{"x" * 79}'),
        ({"machine_options": []}, "machine_options", "must not be empty, was an empty list"),
        ({"pinned": 7}, "pinned", "must be an object, was 7"),
    ],
)
def test_bad_job_field_is_named_with_its_value(changes: dict[str, Any], field: str, message: str) -> None:
    """The error says which job, which field, what was required and what was found."""
    assert _job_reasons(**changes) == [(f"jobs[0].{field}", message)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"jobs": None}, "jobs"),
        ({"jobs": {}}, "jobs"),
        ({"jobs": [None]}, "jobs[0]"),
        ({"optimization_objective": "profit"}, "optimization_objective"),
        ({"machines": [machine(status="broken")]}, "machines[0].status"),
        ({"schedule_start": "2025-13-01T00:00:00"}, "schedule_start"),
        ({"time_budget_ms": -1}, "time_budget_ms"),
        ({"calendar": {"breaks": [{"start": "25:00", "end": "13:00"}]}}, "calendar.breaks[0].start"),
        ({"calendar": {"machines": [{"machine_id": 1, "unavailable": [{"to": "2025-01-01"}]}]}}, None),
    ],
)
def test_bad_request_field_is_named(changes: dict[str, Any], field: str | None) -> None:
    """Fields of the request are named by their path, aliases by the name on the wire."""
    reasons = _reasons(body(**changes))
    assert [name for name, _ in reasons] == [field or "calendar.machines[0].unavailable[0].from"]


def test_missing_jobs_are_named() -> None:
    """A request without jobs is told so."""
    assert _reasons({"machines": []}) == [("jobs", "must be given, was absent")]


def test_all_faults_are_listed_at_once() -> None:
    """Two bad jobs give two reasons in one answer."""
    reasons = _reasons(body(jobs=[job(processing_time=0), job("B", weight=0)]))
    assert [field for field, _ in reasons] == ["jobs[0].processing_time", "jobs[1].weight"]


def test_long_lists_of_faults_are_cut_and_counted() -> None:
    """A hundred reasons are shown, the others are counted."""
    with pytest.raises(InvalidRequest) as caught:
        read_schedule_request(json.dumps(body(jobs=[{}] * 130)).encode(), LIMITS)
    assert (len(caught.value.reasons), caught.value.omitted) == (100, 30)


def test_sizes_are_checked_before_the_schema() -> None:
    """Too many entries are one reason each, however many of them are wrong."""
    reasons = _reasons({"jobs": [{}] * 4, "machines": [{}] * 3}, RequestLimits(jobs=3, machines=2))
    assert reasons == [
        ("jobs", "must have at most 3 entries (GANTRY_MAX_JOBS), had 4"),
        ("machines", "must have at most 2 entries (GANTRY_MAX_MACHINES), had 3"),
    ]


def test_whole_floats_are_integers() -> None:
    """JSON does not tell 2.0 from 2, and neither do we."""
    request = read_schedule_request(
        json.dumps(body(jobs=[job(priority=3.0, machine_types=[2.0])])).encode(), LIMITS
    ).body
    assert (request.jobs[0].priority, request.jobs[0].machine_types) == (3, [2])


@pytest.mark.parametrize(
    ("written", "meant"), [("2025-07-25", "2025-07-26T00:00:00"), ("9999-12-31", "9999-12-31T23:59:59")]
)
def test_due_dates_and_deadlines_without_time_are_the_end_of_their_day(written: str, meant: str) -> None:
    """Work that is due on a day may be done on that day; the last day of all calendars has no day after it."""
    sent = body(jobs=[job(lcd_date=written, deadline_at=written)])
    (found,) = read_schedule_request(json.dumps(sent).encode(), LIMITS).body.jobs
    assert found.lcd_date is not None
    assert found.deadline_at is not None
    assert (found.lcd_date.isoformat(), found.deadline_at.isoformat()) == (meant, meant)


def test_releases_without_time_are_the_beginning_of_their_day() -> None:
    """Material that arrives on a day is there on that day."""
    request = read_schedule_request(json.dumps(body(jobs=[job(release_at="2025-07-25")])).encode(), LIMITS).body
    assert request.jobs[0].release_at is not None
    assert request.jobs[0].release_at.isoformat() == "2025-07-25T00:00:00"


def test_validate_request_checks_both_halves() -> None:
    """Faults of the inner request and of the rows are named by their paths."""
    document = {"request": body(jobs=[job(weight=0)]), "scheduled_jobs": [{"job_id": "A"}]}
    with pytest.raises(InvalidRequest) as caught:
        read_validate_request(json.dumps(document).encode(), LIMITS)
    assert [field for field, _ in caught.value.reasons] == [
        "request.jobs[0].weight",
        "scheduled_jobs[0].machine_id",
        "scheduled_jobs[0].start_time",
        "scheduled_jobs[0].end_time",
    ]


def test_path_of_the_whole_body_has_a_name() -> None:
    """No field is ever called nothing."""
    assert dotted(()) == "body"
    assert dotted(("jobs", 3, "machine_options", 0, "machine_id")) == "jobs[3].machine_options[0].machine_id"


@given(JSON)
def test_any_json_is_read_or_refused_by_a_typed_error(document: object) -> None:
    """No JSON document makes the reader raise anything but the two errors it names."""
    raw = json.dumps({"jobs": document, "machines": document, "calendar": document}).encode()
    with suppress(InvalidRequest, MalformedBody):
        read_schedule_request(raw, LIMITS)


@pytest.mark.parametrize(
    ("calendar", "field", "message"),
    [
        (
            {"breaks": [{"start": "25:00", "end": "12:00"}]},
            "breaks[0].start",
            'a time of day such as 09:45, was "25:00"',
        ),
        ({"breaks": [{"start": "8:00", "end": "12:00"}]}, "breaks[0].start", 'a time of day such as 09:45, was "8:00"'),
        ({"breaks": [{"start": "22:00", "end": "24:01"}]}, "breaks[0].end", 'a time of day such as 09:45, was "24:01"'),
        ({"country": "my"}, "country", 'an ISO 3166 code of two capital letters, was "my"'),
    ],
)
def test_wrongly_written_calendar_is_refused_in_words(calendar: dict[str, Any], field: str, message: str) -> None:
    """What must follow a pattern is described: planners do not read patterns."""
    assert _reasons(body(calendar=calendar)) == [(f"calendar.{field}", f"must be {message}")]


@pytest.mark.parametrize(
    "unit",
    [
        "{}",
        "[]",
        '{"":0}',
        "[[]]",
        '{"a":{}}',
        "1.5",
        "12345678",
        '"é"',
        '{"":0,"a":0}',
        '{"machine_id":1,"setup_time":0.3}',
    ],
)
def test_memory_of_a_body_is_known_before_it_is_read(unit: str) -> None:
    """What the parser makes of it takes no more than was said, whatever it is full of."""
    raw = ("[" + ",".join([unit] * 20_000) + "]").encode()
    tracemalloc.start()
    document = from_json(raw)
    taken_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(document) == 20_000
    assert taken_bytes < memory_bytes(raw) < len(raw) + 4 * taken_bytes + 80 * len(document)


CORE = {
    "family_id": "FAM001",
    "sequence": 1,
    "priority": 2,
    "is_important": True,
    "lcd_date": "2025-07-25T00:00:00",
}


@pytest.mark.parametrize(
    "fields",
    [
        CORE,
        {},
        CORE | {"machine_options": [{"machine_id": number, "processing_time": 2.5} for number in range(10)]},
        CORE | {"machine_types": list(range(199))},
    ],
)
def test_full_body_of_jobs_has_room(fields: dict[str, object]) -> None:
    """However little is written beside the values: less than fourteen bytes of memory for each that was sent."""
    jobs = [job(f"J{number}", **fields) for number in range(1000)]
    raw = json.dumps(body(jobs=jobs), separators=(",", ":")).encode()
    assert 6 < memory_bytes(raw) / len(raw) < MEMORY_OF_ONE_BODY


JUNK: tuple[object, ...] = ("", "x" * 2000, "\n", -1, 1e300, float("nan"), [], [7], ["x"], {}, {"x": 1}, True, 2**70)


def _every_field(model: type[WireModel]) -> Iterator[dict[str, object]]:
    """Objects of `model` in which one field at any depth is junk."""
    for name in field_names(model):
        yield from ({name: junk} for junk in JUNK)
        inner = model_of_field(model, name)
        if inner is not None:
            for each in _every_field(inner):
                yield from ({name: each}, {name: [each]})


@pytest.mark.parametrize("model", [ScheduleRequest, ScheduledJobClaim, FeedbackRequest])
def test_no_sentence_of_the_parser_library_reaches_a_client(model: type[WireModel]) -> None:
    """Whatever is sent in whatever place, the reason is a requirement in the words of this service."""
    foreign = re.compile(
        r"Input|should|valid (number|integer|list|dict|string|date|bool)|instance of|or equal|Value error"
    )
    messages = set()
    for document in _every_field(model):
        try:
            receive(json.dumps(document).encode(), model)
        except InvalidRequest as error:
            messages |= {message for _, message in error.reasons}
    assert len(messages) > 10
    assert [message for message in messages if not message.startswith("must ") or foreign.search(message)] == []


def test_both_bounds_are_told_where_both_matter() -> None:
    """A rating of nine is told the whole scale."""
    with pytest.raises(InvalidRequest) as caught:
        receive(b'{"rating": 9}', FeedbackRequest)
    assert caught.value.reasons == (("rating", "must be from 1 to 5, was 9"),)
