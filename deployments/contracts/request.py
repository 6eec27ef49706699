"""The body of `POST /schedule`. Fields that are not supported yet are part of the schema and refused when used."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from deployments.contracts.calendar import CalendarRequest
from deployments.contracts.wire import (
    Boolean,
    Hours,
    Identity,
    Instant,
    Integer,
    Number,
    ProcessingHours,
    Text,
    WireModel,
)
from env.problem import Objective

DEFAULT_SETUP_HOURS = 0.3
LONGEST_BUDGET_MS = 60_000
NOT_YET = "not supported yet"


class MachineStatus(StrEnum):
    """Whether a machine takes work: offline and maintenance take none, busy works after its current load."""

    AVAILABLE = "available"
    BUSY = "busy"
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"


class MachineOption(WireModel):
    """A machine that may do a job, with its own speed; absent times are those of the job."""

    machine_id: Identity
    processing_time: ProcessingHours | None = None
    setup_time: Hours | None = None


class Pin(WireModel):
    """A place and time that the planner has decided."""

    machine_id: Identity
    start_datetime: Instant


class JobRequest(WireModel):
    """One step of a family, done once on one machine. Times are hours."""

    job_id: Text
    family_id: Text | None = Field(None, description="jobs of one family are done in order of sequence")
    sequence: Integer = Field(1, ge=0, le=2**31 - 1)
    processing_time: ProcessingHours | None = Field(
        None, description="required unless each of machine_options has its own"
    )
    machine_types: list[Identity] = Field(
        default_factory=list, max_length=5_000, description="non-empty unless there are machine_options"
    )
    priority: Integer = Field(2, ge=1, le=3, description="1 high to 3 low")
    is_important: Boolean = False
    lcd_date: Instant | None = Field(None, description="due date; may be missed, which counts as tardiness")
    setup_time: Hours = DEFAULT_SETUP_HOURS
    machine_options: Annotated[list[MachineOption], Field(min_length=1, max_length=5_000)] | None = Field(
        None, description="overrides machine_types"
    )
    release_at: Instant | None = Field(None, description="when the material arrives")
    deadline_at: Instant | None = Field(None, description="a miss is a reported violation")
    weight: Number | None = Field(
        None, gt=0, le=1e6, description="of tardiness; default 4 when important, else 3, 2, 1 for priority 1, 2, 3"
    )
    interruptible: Boolean = Field(True, description="pauses over breaks; false: must fit between them")
    setup_group: Text | None = Field(None, description=NOT_YET)
    pinned: Pin | None = Field(None, description=NOT_YET)
    requires_all_machines: list[Identity] | None = Field(None, max_length=5_000, description=NOT_YET)


class MachineRequest(WireModel):
    """One machine of the plant."""

    machine_id: Identity
    machine_name: Annotated[str, StringConstraints(strict=True, max_length=200)] = ""
    machine_type: Identity | None = Field(None, description="which jobs it may do; see machine_types of a job")
    status: MachineStatus = MachineStatus.AVAILABLE
    current_load: Hours = Field(0.0, description="open hours until it can take new work")


class SetupTransition(WireModel):
    """Hours to change a machine over from one setup group to another."""

    from_: Text = Field(alias="from")
    to: Text
    hours: Hours


class ManualRow(WireModel):
    """One row of the planner's own plan."""

    job_id: Text
    machine_id: Identity
    start_datetime: Instant


class ScheduleRequest(WireModel):
    """A plant's list of jobs, to be scheduled."""

    jobs: list[JobRequest] = Field(
        description="an empty list means the plant's pending jobs, which is not supported yet"
    )
    machines: list[MachineRequest] | None = Field(
        None, description="absent means the plant's machines, which is not supported yet"
    )
    schedule_start: Instant | None = Field(None, description="now when absent; rounded up to a whole second")
    respect_break_times: Boolean = Field(True, description="false drops the whole weekly calendar")
    respect_holidays: Boolean = True
    optimization_objective: Objective = Objective.MAKESPAN
    request_id: Text | None = Field(None, description="the client's own number, returned with the answer")
    save_to_database: Boolean = Field(True, description="false: the decision is kept, its payload is not")
    time_budget_ms: Integer = Field(0, ge=0, le=LONGEST_BUDGET_MS, description="0: policy pass only")
    calendar: CalendarRequest | None = None
    plant_id: Text | None = None
    line_id: Text | None = None
    experiment_unit: Text | None = Field(None, description="what the arm is assigned by; scope operate")
    setup_matrix: list[SetupTransition] | None = Field(None, max_length=100_000, description=NOT_YET)
    freeze_until: Instant | None = Field(None, description=NOT_YET)
    previous_schedule_id: Text | None = Field(None, description=NOT_YET)
    manual_schedule: list[ManualRow] | None = Field(None, description=NOT_YET)
    arm: Text | None = Field(None, description=f"scope operate; {NOT_YET}")
    parent_schedule_id: Text | None = Field(None, description=NOT_YET)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "jobs": [
                        {
                            "job_id": "JOAW001",
                            "family_id": "FAM001",
                            "sequence": 1,
                            "processing_time": 2.5,
                            "machine_types": [1, 2, 3],
                            "priority": 2,
                            "is_important": True,
                            "lcd_date": "2025-07-25T00:00:00",
                            "setup_time": 0.3,
                        }
                    ],
                    "machines": [{"machine_id": 42, "machine_name": "CM03", "machine_type": 2, "current_load": 5.5}],
                    "schedule_start": "2025-07-22T14:00:00",
                }
            ]
        }
    )


_REQUEST_FIELDS_TO_COME = (
    "setup_matrix",
    "freeze_until",
    "previous_schedule_id",
    "manual_schedule",
    "arm",
    "parent_schedule_id",
)
_JOB_FIELDS_TO_COME = ("setup_group", "pinned", "requires_all_machines")


def unsupported(request: ScheduleRequest) -> Iterator[tuple[str, str]]:
    """(field, message) of everything in the request that the schema knows and the service cannot do yet."""
    if not request.jobs:
        yield "jobs", f"must not be empty: the plant's pending jobs from the database are {NOT_YET}"
    if not request.machines:
        yield "machines", f"must be a non-empty list: the plant's machines from the database are {NOT_YET}"
    for name in _REQUEST_FIELDS_TO_COME:
        if getattr(request, name):
            yield name, f"is {NOT_YET}"
    for index, job in enumerate(request.jobs):
        for name in _JOB_FIELDS_TO_COME:
            if getattr(job, name):
                yield f"jobs[{index}].{name}", f"is {NOT_YET}"
    if request.calendar is not None and request.calendar.country is not None:
        yield "calendar.country", f"is {NOT_YET}; list the days under calendar.holidays"
