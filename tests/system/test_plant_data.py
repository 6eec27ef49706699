"""Plant data and the latest plan on a real MariaDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime

import pytest
from sqlalchemy import Engine, text

from deployments.contracts.parsing import RequestLimits
from deployments.errors import PlantDataUnavailable
from deployments.persistence.database import create_engine, upgrade
from deployments.persistence.decisions.plant_repository import plant_work
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.plants.completion import PlantData, plant_data
from deployments.plants.stored import StoredPlants
from deployments.runtime.background import Threads
from tests.deployments.persistence.decisions.test_latest_plan import plan
from tests.deployments.persistence.payloads import decision_id
from tests.deployments.plants.rows import CALENDAR, WHOLE_JOB, job_document, machine_document
from tests.system.mariadb import private_mariadb

pytestmark = pytest.mark.system
LIMITS = RequestLimits(jobs=20_000, machines=5_000)

_ERP_VIEW = (
    "CREATE TABLE erp_order"
    " (plant CHAR(4), number INT, hours DECIMAL(8, 2), wanted DATETIME, urgent BIT(1), work_centre INT)",
    "INSERT INTO erp_order VALUES ('P1', 4711, 2.5, '2025-07-25 18:00:00', b'1', 1), ('P2', 1, 1, NULL, b'0', 1)",
    "CREATE OR REPLACE VIEW job_source AS SELECT plant AS plant_id, number AS job_id, NULL AS family_id,"
    " NULL AS sequence, hours AS processing_time, work_centre AS machine_types, NULL AS priority,"
    " urgent AS is_important, wanted AS lcd_date, NULL AS setup_time, NULL AS machine_options,"
    " NULL AS release_at, NULL AS deadline_at, NULL AS weight, NULL AS interruptible,"
    " NULL AS setup_group, NULL AS pinned, NULL AS requires_all_machines FROM erp_order",
)


def _stored(engine: Engine, plant_id: str = "penang") -> PlantData:
    with plant_work(engine) as plants:
        return plant_data(
            machines=plants.machines(plant_id, 30_000),
            jobs=plants.jobs(plant_id, 30_000),
            calendar=plants.calendar(plant_id),
            closures=plants.closures(plant_id, 30_000),
        )


def test_everything_comes_back_as_it_was_stored(engine: Engine) -> None:
    """Booleans, fractions, texts and documents survive the types of MariaDB."""
    given = PlantData.model_validate(
        {"machines": [machine_document(2**63 - 1, current_load=0.1)], "jobs": [WHOLE_JOB], "calendar": CALENDAR}
    )
    documents = given.model_dump(mode="json", by_alias=True)
    for _ in range(2):
        with plant_work(engine) as plants:
            plants.store_machines("penang", documents["machines"])
            plants.store_jobs("penang", documents["jobs"])
            plants.store_calendar("penang", documents["calendar"])
    assert _stored(engine) == given
    assert _stored(engine, "Penang") == PlantData()


def test_thousands_of_jobs_fit(engine: Engine) -> None:
    """As many pending jobs as a request may have are stored in one transaction and read back."""
    with plant_work(engine) as plants:
        plants.store_jobs("penang", [job_document(f"J{number:05}") for number in range(20_000)])
    assert len(_stored(engine).jobs) == 20_000


def test_view_of_an_erp_takes_the_place_of_our_table(engine: Engine) -> None:
    """Columns of other types behind `job_source` are read as the documentation says."""
    with engine.begin() as connection:
        for statement in _ERP_VIEW:
            connection.execute(text(statement))
    (job,) = _stored(engine, "P1").jobs
    assert (job.job_id, job.processing_time, job.machine_types, job.is_important) == ("4711", 2.5, [1], True)
    assert job.lcd_date == datetime(2025, 7, 25, 18, 0)  # noqa: DTZ001 the plant's clock


def test_newest_plan_wins_over_writers_at_once(engine: Engine) -> None:
    """However writers race for one plant, its plan is the newest decision, whole."""
    batches = [[plan(number, f"J{number}", "all").to_bytes()] for number in range(1, 25)]
    with ThreadPoolExecutor(4) as writers:
        reports = list(writers.map(DecisionWriter(engine).write, batches))
    assert all((report.accepted, report.poisoned) == (1, ()) for report in reports)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT schedule_id, job_id, start_at FROM latest_plan ORDER BY job_id")).all()
    start = datetime(2025, 7, 22, 6, 0)  # noqa: DTZ001 as the view shows it
    assert [tuple(row) for row in rows] == [(decision_id(24), "J24", start), (decision_id(24), "all", start)]


async def test_server_that_is_down_is_unavailable() -> None:
    """Who needs plant data is told to come back, and finds them when the server is up again."""
    with private_mariadb() as server, server.schema() as url, closing(Threads("plant", 1)) as threads:
        upgrade(url)
        engine = create_engine(url)
        plants = StoredPlants(engine, threads, LIMITS)
        server.stop()
        with pytest.raises(PlantDataUnavailable, match="the database does not answer"):
            await plants.read("penang", machines=True, jobs=True)
        server.start()
        assert await plants.read("penang", machines=True, jobs=True) == PlantData()
        engine.dispose()
