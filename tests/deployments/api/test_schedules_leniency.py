"""Clients that do not write by the letter: understood with a warning, or refused because they ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from deployments.contracts.parsing import Allowance
from deployments.errors import nearly_spelt
from tests.deployments.api.calls import KEY, call
from tests.deployments.fakes import MemoryJournal, body, job, machine, scheduling_over, services_over

SLOPPY = body(
    jobs=[job(7, processing_time="2.5", setup_time=None, is_important=1, priority=4)],
    machines=[machine(machine_type="2")],
)


def _strictly(preference: str = "handling=strict") -> dict[str, str]:
    return KEY | {"Prefer": preference}


async def test_sloppy_request_is_scheduled_as_it_was_meant() -> None:
    """What it can only mean is scheduled; each kind is one warning."""
    answer = (await call("POST", "/schedule", json=SLOPPY)).json()
    assert [(row["job_id"], row["end_time"]) for row in answer["scheduled_jobs"]] == [("7", 2.8)]
    assert [warning.split(" (")[0] for warning in answer["warnings"]] == [
        kind.value
        for kind in (
            Allowance.TEXT_ID,
            Allowance.NUMBER,
            Allowance.PRIORITY,
            Allowance.BOOLEAN,
            Allowance.NULL,
        )
    ]


AROUND_THE_CLOCK = {"schedule_start": "2026-05-04T08:00:00Z", "calendar": {"breaks": []}}
FORM_AND_MYSQL = AROUND_THE_CLOCK | {
    "jobs": [
        {
            "job_id": "A",
            "processing_time": "2.5",
            "machine_types": ["1"],
            "setup_time": "0",
            "is_important": 1,
            "priority": 4,
        },
        {"job_id": "B", "processing_time": 1, "machine_types": [1], "setup_time": 0},
    ],
    "machines": [{"machine_id": "1", "machine_name": "M1", "machine_type": "1", "current_load": "0"}],
}
DOT_NET_AND_JAVA = (
    AROUND_THE_CLOCK
    | dict.fromkeys(("optimization_objective", "time_budget_ms", "respect_holidays"))
    | {
        "jobs": [
            {"job_id": "A", "processing_time": 1, "machine_types": [1]}
            | dict.fromkeys(("family_id", "sequence", "priority", "is_important", "lcd_date", "setup_time"))
            | dict.fromkeys(("interruptible", "weight"))
        ],
        "machines": [{"machine_id": 1, "machine_type": 1, "machine_name": None, "status": None, "current_load": None}],
    }
)


@pytest.mark.parametrize(("document", "makespan"), [(FORM_AND_MYSQL, 3.5), (DOT_NET_AND_JAVA, 1.3)])
async def test_clients_that_exist_are_answered(document: dict[str, Any], makespan: float) -> None:
    """Forms and MySQL write numbers as text and 1 for true, .NET and Java write null for whatever is not set."""
    response = await call("POST", "/schedule", json=document)
    assert response.status_code == 200, response.text
    assert response.json()["metrics"]["makespan"] == makespan
    assert response.json()["warnings"] != []


async def test_sloppy_request_is_stored_as_it_was_sent_and_read_again() -> None:
    """The client's own bytes are kept, and whatever is asked about them later understands them as at first."""
    journal = MemoryJournal()
    services = services_over(journal=journal, scheduling=scheduling_over(journal=journal))
    answer = (await call("POST", "/schedule", services=services, json=SLOPPY)).json()
    assert json.loads(journal.records[0].request or b"") == SLOPPY
    explained = await call("GET", f"/v1/schedules/{answer['schedule_id']}/explanation", services=services)
    assert explained.status_code == 200, explained.text
    claim = {"request": SLOPPY, "scheduled_jobs": answer["scheduled_jobs"]}
    verdict = (await call("POST", "/v1/validate", services=services, json=claim)).json()
    assert (verdict["valid"], len(verdict["warnings"])) == (True, 5)


@pytest.mark.parametrize(
    "preference",
    ["handling=strict", "respond-async, Handling=Strict; foo=bar", 'wait=10,handling="strict"', "handling = strict"],
)
async def test_strict_client_is_refused(preference: str) -> None:
    """`Prefer: handling=strict` refuses each thing that would only be warned of, however it is written."""
    response = await call("POST", "/v1/schedules", json=SLOPPY, headers=_strictly(preference))
    assert response.status_code == 422
    assert {each["field"] for each in response.json()["errors"]} == {
        "jobs[0].job_id",
        "jobs[0].processing_time",
        "jobs[0].setup_time",
        "jobs[0].is_important",
        "jobs[0].priority",
        "machines[0].machine_type",
    }
    unknown = await call("POST", "/schedule", json=body(colour="red"), headers=_strictly(preference))
    assert unknown.json()["errors"] == [{"field": "colour", "message": "must be a known field, was not"}]


@pytest.mark.parametrize("preference", ["handling=lenient", "handling=lenient, handling=strict", "strict", ""])
async def test_other_preferences_are_lenient(preference: str) -> None:
    """Of two handlings the first one counts, as RFC 7240 says."""
    assert (await call("POST", "/schedule", json=SLOPPY, headers=_strictly(preference))).status_code == 200


async def test_strict_client_is_answered_when_it_writes_by_the_letter() -> None:
    """There is nothing to refuse."""
    response = await call("POST", "/schedule", json=body(), headers=_strictly())
    assert (response.status_code, response.json()["warnings"]) == (200, [])


