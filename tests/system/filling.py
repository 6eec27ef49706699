"""Tables of any size from a sequence of numbers, made by MariaDB itself: what the queries are explained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

BUSIEST_CLIENT = "client-0"
_ROWS_AT_ONCE = 50_000
_CLIENTS, _PLANTS = 20, 60
# A decision every 30 s of 2024, under an id of version 7 as the service makes it.
FIRST_MONTH = datetime(2024, 1, 1, tzinfo=UTC)
_MILLISECONDS = f"({int(FIRST_MONTH.timestamp() * 1000)} + seq * 30000)"
_ID = (
    f"CONCAT(INSERT(LPAD(LOWER(HEX({_MILLISECONDS})), 12, '0'), 9, 0, '-'),"
    " '-7000-8000-', LPAD(LOWER(HEX(seq)), 12, '0'))"
)
_AT = "TIMESTAMP '2024-01-01 00:00:00.000000' + INTERVAL seq * 30 SECOND"
# Half of all decisions are one client's.
_CLIENT = f"IF(seq MOD 2, 'client-0', CONCAT('client-', 1 + seq DIV 2 MOD {_CLIENTS - 1}))"
_PLANT = f"IF(seq MOD {_PLANTS} = 7, 'penang', IF(seq MOD {_PLANTS} = 8, 'ipoh', CONCAT('plant-', seq MOD {_PLANTS})))"
_DIGEST = "SHA2(seq, 256)"
_BODY = "REPEAT(CHAR(120, seq MOD 250, seq MOD 249), 100)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """Some columns of one table from a sequence of numbers; `per_decision` rows for each decision."""

    table: str
    columns: dict[str, str]
    per_decision: float = 1.0


def fill(engine: Engine, decisions: int, on_rows: Callable[[int], None]) -> None:
    """As many decisions, and the other tables in proportion; analysed at the end. Each table is a transaction."""
    for filling in FILLINGS:
        with engine.begin() as connection:
            _fill(connection, filling, decisions, on_rows)
    with engine.connect() as connection:
        for filling in FILLINGS:
            connection.exec_driver_sql(f"ANALYZE TABLE {filling.table}").all()


def total_rows(decisions: int) -> int:
    """Of all tables together."""
    return sum(_rows(filling, decisions) for filling in FILLINGS)


def _rows(filling: Filling, decisions: int) -> int:
    return max(1, int(filling.per_decision * decisions))


def _fill(connection: Connection, filling: Filling, decisions: int, on_rows: Callable[[int], None]) -> None:
    rows, names = _rows(filling, decisions), ", ".join(filling.columns)
    values = ", ".join(filling.columns.values())
    for first in range(1, rows + 1, _ROWS_AT_ONCE):
        last = min(first + _ROWS_AT_ONCE - 1, rows)
        connection.exec_driver_sql(f"INSERT INTO {filling.table} ({names}) SELECT {values} FROM seq_{first}_to_{last}")
        on_rows(last - first + 1)


def _zeros(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "0")


_KPIS = _zeros(
    "makespan_seconds", "tardiness_seconds", "setup_seconds", "completion_percent", "utilisation_percent",
    "on_time_percent", "important_on_time_percent", "safety_score",
)  # fmt: skip
_ASSIGNMENT = {"unit": "'penang//2025-07-22'", "stage": "'limited'", "share": "0.1"}

FILLINGS = (
    Filling(
        table="decision",
        columns={
            "decision_id": _ID,
            "created_at": _AT,
            "client": _CLIENT,
            "request_id": "IF(seq MOD 3, CONCAT('erp-', seq), NULL)",
            "plant_id": _PLANT,
            "bucket": "seq MOD 10000 / 10000",
            "seed": "'gantry'",
            "arm": "IF(seq MOD 10, 'manual', 'ppo')",
            "algorithm_used": "IF(seq MOD 10, 'manual', 'ppo')",
            "objective": "'makespan'",
            **_zeros("hash_version", "time_budget_ms", "job_count", "machine_count", "generation_ms"),
            **_KPIS,
            **_ASSIGNMENT,
            "request": _BODY,
            "answer": _BODY,
            "payload_sha256": _DIGEST,
        },
    ),
    Filling(
        table="evaluation",
        per_decision=2.0,
        columns={
            "decision_id": _ID.replace("seq", "((seq + 1) DIV 2)"),
            "arm": "IF(seq MOD 2, 'manual', 'ppo')",
            "role": "IF(seq MOD 2, 'champion', 'challenger')",
            "created_at": _AT.replace("seq", "((seq + 1) DIV 2)"),
            "plant_id": _PLANT,
            **_zeros("rollout_version", "is_forced", "time_budget_ms", "job_count", "violation_count"),
            "ramp": "1",
            "job_list_sha256": _DIGEST,
            "is_served": "seq MOD 2",
            "status": "'valid'",
            "baseline": "'rule'",
            "violations": "'[]'",
            **_KPIS,
            **_ASSIGNMENT,
        },
    ),
    Filling(
        table="feedback",
        per_decision=0.1,
        columns={
            "feedback_id": _ID,
            "decision_id": _ID.replace("seq", "(10 * seq)"),
            "client": _CLIENT,
            "created_at": _AT,
            "rating": "1 + seq MOD 5",
            "actual_completions": "'[]'",
        },
    ),
    Filling(
        table="audit_event",
        per_decision=0.1,
        columns={"event_id": _ID, "occurred_at": _AT, "actor": "'somebody'", "action": "'schedule'", "target": "''"},
    ),
    Filling(
        table="idempotency_claim",
        per_decision=0.1,
        columns={
            "client": _CLIENT,
            "route": "'schedule'",
            "idempotency_key": "CONCAT('key-', seq)",
            "request_sha256": _DIGEST,
            "decision_id": _ID,
            "owner_id": _ID,
            "leased_until": _AT,
            "expires_at": f"{_AT} + INTERVAL 1 DAY",
            "status": "200",
            "answer": _BODY,
        },
    ),
    Filling(table="spool_owner", per_decision=0.001, columns={"owner_id": _ID, "drained_until": _AT}),
    Filling(
        table="plant_machine",
        per_decision=0.003,
        columns={
            "plant_id": _PLANT,
            "machine_id": "seq",
            "machine_name": "CONCAT('CM', seq)",
            "status": "'available'",
            "current_load": "0",
        },
    ),
    Filling(
        table="plant_job",
        per_decision=0.01,
        columns={
            "plant_id": _PLANT,
            "job_id": "CONCAT('J', seq)",
            **_zeros("sequence", "priority", "is_important", "setup_time", "interruptible"),
            "machine_types": "'[1]'",
        },
    ),
    Filling(
        table="plant_closure",
        per_decision=0.001,
        columns={
            "plant_id": _PLANT,
            "machine_id": "seq",
            "closed_from": "'2025-07-22T08:00:00'",
            "closed_to": "'2025-07-22T09:00:00'",
            "reason": "'maintenance'",
        },
    ),
    Filling(
        table="plan",
        per_decision=0.001,
        columns={"plant_id": "CONCAT('plant-', seq)", "line_id": "''", "decision_id": _ID, "created_at": _AT},
    ),
    Filling(
        table="planned_job",
        per_decision=0.01,
        columns={
            "plant_id": _PLANT,
            "line_id": "''",
            "job_id": "CONCAT('J', seq)",
            "machine_id": "1",
            "machine_name": "'CM01'",
            "start_at": _AT,
            "end_at": _AT,
            "setup_hours": "0",
        },
    ),
    Filling(
        table="rollout_transition",
        per_decision=0.001,
        columns={
            "version": "seq",
            "created_at": _AT,
            "from_stage": "'limited'",
            "to_stage": "'expanded'",
            "actor": "'somebody'",
            "reason": "''",
            "evidence": "'{}'",
            "configuration_sha256": _DIGEST,
            "state": "'{}'",
        },
    ),
)
