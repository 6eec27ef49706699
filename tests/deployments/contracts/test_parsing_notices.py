"""Warnings: nothing that a client wrote vanishes without a word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.contracts.parsing import read_schedule_request
from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.requests.wire import WireModel, field_names, model_of_field
from deployments.errors import InvalidRequest
from tests.deployments.fakes import LIMITS, body, job, machine


def _warnings(**changes: Any) -> tuple[str, ...]:
    return read_schedule_request(json.dumps(body(**changes)).encode(), LIMITS).warnings


def _refused(is_strict: bool, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        read_schedule_request(json.dumps(body(**changes)).encode(), LIMITS, is_strict=is_strict)
    return list(caught.value.reasons)


def test_known_request_has_no_warnings() -> None:
    """A request in the words of the contract passes in silence."""
    assert _warnings() == ()


def test_unknown_field_is_named() -> None:
    """A typo at any depth is named by its path."""
    sent = {"shedule_start": "x", "machines": [machine(colour="red")], "calendar": {"breaks": [], "holliday": []}}
    assert set(_warnings(**sent)) == {
        "unknown field shedule_start was ignored; did you mean schedule_start?",
        "unknown field machines[].colour was ignored",
        "unknown field calendar.holliday was ignored; did you mean holidays?",
    }


def test_unknown_field_of_many_jobs_is_one_warning() -> None:
    """170 jobs with the same extra column give one sentence, with the count and the first place."""
    assert _warnings(jobs=[job("A"), job("B", colour=1), job("C", colour=2)]) == (
        "unknown field jobs[].colour was ignored (2 times, first at jobs[1].colour)",
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("due_date", "lcd_date"),
        ("dueDate", "lcd_date"),
        ("lcd", "lcd_date"),
        ("duration", "processing_time"),
        ("machine", "machine_options"),
        ("order_id", "family_id"),
        ("start", "release_at"),
    ],
)
def test_field_by_the_name_that_others_give_it_is_recognised(name: str, meant: str) -> None:
    """No spelling leads from due_date to lcd_date; whoever loses all due dates learns what that does to the plan."""
    (warning,) = _warnings(jobs=[job(**{name: 1})])
    lost = "Where no job has an lcd_date, nothing is due, and the default objective is makespan"
    assert warning == f"unknown field jobs[].{name} was ignored; did you mean {meant}?" + (
        f" {lost}" if meant == "lcd_date" else ""
    )


def test_request_by_other_names_is_recognised() -> None:
    """The same for the fields of a request and of a machine."""
    assert _warnings(objective="tardiness", machines=[machine(load=3)]) == (
        "unknown field objective was ignored; did you mean optimization_objective?",
        "unknown field machines[].load was ignored; did you mean current_load?",
    )


def test_other_names_of_fields_are_no_fields_and_lead_to_one() -> None:
    """Each leads to one field of its own model, and never away from a field."""
    models: list[type[WireModel]] = [ScheduleRequest]
    seen: set[type[WireModel]] = set()
    while models:
        model = models.pop()
        if model in seen:
            continue
        seen.add(model)
        fields = field_names(model)
        models += [inner for name in fields if (inner := model_of_field(model, name)) is not None]
        assert set(model.misnomers) <= set(fields)
        others = [word for words in model.misnomers.values() for word in words.split()]
        assert len(others) == len(set(others))
        assert not {name.replace("_", "") for name in fields} & set(others)
        assert not model.not_supported_yet & set(others)
    assert len(seen) > 5


def test_warnings_are_bounded() -> None:
    """Sixty made-up names give fifty sentences and a count; a long name is cut."""
    warnings = _warnings(**{f"field_{index}": 1 for index in range(59)}, **{"x" * 200: 1})
    assert len(warnings) == 51
    assert warnings[-1] == "10 further unknown fields were ignored"
    assert _warnings(**{"x" * 200: 1}) == (f"unknown field {'x' * 80} was ignored",)


def test_unknown_field_is_refused_by_a_strict_reader() -> None:
    """Whoever wants to be told by a refusal learns the place, and what was nearly meant."""
    assert _refused(True, colour="red", jobs=[job(jobId="A")]) == [
        ("colour", "must be a known field, was not"),
        ("jobs[0].jobId", "must be a known field, was not; did you mean job_id?"),
    ]


AWAITED = {
    "jobs[0]": ("predecessors", "lag_hours", "max_wait_hours", "crew", "preferred_machine_id"),
    "machines[0]": ("hours", "capacity", "setup_group", "area"),
    "calendar": ("openings",),
    "calendar.machines[0]": ("openings",),
    "setup_matrix[0]": ("machine_type", "machine_id"),
    "": ("crews", "transport_matrix", "preference_weight", "timing"),
}


def _with_fields(place: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A request with `fields` at `place`."""
    setup = {"from": "white", "to": "black", "hours": 1}
    whole = body(calendar={"machines": [{"machine_id": 42}]}, setup_matrix=[setup])
    found: Any = whole
    for part in filter(None, place.replace("[0]", ".0").split(".")):
        found = found[int(part) if part == "0" else part]
    found.update(fields)
    return whole


@pytest.mark.parametrize(("place", "name"), [(place, name) for place, names in AWAITED.items() for name in names])
@pytest.mark.parametrize("is_strict", [False, True])
def test_promised_field_is_refused_until_it_counts(place: str, name: str, is_strict: bool) -> None:
    """What the contract has and nothing reads yet is refused by name: a plan that ignored it would be called valid."""
    sent = _with_fields(place, {name: 1})
    assert _refused(is_strict, **sent) == [(f"{place}.{name}".removeprefix("."), "is not supported yet")]


@pytest.mark.parametrize("value", [None, []])
def test_promised_field_that_asks_for_nothing_is_a_warning(value: object) -> None:
    """Serializers write null and empty lists for whatever is not set."""
    assert _warnings(jobs=[job(predecessors=value)]) == ("unknown field jobs[].predecessors was ignored",)
    assert _refused(True, jobs=[job(predecessors=value)]) == [
        ("jobs[0].predecessors", "must be a known field, was not")
    ]


def test_many_refused_fields_are_cut_and_counted() -> None:
    """A hundred reasons are shown, the others are counted."""
    jobs = [job(f"J{number}", crew="welders") for number in range(130)]
    with pytest.raises(InvalidRequest) as caught:
        read_schedule_request(json.dumps(body(jobs=jobs)).encode(), LIMITS)
    assert (len(caught.value.reasons), caught.value.omitted) == (100, 30)


def test_unknown_fields_are_not_kept() -> None:
    """They are warned of, and gone: neither the request nor the models in it hold what nobody reads."""
    raw = json.dumps(body(colour=["a"] * 10, jobs=[job(colour={"a": 1})], calendar={"colour": 1})).encode()
    received = read_schedule_request(raw, LIMITS)
    assert len(received.warnings) == 3
    request = received.body
    assert request.calendar is not None
    assert request.jobs is not None
    assert [each.model_extra for each in (request, request.jobs[0], request.calendar)] == [{}, {}, {}]
