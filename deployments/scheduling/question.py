"""From a request to the question that it asks: what it leaves to the database, and what it continues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from deployments.contracts.requests.schedule_request import ScheduleRequest
from deployments.contracts.translation.fixed_work import EarlierRow, earlier_rows
from deployments.contracts.translation.problem import Question, translate
from deployments.plants.completion import PlantData, completed
from deployments.rollout.assignment import PlanningWindow
from deployments.scheduling.ports import Archive
from deployments.scheduling.time_budget import OFFLOAD, run_blocking
from env.errors import InvalidProblem


class Plants(Protocol):
    """What is known of each plant."""

    async def read(self, plant_id: str, *, machines: bool, jobs: bool) -> PlantData:
        """The calendar of the plant, and its machines and pending jobs where they are asked for.

        Raises `PlantDataUnavailable` when they cannot be had now, `InvalidRequest` for rows that do not
        follow the schema.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRequest:
    """A request that lacks nothing, its JSON, and sentences about what the database had for it."""

    request: ScheduleRequest
    body: bytes
    warnings: tuple[str, ...] = ()


async def fill_from_plant(request: ScheduleRequest, body: bytes, *, plants: Plants, plant_id: str) -> CompleteRequest:
    """The request and its JSON, unchanged when it lacks nothing: only what needs the database waits for it.

    Raises `InvalidProblem` when the plant has no machines or no pending jobs, and as `Plants.read` does.
    """
    if not request.is_incomplete:
        return CompleteRequest(request=request, body=body)
    plant = await plants.read(plant_id, machines=request.machines is None, jobs=not request.jobs)

    def written() -> CompleteRequest:
        whole = completed(request, plant, plant_id)
        whole_body = whole.model_dump_json(by_alias=True, exclude_unset=True).encode()
        return CompleteRequest(request=whole, body=whole_body, warnings=plant.warnings)

    return await OFFLOAD.run(written)


class QuestionBuilder:
    """Translates requests of plants whose clocks show `zone`; `plant_id` is that of requests that name none."""

    def __init__(self, *, archive: Archive, plants: Plants, zone: ZoneInfo, plant_id: str) -> None:
        self._archive = archive
        self._plants = plants
        self._zone = zone
        self._plant_id = plant_id

    def plant_of(self, request: ScheduleRequest) -> str:
        """The plant that the request is about."""
        return request.plant_id or self._plant_id

    def unit_of(self, request: ScheduleRequest, question: Question) -> PlanningWindow | str:
        """What the arm of the request is assigned by: its planning window, or the unit that it names."""
        if request.experiment_unit is not None:
            return request.experiment_unit
        return PlanningWindow(plant_id=self.plant_of(request), line_id=request.line_id, day=question.start.date())

    async def completed(self, request: ScheduleRequest, body: bytes) -> CompleteRequest:
        """The request with what it leaves to the database. Raises as `fill_from_plant` does."""
        return await fill_from_plant(request, body, plants=self._plants, plant_id=self.plant_of(request))

    async def question(self, request: ScheduleRequest, client: str, now: datetime, body_bytes: int) -> Question:
        """What `request` asks when it arrives at `now`. Raises `InvalidProblem` or `DatabaseError`."""
        earlier = await self._earlier(request, client)
        return await run_blocking(body_bytes, translate, request, zone=self._zone, now=now, earlier=earlier)

    async def _earlier(self, request: ScheduleRequest, client: str) -> tuple[EarlierRow, ...] | None:
        """The rows of the schedule that the request continues, None when there are none to be had.

        Raises `InvalidProblem` when what is stored cannot be read.
        """
        if request.previous_schedule_id is None:
            return None
        record = await self._archive.get(request.previous_schedule_id, client)
        answer = None if record is None else record.answer
        if answer is None:
            return None
        try:
            return await run_blocking(len(answer), earlier_rows, answer)
        except ValueError as error:
            message = f"must have rows that can be read: {error}; leave it out to plan anew, or continue a later one"
            raise InvalidProblem([("previous_schedule_id", message)]) from error
