"""The latest plan of each plant and line as rows, written in the transaction of the decision that made it.

Rows, because answers are stored compressed, where no SQL view can look; in the same transaction, so that
whoever reads the view `latest_plan` sees whole plans only, and each exactly when its decision is stored.
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
from deployments.persistence.tables import PLAN, PLANNED_JOB

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
    """Replaces the plan of each plant and line that has a newer one in `records`.

    What-if copies, and decisions whose payload was not to be kept, are nobody's plan. May be repeated,
    in any order: the newest decision wins.
    """
    # In order, so that two writers cannot wait for each other's plants.
    candidates = sorted((record for record in records if record.plant_id is not None), key=_place_and_age)
    for _, group in groupby(candidates, key=_place):
        newest_first = reversed(list(group))
        found = next(((record, rows) for record in newest_first if (rows := _planned_jobs(record)) is not None), None)
        if found is not None and _claim(connection, found[0]):
            _replace_rows(connection, *found)


def _place(record: DecisionRecord) -> tuple[str, str]:
    assert record.plant_id is not None, "only decisions of a plant are candidates"
    return record.plant_id, record.line_id or ""


def _age(record: DecisionRecord) -> tuple[datetime, str]:
    return record.created_at, record.decision_id


def _place_and_age(record: DecisionRecord) -> tuple[tuple[str, str], tuple[datetime, str]]:
    return _place(record), _age(record)


def _claim(connection: Connection, record: DecisionRecord) -> bool:
    """Locks the plan of the record's place; whether it is the record's now."""
    plant_id, line_id = _place(record)
    own = {"decision_id": record.decision_id, "created_at": record.created_at}
    place = _at(PLAN, record)
    _insert_once(connection, {"plant_id": plant_id, "line_id": line_id} | own)
    query = select(PLAN.c.created_at, PLAN.c.decision_id).where(place).with_for_update()
    if connection.execute(query).one() > _age(record):
        return False
    connection.execute(update(PLAN).where(place).values(own))
    return True


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


def _planned_jobs(record: DecisionRecord) -> list[_Row] | None:
    """The rows of the answer, None when the decision is nobody's plan."""
    if record.request is None or record.answer is None:
        return None
    try:
        if _Request.model_validate_json(record.request).parent_schedule_id is not None:
            return None
        return _Answer.model_validate_json(record.answer).scheduled_jobs
    except ValidationError as error:
        # The decision itself must be stored all the same.
        _log.error("decision %s is no plan: %d faults in its payload", record.decision_id, error.error_count())
        return None
