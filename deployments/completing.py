"""A request that leaves machines or jobs to the database -> one that stands for itself.

What is stored with a decision is the completed request: plant data change, and a decision must tell
what it was about.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from deployments.contracts.plant_data import PlantData, completed, is_incomplete
from deployments.contracts.request import ScheduleRequest


class Plants(Protocol):
    """What is known of each plant."""

    async def read(self, plant_id: str, *, machines: bool, jobs: bool) -> PlantData:
        """The calendar of the plant, and its machines and pending jobs where they are asked for.

        Raises `PlantDataUnavailable` when they cannot be had now, `InvalidRequest` for rows that do not
        follow the schema.
        """
        ...


async def complete(
    request: ScheduleRequest, body: bytes, *, plants: Plants, plant_id: str
) -> tuple[ScheduleRequest, bytes]:
    """The request and its JSON, unchanged when it lacks nothing: only what needs the database waits for it.

    Raises `InvalidProblem` when the plant has no machines or no pending jobs, and as `Plants.read` does.
    """
    if not is_incomplete(request):
        return request, body
    plant = await plants.read(plant_id, machines=request.machines is None, jobs=not request.jobs)

    def written() -> tuple[ScheduleRequest, bytes]:
        whole = completed(request, plant, plant_id)
        return whole, whole.model_dump_json(by_alias=True, exclude_unset=True).encode()

    return await asyncio.to_thread(written)
