"""Plant data in SQLite: what was stored comes back, through the views that an ERP may replace."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from deployments.contracts.requests.schedule_request import JobRequest, MachineRequest
from deployments.persistence.decisions.plant_repository import plant_work
from deployments.persistence.tables import PLANT_JOB, PLANT_MACHINE
from deployments.plants.completion import PlantData, plant_data, wire_document
from tests.deployments.plants.rows import CALENDAR, WHOLE_JOB, job_document, machine_document


def _store(engine: Engine, plant_id: str = "penang", **documents: Any) -> None:
    with plant_work(engine) as plants:
        plants.store_machines(plant_id, documents.get("machines", []))
        plants.store_jobs(plant_id, documents.get("jobs", []))
        if "calendar" in documents:
            plants.store_calendar(plant_id, documents["calendar"])


def _stored(engine: Engine, plant_id: str = "penang", limit: int = 100) -> PlantData:
    with plant_work(engine) as plants:
        return plant_data(
            machines=plants.machines(plant_id, limit),
            jobs=plants.jobs(plant_id, limit),
            calendar=plants.calendar(plant_id),
            closures=plants.closures(plant_id, limit),
        )


def test_columns_are_the_fields_of_the_wire() -> None:
    """A field that the wire learns needs a column, and this test says so."""
    assert [each.name for each in PLANT_JOB.c] == ["plant_id", *JobRequest.model_fields]
    assert [each.name for each in PLANT_MACHINE.c] == ["plant_id", *MachineRequest.model_fields]


def test_everything_comes_back_as_it_was_stored(engine: Engine) -> None:
    """Machines, a job with every field and a calendar are the same models after the database."""
    given = PlantData.model_validate(
        {"machines": [machine_document(42, current_load=0.1)], "jobs": [WHOLE_JOB], "calendar": CALENDAR}
    )
    _store(engine, **given.model_dump(mode="json", by_alias=True))
    assert _stored(engine) == given


def test_entry_with_the_same_id_is_replaced_and_others_stay(engine: Engine) -> None:
    """Storing twice leaves one of each, as it was given last."""
    _store(engine, jobs=[job_document("A"), job_document("B")])
    _store(engine, jobs=[job_document("B", priority=1), job_document("C")])
    assert [(job.job_id, job.priority) for job in _stored(engine).jobs] == [("A", 2), ("B", 1), ("C", 2)]


def test_plants_do_not_touch_each_other(engine: Engine) -> None:
    """Two plants whose names differ in case are two plants, for storing, reading and clearing."""
    _store(engine, "penang", machines=[machine_document(1)], jobs=[job_document("A")], calendar=CALENDAR)
    _store(engine, "Penang", machines=[machine_document(2)], jobs=[job_document("A")])
    with plant_work(engine) as plants:
        plants.clear_jobs("Penang")
        plants.clear_machines("Penang")
    assert _stored(engine, "Penang") == PlantData()
    found = _stored(engine, "penang")
    assert (len(found.machines), len(found.jobs), found.calendar is None) == (1, 1, False)


def test_calendar_replaces_the_one_before(engine: Engine) -> None:
    """No break, holiday or closure of the old calendar is left; no breaks at all is not the default week."""
    _store(engine, calendar=CALENDAR)
    _store(engine, calendar={"breaks": [], "holidays": [], "country": None, "machines": []})
    calendar = _stored(engine).calendar
    assert calendar is not None
    assert (calendar.breaks, calendar.holidays, calendar.country, calendar.machines) == ([], [], None, [])


def test_closure_that_is_given_twice_is_one(engine: Engine) -> None:
    """The same hours closed twice are closed."""
    machines = [CALENDAR["machines"][0], CALENDAR["machines"][0]]
    _store(engine, calendar={"breaks": None, "holidays": [], "country": None, "machines": machines})
    calendar = _stored(engine).calendar
    assert calendar is not None
    assert [len(each.unavailable) for each in calendar.machines] == [1]


def test_many_rows_take_several_statements(engine: Engine) -> None:
    """More rows than one statement of SQLite can name are stored, and not more read than asked for."""
    _store(engine, jobs=[job_document(f"J{number:05}") for number in range(2500)])
    assert len(_stored(engine, limit=5000).jobs) == 2500
    assert len(_stored(engine, limit=10).jobs) == 10


def test_view_of_an_erp_takes_the_place_of_our_table(engine: Engine) -> None:
    """A view over somebody else's columns is read like our own."""
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE erp_order (number INTEGER, hours DECIMAL(8, 2), wanted DATETIME)",
            "INSERT INTO erp_order VALUES (4711, 2.5, '2025-07-25 18:00:00')",
            "DROP VIEW job_source",
            "CREATE VIEW job_source AS SELECT 'penang' AS plant_id, number AS job_id, NULL AS family_id,"
            " NULL AS sequence, hours AS processing_time, '1,2' AS machine_types, NULL AS priority,"
            " NULL AS is_important, wanted AS lcd_date, NULL AS setup_time, NULL AS machine_options,"
            " NULL AS release_at, NULL AS deadline_at, NULL AS weight, NULL AS interruptible, NULL AS setup_group,"
            " NULL AS pinned, NULL AS requires_all_machines FROM erp_order",
        ):
            connection.execute(text(statement))
    (job,) = _stored(engine).jobs
    wanted = {"job_id": "4711", "processing_time": 2.5, "machine_types": [1, 2], "lcd_date": "2025-07-25T18:00:00"}
    assert job == JobRequest.model_validate(wire_document(wanted))
