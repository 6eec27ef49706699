"""Evaluations and feedback as rows, within somebody's transaction."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Connection, Insert, RowMapping, Select, Table, select
from sqlalchemy.dialects import mysql, sqlite

from deployments.persistence.evaluations import EvaluationRecord, FeedbackRecord
from deployments.persistence.tables import EVALUATION, FEEDBACK


def insert_evaluations(connection: Connection, records: list[EvaluationRecord]) -> None:
    """Makes sure that each is there; what is already stays untouched."""
    _insert_once(connection, EVALUATION, records)


def insert_feedback(connection: Connection, records: list[FeedbackRecord]) -> None:
    """Makes sure that each is there; what is already stays untouched."""
    _insert_once(connection, FEEDBACK, records)


def evaluations_of(connection: Connection, decision_id: str) -> tuple[EvaluationRecord, ...]:
    """What the arms made of one decision's request, as far as it is stored."""
    return tuple(evaluation_of(row) for row in connection.execute(evaluations_of_query(decision_id)).mappings())


def evaluations_of_query(decision_id: str) -> Select[Any]:
    """All evaluations of one decision."""
    return select(EVALUATION).where(EVALUATION.c.decision_id == decision_id).order_by(EVALUATION.c.arm)


def evaluation_of(row: RowMapping) -> EvaluationRecord:
    """One row of the table as a record."""
    return EvaluationRecord(**{field.name: row[field.name] for field in fields(EvaluationRecord)})


def _insert_once(connection: Connection, table: Table, records: list[Any]) -> None:
    if records:
        connection.execute(_insert(connection, table), [asdict(record) for record in records])


def _insert(connection: Connection, table: Table) -> Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing(index_elements=list(table.primary_key))
    # Not INSERT IGNORE, which would also swallow values that do not fit.
    key = next(iter(table.primary_key))
    return mysql.insert(table).on_duplicate_key_update({key.name: key})
