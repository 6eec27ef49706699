"""From a request to the question that it asks: what it leaves to the database, and what it continues."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from deployments.completing import Plants, complete
from deployments.contracts.freezing import EarlierRow, earlier_rows
from deployments.contracts.request import ScheduleRequest
from deployments.contracts.translation import Question, translate
from deployments.off_loop import off_loop
from deployments.ports import Archive
from deployments.rollout.assignment import PlanningWindow


class Questions:
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

    async def completed(self, request: ScheduleRequest, body: bytes) -> tuple[ScheduleRequest, bytes]:
        """The request with what it leaves to the database. Raises as `complete` does."""
        return await complete(request, body, plants=self._plants, plant_id=self.plant_of(request))

    async def question(self, request: ScheduleRequest, client: str, now: datetime, body_bytes: int) -> Question:
        """What `request` asks when it arrives at `now`. Raises `InvalidProblem` or `DatabaseError`."""
        earlier = await self._earlier(request, client)
        return await off_loop(body_bytes, lambda: translate(request, zone=self._zone, now=now, earlier=earlier))

    async def _earlier(self, request: ScheduleRequest, client: str) -> tuple[EarlierRow, ...] | None:
        """The rows of the schedule that the request continues, None when there are none to be had."""
        if request.previous_schedule_id is None:
            return None
        record = await self._archive.get(request.previous_schedule_id, client)
        answer = None if record is None else record.answer
        return None if answer is None else await off_loop(len(answer), lambda: earlier_rows(answer))
