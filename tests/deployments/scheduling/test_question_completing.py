"""Requests that leave machines or jobs to the database, through the use case and the API."""

from __future__ import annotations

import json

from deployments.plants.completion import plant_data
from deployments.scheduling.question import CompleteRequest, fill_from_plant
from tests.deployments.api.calls import call
from tests.deployments.fakes import (
    KnownPlants,
    MemoryJournal,
    UnreachablePlants,
    body,
    job,
    machine,
    request_of,
    scheduling_over,
    services_over,
)
from tests.deployments.plants.rows import plant


def _open_body(**changes: object) -> dict[str, object]:
    return {name: value for name, value in body(jobs=[], **changes).items() if name != "machines"}


async def test_request_that_lacks_nothing_does_not_wait_for_the_database() -> None:
    """Its bytes stay the client's own, and nobody is asked."""
    request = request_of()
    found = await fill_from_plant(request, b"raw", plants=UnreachablePlants(), plant_id="penang")
    assert found == CompleteRequest(request=request, body=b"raw")


async def test_pending_jobs_are_scheduled_on_the_plants_machines() -> None:
    """A request without either is answered for the plant of the settings, and its record stands for itself."""
    journal = MemoryJournal()
    plants = KnownPlants(penang=plant(jobs=[job("A"), job("B")], machines=[machine(7)]))
    services = services_over(journal=journal, scheduling=scheduling_over(journal=journal, plants=plants))
    response = await call("POST", "/schedule", services=services, json=_open_body())
    assert response.status_code == 200, response.text
    assert [(row["job_id"], row["machine_id"]) for row in response.json()["scheduled_jobs"]] == [("A", 7), ("B", 7)]
    (record,) = journal.records
    stored = json.loads(record.request or b"")
    assert [each["job_id"] for each in stored["jobs"]] == ["A", "B"]
    assert [each["machine_id"] for each in stored["machines"]] == [7]
    explained = await call("GET", f"/v1/schedules/{record.decision_id}/explanation", services=services)
    assert explained.status_code == 200, explained.text


async def test_plant_of_the_request_is_the_one_that_is_read() -> None:
    """`plant_id` chooses whose machines and jobs are meant."""
    services = services_over(scheduling=scheduling_over(plants=KnownPlants(ipoh=plant())))
    assert (await call("POST", "/schedule", services=services, json=_open_body(plant_id="ipoh"))).status_code == 200
    response = await call("POST", "/schedule", services=services, json=_open_body(plant_id="Ipoh"))
    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == ["machines", "jobs"]


async def test_null_or_absent_jobs_are_refused() -> None:
    """Only an empty list means the pending jobs: a forgotten field must not schedule a plant."""
    services = services_over(scheduling=scheduling_over(plants=KnownPlants(penang=plant())))
    for sent in (_open_body() | {"jobs": None}, {"machines": [machine()]}):
        response = await call("POST", "/schedule", services=services, json=sent)
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "jobs"


async def test_database_that_is_down_holds_up_only_who_needs_it() -> None:
    """An open request is told to come back; one that carries everything is answered."""
    services = services_over(scheduling=scheduling_over(plants=UnreachablePlants()))
    response = await call("POST", "/schedule", services=services, json=_open_body())
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert response.json()["error"] == "plant_data_unavailable"
    assert (await call("POST", "/schedule", services=services, json=body())).status_code == 200


async def test_open_request_can_be_validated_too() -> None:
    """`/v1/validate` reads the same machines and jobs as `/schedule`."""
    services = services_over(scheduling=scheduling_over(plants=KnownPlants(penang=plant())))
    answer = (await call("POST", "/schedule", services=services, json=_open_body())).json()
    claim = {"request": _open_body(), "scheduled_jobs": answer["scheduled_jobs"]}
    verdict = (await call("POST", "/v1/validate", services=services, json=claim)).json()
    assert verdict["valid"], verdict


async def test_warnings_about_stored_rows_are_in_the_answer() -> None:
    """Whoever leaves machines or jobs to the database learns how its rows were read, also when judging."""
    rows = plant_data(machines=[machine(7)], jobs=[job("A", priority=9)], calendar=None, closures=[])
    services = services_over(scheduling=scheduling_over(plants=KnownPlants(penang=rows)))
    answer = (await call("POST", "/schedule", services=services, json=_open_body())).json()
    assert answer["warnings"] == list(rows.warnings)
    assert len(rows.warnings) == 1
    claim = {"request": _open_body(), "scheduled_jobs": answer["scheduled_jobs"]}
    verdict = (await call("POST", "/v1/validate", services=services, json=claim)).json()
    assert (verdict["valid"], verdict["warnings"]) == (True, list(rows.warnings))


async def test_empty_list_of_machines_means_those_of_the_plant() -> None:
    """As an absent one does, with a word about it."""
    services = services_over(scheduling=scheduling_over(plants=KnownPlants(penang=plant(machines=[machine(7)]))))
    response = await call("POST", "/schedule", services=services, json=body(machines=[]))
    assert response.status_code == 200, response.text
    assert [row["machine_id"] for row in response.json()["scheduled_jobs"]] == [7]
    assert len(response.json()["warnings"]) == 1
