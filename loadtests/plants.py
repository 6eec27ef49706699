"""Requests of generated plants. Locust is not imported here: it replaces threads, on which Ray would wait for ever."""

from __future__ import annotations

import random
import uuid
from typing import Any

JOB_COUNT = 170
_FAMILY_LENGTH = 5
_MACHINES_PER_TYPE = 3
_MACHINE_TYPE_COUNT = 7


def plant_request(rng: random.Random) -> dict[str, Any]:
    """One request of a generated plant: 34 families of five jobs on 21 machines of seven types."""
    return {
        "request_id": f"load-{uuid.uuid4()}",
        "schedule_start": "2026-01-05T06:30:00",
        "jobs": [_job(rng, family, sequence) for family in range(JOB_COUNT // _FAMILY_LENGTH) for sequence in range(5)],
        "machines": [
            {"machine_id": kind * 10 + index, "machine_name": f"M{kind}{index}", "machine_type": kind}
            for kind in range(1, _MACHINE_TYPE_COUNT + 1)
            for index in range(_MACHINES_PER_TYPE)
        ],
    }


def _job(rng: random.Random, family: int, sequence: int) -> dict[str, Any]:
    return {
        "job_id": f"F{family:02}-{sequence}",
        "family_id": f"F{family:02}",
        "sequence": sequence + 1,
        "processing_time": round(rng.uniform(0.2, 4.0), 2),
        "setup_time": 0.3,
        "machine_types": rng.sample(range(1, _MACHINE_TYPE_COUNT + 1), k=rng.choice((1, 1, 2))),
        "priority": rng.randint(1, 3),
        "is_important": rng.random() < 0.2,
        "lcd_date": f"2026-01-{rng.randint(7, 20):02}T18:00:00",
    }
