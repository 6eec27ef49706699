"""A plant as the database knows it, in the words of the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deployments
from deployments.contracts.requests.schedule_request import JobRequest, MachineRequest
from deployments.plants.completion import PlantData
from tests.deployments.fakes import job, machine

TEMPLATES = Path(deployments.__file__).parent / "templates"
CALENDAR = {
    "breaks": [{"name": "lunch", "start": "12:45", "end": "13:30", "days": ["mon", "tue"]}],
    "holidays": ["2025-08-31"],
    "country": "MY",
    "machines": [
        {
            "machine_id": 42,
            "unavailable": [{"from": "2025-07-23T08:00:00", "to": "2025-07-23T17:00:00+08:00", "reason": "service"}],
        }
    ],
}

WHOLE_JOB = {
    "job_id": "Jöb 1",
    "family_id": "FAM",
    "sequence": 3,
    "processing_time": 0.1,
    "machine_types": [1, 2],
    "priority": 1,
    "is_important": True,
    "lcd_date": "2025-07-25T00:00:00",
    "setup_time": 0.2,
    "machine_options": [{"machine_id": 42, "processing_time": 1.5, "setup_time": None}],
    "release_at": "2025-07-22T14:00:00+08:00",
    "deadline_at": "9999-12-31T00:00:00",
    "weight": 2.5,
    "interruptible": False,
    "setup_group": "red",
    "pinned": {"machine_id": 42, "start_datetime": "2025-07-22T14:00:00"},
    "requires_all_machines": [42, 43],
}
"""A job with every field of the wire."""


def job_document(job_id: str = "JOAW001", **changes: Any) -> dict[str, Any]:
    """A job with all fields, as it is stored."""
    return JobRequest.model_validate(job(job_id, **changes)).model_dump(mode="json", by_alias=True)


def machine_document(machine_id: int = 42, **changes: Any) -> dict[str, Any]:
    """A machine with all fields, as it is stored."""
    return MachineRequest.model_validate(machine(machine_id, **changes)).model_dump(mode="json", by_alias=True)


def plant(**changes: Any) -> PlantData:
    """One machine, one pending job and no calendar of its own."""
    return PlantData.model_validate({"machines": [machine()], "jobs": [job()], "calendar": None} | changes)
