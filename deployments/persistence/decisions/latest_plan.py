"""The plan in force of each plant and line as rows, written in the transaction that puts it in force.

Once a person has released a plan, only a person changes it; until then each newer decision does, but for those of the
shadow stage. Rows, because answers are stored compressed, where no SQL view can look; in the same transaction, so that
whoever reads the view `latest_plan` sees whole plans only, and each exactly when it is in force.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select, update
from sqlalchemy.dialects import mysql, sqlite

from deployments.persistence.decisions.records import DecisionRecord
from deployments.persistence.errors import DataRejected
from deployments.persistence.tables import PLAN, PLAN_RELEASE, PLANNED_JOB
from deployments.rollout.ramp.state import Stage

_log = logging.getLogger(__name__)


class _Row(BaseModel):
    job_id: str
    machine_id: int
    machine_name: str
    machine_ids: list[int] | None = None
    start_datetime: datetime
    end_datetime: datetime
    setup_time_included: float


class _Answer(BaseModel):
    scheduled_jobs: list[_Row]


class _Request(BaseModel):
    parent_schedule_id: str | None = None


def keep_latest_plans(connection: Connection, records: Iterable[DecisionRecord]) -> None:
    """Replaces the plan of each plant and line that has a newer one in `records`, and none that was released.

    What-if copies, decisions of the shadow stage, and those whose payload was not to be kept, are nobody's plan by
    themselves. May be repeated, in any order: the newest decision wins.
    """
    # In order, so that two writers cannot wait for each other's plants.
    shown = (record for record in records if record.plant_id is not None and record.stage != Stage.SHADOW)
    candidates = sorted(shown, key=_place_and_age)
    for _, group in groupby(candidates, key=_place):
        newest_first = reversed(list(group))
        found = next(((record, rows) for record in newest_first if (rows := _planned_jobs(record)) is not None), None)
        if found is not None and _claim(connection, found[0]):
            _replace_rows(connection, *found)


def lock_plan(connection: Connection, record: DecisionRecord) -> None:
    """Until the transaction ends nobody else changes the plan of the record's place; the row is there afterwards."""
    # A write, also where the row is there: SQLite locks nothing for a read.
    _insert_once(connection, _row_of(record))


def show_plan(connection: Connection, record: DecisionRecord) -> None:
    """Makes the record the plan of its place, whatever its age; the place must be locked. Raises `DataRejected`."""
    if (rows := _planned_jobs(record, is_chosen=True)) is None:
        raise DataRejected(f"decision {record.decision_id} must have rows that can be read, had none")
    connection.execute(update(PLAN).where(_at(PLAN, record)).values(_own(record)))
    _replace_rows(connection, record, rows)


def show_nothing(connection: Connection, place_of: DecisionRecord) -> None:
    """The plant and line of a record have no plan any more; the place must be locked."""
    for table in (PLANNED_JOB, PLAN):
        connection.execute(delete(table).where(_at(table, place_of)))


def is_what_if(record: DecisionRecord) -> bool:
    """Whether it was made to be compared. Raises `ValidationError` for a request that is none."""
    request = _Request.model_validate_json(record.request or b"{}")
    return request.parent_schedule_id is not None


def _place(record: DecisionRecord) -> tuple[str, str]:
    assert record.plant_id is not None, "only decisions of a plant are candidates"
    return record.plant_id, record.line_id or ""


def _age(record: DecisionRecord) -> tuple[datetime, str]:
    return record.created_at, record.decision_id


def _place_and_age(record: DecisionRecord) -> tuple[tuple[str, str], tuple[datetime, str]]:
    return _place(record), _age(record)


def _claim(connection: Connection, record: DecisionRecord) -> bool:
    """Locks the plan of the record's place; whether it is the record's now."""
    place = _at(PLAN, record)
    _insert_once(connection, _row_of(record))
    query = select(PLAN.c.created_at, PLAN.c.decision_id).where(place).with_for_update()
    if connection.execute(query).one() > _age(record) or _is_released(connection, record):
        return False
    connection.execute(update(PLAN).where(place).values(_own(record)))
    return True


def _is_released(connection: Connection, record: DecisionRecord) -> bool:
    """Whether a person's release is in force at the record's place."""
    query = select(PLAN_RELEASE.c.decision_id).where(_at(PLAN_RELEASE, record))
    newest = query.order_by(PLAN_RELEASE.c.version.desc()).limit(1)
    return connection.execute(newest).scalar_one_or_none() is not None


def _own(record: DecisionRecord) -> dict[str, Any]:
    return {"decision_id": record.decision_id, "created_at": record.created_at}


def _row_of(record: DecisionRecord) -> dict[str, Any]:
    plant_id, line_id = _place(record)
    return {"plant_id": plant_id, "line_id": line_id} | _own(record)


def _insert_once(connection: Connection, values: dict[str, Any]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(sqlite.insert(PLAN).values(values).on_conflict_do_nothing())
    else:
        connection.execute(mysql.insert(PLAN).values(values).on_duplicate_key_update(plant_id=PLAN.c.plant_id))


def _replace_rows(connection: Connection, record: DecisionRecord, rows: list[_Row]) -> None:
    connection.execute(delete(PLANNED_JOB).where(_at(PLANNED_JOB, record)))
    if rows:
        connection.execute(insert(PLANNED_JOB), list(_values(record, rows)))


def _values(record: DecisionRecord, rows: list[_Row]) -> Iterator[dict[str, Any]]:
    plant_id, line_id = _place(record)
    for row in rows:
        yield {
            "plant_id": plant_id,
            "line_id": line_id,
            "job_id": row.job_id,
            "machine_id": row.machine_id,
            "machine_name": row.machine_name,
            "machine_ids": None if row.machine_ids is None else str(row.machine_ids),
            "start_at": row.start_datetime,
            "end_at": row.end_datetime,
            "setup_hours": row.setup_time_included,
        }


def _at(table: Table, record: DecisionRecord) -> ColumnElement[bool]:
    plant_id, line_id = _place(record)
    return and_(table.c.plant_id == plant_id, table.c.line_id == line_id)


def _planned_jobs(record: DecisionRecord, *, is_chosen: bool = False) -> list[_Row] | None:
    """The rows of the answer, None when the decision is nobody's plan; a what-if is one only where `is_chosen`."""
    if record.request is None or record.answer is None:
        return None
    try:
        if not is_chosen and is_what_if(record):
            return None
        return _Answer.model_validate_json(record.answer).scheduled_jobs
    except ValidationError as error:
        # The decision itself must be stored all the same.
        _log.error("decision %s is no plan: %d faults in its payload", record.decision_id, error.error_count())
        return None