async def test_validate_and_feedback_hear_the_preference() -> None:
    """Every body of a planner is read in the same way."""
    services = services_over()
    answer = (await call("POST", "/schedule", services=services, json=SLOPPY)).json()
    claim = {"request": SLOPPY, "scheduled_jobs": answer["scheduled_jobs"]}
    feedback = {"rating": "4", "actual_completions": [{"job_id": 7, "completed_at": "2025-07-22T18:00:00"}]}
    route = f"/v1/schedules/{answer['schedule_id']}/feedback"
    sent: list[tuple[str, dict[str, Any]]] = [("/v1/validate", claim), (route, feedback)]
    for path, document in sent:
        assert (await call("POST", path, services=services, json=document, headers=_strictly())).status_code == 422
        response = await call("POST", path, services=services, json=document)
        assert response.status_code == 200, response.text
        assert response.json()["warnings"] != []


async def test_key_of_a_strict_request_is_that_of_its_refusal() -> None:
    """The same key and body give the first answer again, whatever is preferred the second time."""
    services = services_over()
    sent = _strictly() | {"Idempotency-Key": "key-1"}
    first = await call("POST", "/schedule", services=services, json=SLOPPY, headers=sent)
    again = await call("POST", "/schedule", services=services, json=SLOPPY, headers=KEY | {"Idempotency-Key": "key-1"})
    assert (first.status_code, again.status_code, again.headers["Idempotency-Replayed"]) == (422, 422, "true")


async def test_promised_field_is_refused_by_name() -> None:
    """An assembly before its parts must not be called valid."""
    jobs = [job("PART"), job("ASSEMBLE", predecessors=["PART"])]
    response = await call("POST", "/schedule", json=body(jobs=jobs))
    assert response.status_code == 422
    assert response.json()["detail"] == "jobs[1].predecessors is not supported yet"


async def test_byte_order_mark_is_skipped() -> None:
    """Editors of Windows write one; what is stored is JSON all the same."""
    journal = MemoryJournal()
    services = services_over(journal=journal)
    raw = json.dumps(body()).encode()
    response = await call("POST", "/schedule", services=services, content=b"\xef\xbb\xbf" + raw)
    assert response.status_code == 200, response.text
    assert journal.records[0].request == raw


def _renamed(entry: dict[str, Any], name: str, sent: str) -> dict[str, Any]:
    return {sent if key == name else key: value for key, value in entry.items()}


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"jobs": [_renamed(job(), "processing_time", "procesing_time")]},
            "jobs[0].processing_time",
            "must be given unless there are machine_options, was absent; "
            "jobs[0] has 'procesing_time': did you mean 'processing_time'?",
        ),
        (
            {"jobs": [_renamed(job(), "machine_types", "machine_type")]},
            "jobs[0].machine_types",
            "must not be empty unless there are machine_options, was empty; "
            "jobs[0] has 'machine_type': did you mean 'machine_types'?",
        ),
        (
            {"machines": [_renamed(machine(), "machine_type", "machinetype")]},
            "jobs[0].machine_types",
            "must name the machine_type of one of machines, was [2]; none of them has a machine_type; "
            "machines[0] has 'machinetype': did you mean 'machine_type'?",
        ),
        (
            {"calendar": {"breaks": [{"strt": "09:00", "end": "10:00"}]}},
            "calendar.breaks[0].start",
            "must be given, was absent; calendar.breaks[0] has 'strt': did you mean 'start'?",
        ),
        (
            {"calendar": {"machines": [{"machineid": 42}]}},
            "calendar.machines[0].machine_id",
            "must be given, was absent; calendar.machines[0] has 'machineid': did you mean 'machine_id'?",
        ),
        (
            {"manual_schedule": [{"jobid": "A", "machine_id": 42, "start_datetime": "2025-07-22T14:00:00"}]},
            "manual_schedule[0].job_id",
            "must be given, was absent; manual_schedule[0] has 'jobid': did you mean 'job_id'?",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/schedule", "/v1/validate"])
async def test_refusal_names_the_misspelt_field(path: str, changes: dict[str, Any], field: str, message: str) -> None:
    """Whoever wrote a field's name wrong learns it from the refusal, wherever it stands and whoever refuses."""
    sent = body(**changes)
    answer = await call("POST", path, json=sent if path == "/schedule" else {"request": sent, "scheduled_jobs": []})
    assert answer.status_code == 422
    errors = {each["field"].removeprefix("request."): each["message"] for each in answer.json()["errors"]}
    assert errors[field].replace(" request.", " ") == message


async def test_misspelt_job_list_is_named() -> None:
    """The body itself is an object like any other."""
    answer = await call("POST", "/schedule", json=_renamed(body(), "jobs", "job"))
    (error,) = answer.json()["errors"]
    assert error["field"] == "jobs"
    assert error["message"] == "must be given, was absent; the body has 'job': did you mean 'jobs'?"


async def test_known_field_is_no_misspelling_of_a_missing_one() -> None:
    """machine_id and machine_name are spelt alike, and both are meant; so is whatever is nearly like a given field."""
    entry = machine(machinetype=3)
    del entry["machine_id"]
    (error,) = (await call("POST", "/schedule", json=body(machines=[entry]))).json()["errors"]
    assert error["message"] == "must be given, was absent"


async def test_naming_what_is_misspelt_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields of an ERP that nobody knows are compared once, not for each of thousands of jobs."""
    compared: list[str] = []

    def counted(name: str, known: Iterable[str]) -> str | None:
        compared.append(name)
        return nearly_spelt(name, known)

    monkeypatch.setattr("deployments.contracts.parsing.nearly_spelt", counted)
    extra = {f"erp_field_{number}": number for number in range(10)}
    jobs = [job(job_id=f"J{number}", machine_types=[77]) | extra for number in range(3000)]
    machines = [machine(machine_id=number) | extra for number in range(1, 500)]
    response = await call("POST", "/schedule", json=body(jobs=jobs, machines=machines))
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 100
    assert len(compared) <= 2 * (len(extra) + 1)
