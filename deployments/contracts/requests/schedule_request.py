"""The body of `POST /schedule`, the calendar of its plant included."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from deployments.contracts.requests.wire import (
    Boolean,
    FreeText,
    Hours,
    Identity,
    Instant,
    InstantOrDay,
    Integer,
    Number,
    ProcessingHours,
    Text,
    WireModel,
    written_as,
)
from env.problem import EVERY_DAY, Objective, WeeklyBreak

_CLOCK = r"([01]\d|2[0-3]):[0-5]\d"
_CLOSING = f"({_CLOCK}|24:00)"
_COUNTRY = "[A-Z]{2}"
_A_TIME = "a time of day such as 09:45"
ClockTime = Annotated[str, StringConstraints(strict=True, pattern=f"^{_CLOCK}$"), written_as(_CLOCK, _A_TIME)]
ClosingTime = Annotated[str, StringConstraints(strict=True, pattern=f"^{_CLOSING}$"), written_as(_CLOSING, _A_TIME)]
Country = Annotated[
    str,
    StringConstraints(strict=True, pattern=f"^{_COUNTRY}$"),
    written_as(_COUNTRY, "an ISO 3166 code of two capital letters"),
]
DEFAULT_SETUP_HOURS = 0.3
IMPORTANT_WEIGHT = 12.0
"""As much as four urgent jobs: an important one is late only where it cannot be helped."""
DEFAULT_BUDGET_MS = 750
"""Enough for under 45 h on the reference plants; several such requests at once are answered within two seconds."""
DEFAULT_STABILITY_HOURS = 5.0
MAX_MACHINES_HELD = 100
MAX_MANUAL_ROWS = 40_000


class Day(StrEnum):
    """Days of the week, Monday first."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


_WEEKDAYS = {day: index for index, day in enumerate(Day)}


class BreakRequest(WireModel):
    """Closed hours on each of `days` by the plant's clock. An `end` not after `start` lies on the next day."""

    misnomers: ClassVar = {"start": "from begin starttime", "end": "to until endtime"}

    name: FreeText = ""
    start: ClockTime
    end: ClosingTime
    days: Annotated[list[Day], Field(min_length=1, max_length=7)] | None = Field(
        None, description="days on which the break begins; every day when absent"
    )

    def to_domain(self) -> WeeklyBreak:
        return WeeklyBreak(
            name=self.name,
            start=time.fromisoformat(self.start),
            end=time.fromisoformat("00:00" if self.end == "24:00" else self.end),
            weekdays=EVERY_DAY if self.days is None else frozenset(_WEEKDAYS[day] for day in self.days),
        )


class UnavailableRequest(WireModel):
    """One machine does not work from `from` (inclusive) to `to` (exclusive)."""

    misnomers: ClassVar = {"from": "start begin startdatetime", "to": "end until enddatetime"}

    from_: Instant = Field(alias="from")
    to: Instant
    reason: FreeText = ""


class MachineCalendarRequest(WireModel):
    """When one machine is unavailable beside the plant's calendar."""

    not_supported_yet: ClassVar = frozenset({"openings"})
    misnomers: ClassVar = {"machine_id": "machine id", "unavailable": "closures closed closings downtime outages"}

    machine_id: Identity
    unavailable: list[UnavailableRequest] = Field(default_factory=list, max_length=10_000)


class CalendarRequest(WireModel):
    """The plant's calendar for this request; what is absent comes from the default calendar."""

    not_supported_yet: ClassVar = frozenset({"openings"})

    breaks: list[BreakRequest] | None = Field(
        None, max_length=1000, description="replaces the default weekly calendar, nights and weekends included"
    )
    holidays: list[date] = Field(default_factory=list, max_length=10_000)
    country: Country | None = Field(
        None, description="its public holidays close the plant too; ISO 3166 code of two letters"
    )
    machines: list[MachineCalendarRequest] = Field(default_factory=list, max_length=5_000)


class MachineStatus(StrEnum):
    """Whether a machine takes work: offline and maintenance take none, busy works after its current load."""

    AVAILABLE = "available"
    BUSY = "busy"
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"


class MachineOption(WireModel):
    """A machine that may do a job, with its own speed; absent times are those of the job."""

    misnomers: ClassVar = {"machine_id": "machine id", "processing_time": "duration time hours", "setup_time": "setup"}

    machine_id: Identity
    processing_time: ProcessingHours | None = None
    setup_time: Hours | None = None


class PinRequest(WireModel):
    """A place and time that the planner has decided; work that began before schedule_start is already running."""

    misnomers: ClassVar = {"machine_id": "machine id", "start_datetime": "start at from begin starttime"}

    machine_id: Identity
    start_datetime: Instant


class JobRequest(WireModel):
    """One step of a family, done once on one machine. Times are hours."""

    not_supported_yet: ClassVar = frozenset(
        {"predecessors", "lag_hours", "max_wait_hours", "crew", "preferred_machine_id"}
    )
    misnomers: ClassVar = {
        "job_id": "id name job jobname jobno jobnumber task taskid",
        "family_id": "order orderid orderno ordernumber workorder workorderid productionorder lot batch parent",
        "sequence": "step stepno position op opno operation operationno operationnumber routing",
        "processing_time": "duration durationhours time hours runtime worktime cycletime length",
        "machine_types": "type types workcenter workcentre workcenters workcentres skill capability",
        "machine_options": "machine machineid machines machineids resource resources eligiblemachines alternatives",
        "priority": "prio urgency rank",
        "is_important": "important vip critical",
        "lcd_date": "due duedate dueat duetime duedatetime lcd deliverydate delivery shipdate promisedate enddate "
        "deadline deadlinedate requireddate requiredby needby finishby",
        "setup_time": "setup setuphours changeover changeovertime",
        "release_at": "release releasedate releasetime start starttime startdate startat earlieststart availableat "
        "availablefrom materialat arrival",
        "weight": "tardinessweight importance penalty",
        "interruptible": "preemptive preemptible splittable",
        "setup_group": "setupfamily changeovergroup tool",
        "pinned": "fixed pin locked frozen",
    }

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
    lcd_date: InstantOrDay | None = Field(
        None,
        description="due date; may be missed, which counts as tardiness. A date without a time is the end of that day",
    )
    setup_time: Hours = DEFAULT_SETUP_HOURS
    machine_options: Annotated[list[MachineOption], Field(min_length=1, max_length=5_000)] | None = Field(
        None, description="overrides machine_types"
    )
    release_at: Instant | None = Field(
        None, description="when the material arrives; a date without a time is its beginning"
    )
    deadline_at: InstantOrDay | None = Field(
        None,
        description="missed only where it cannot be helped; a miss is a reported violation. A date without a time is "
        "the end of that day",
    )
    weight: Number | None = Field(
        None,
        gt=0,
        le=1e6,
        description=f"of tardiness; default {IMPORTANT_WEIGHT:g} when important, else 3, 2, 1 for priority 1, 2, 3",
    )
    interruptible: Boolean = Field(True, description="pauses over breaks; false: must fit between them")
    setup_group: Text | None = Field(None, description="what setup_matrix changes a machine over from and to")
    pinned: PinRequest | None = Field(None, description="the job starts there and then, and must not move")
    requires_all_machines: list[Identity] | None = Field(
        None,
        max_length=MAX_MACHINES_HELD,
        description="machines held together, the one that does the work first; overrides machine_types",
    )


class MachineRequest(WireModel):
    """One machine of the plant."""

    not_supported_yet: ClassVar = frozenset({"hours", "capacity", "setup_group", "area"})
    misnomers: ClassVar = {
        "machine_id": "id machine number machineno",
        "machine_name": "name description",
        "machine_type": "type types kind group workcenter workcentre",
        "status": "state availability available online",
        "current_load": "load workload busy busyhours queue",
    }

    machine_id: Identity
    machine_name: Annotated[str, StringConstraints(strict=True, max_length=200)] = ""
    machine_type: Identity | None = Field(None, description="which jobs it may do; see machine_types of a job")
    status: MachineStatus = MachineStatus.AVAILABLE
    current_load: Hours = Field(0.0, description="open hours until it can take new work")


class SetupTransition(WireModel):
    """Hours to change a machine over from one setup group to another."""

    not_supported_yet: ClassVar = frozenset({"machine_type", "machine_id"})
    misnomers: ClassVar = {"hours": "time setuptime duration", "from": "before source", "to": "after target"}

    from_: Text = Field(alias="from")
    to: Text
    hours: Hours


class ManualRow(WireModel):
    """One row of the planner's own plan."""

    misnomers: ClassVar = {
        "job_id": "id job",
        "machine_id": "machine resource",
        "start_datetime": "start starttime begin",
    }

    job_id: Text
    machine_id: Identity
    start_datetime: Instant


class ScheduleRequest(WireModel):
    """A plant's list of jobs, to be scheduled."""

    not_supported_yet: ClassVar = frozenset({"crews", "transport_matrix", "preference_weight", "timing"})
    misnomers: ClassVar = {
        "jobs": "orders operations tasks joblist workorders",
        "machines": "resources workcenters workcentres machinelist",
        "schedule_start": "start startdate starttime startat begin from horizonstart now",
        "optimization_objective": "objective goal target optimize optimise criterion",
        "time_budget_ms": "budget timelimit timeout budgetms",
        "calendar": "shifts shift workinghours breaks holidays calendars",
        "plant_id": "plant site factory",
        "line_id": "line",
        "setup_matrix": "setups changeovers setuptimes",
        "stability_weight": "stability calm",
        "freeze_until": "freeze frozenuntil frozenhorizon",
        "previous_schedule_id": "previous previousschedule previousplan replanof",
        "manual_schedule": "plan manualplan",
    }

    jobs: list[JobRequest] = Field(description="an empty list means the plant's pending jobs from the database")
    machines: Annotated[list[MachineRequest], Field(min_length=1)] | None = Field(
        None, description="absent means the plant's machines from the database"
    )
    schedule_start: Instant | None = Field(None, description="now when absent; rounded up to a whole second")
    respect_break_times: Boolean = Field(True, description="false drops the whole weekly calendar")
    respect_holidays: Boolean = True
    optimization_objective: Objective | None = Field(
        None, description="balanced when absent and any job has an lcd_date, else makespan"
    )
    request_id: Text | None = Field(None, description="the client's own number, returned with the answer")
    save_to_database: Boolean = Field(True, description="false: the decision is kept, its payload is not")
    time_budget_ms: Integer = Field(
        DEFAULT_BUDGET_MS,
        ge=0,
        description="buys a better plan; 0: policy pass only; more than 10,000 is cut to that, with a warning",
    )
    calendar: CalendarRequest | None = None
    plant_id: Text | None = None
    line_id: Text | None = None
    experiment_unit: Text | None = Field(None, description="what the arm is assigned by; scope operate")
    setup_matrix: list[SetupTransition] | None = Field(
        None, max_length=100_000, description="replaces setup_time between jobs with a setup_group"
    )
    stability_weight: Hours = Field(
        DEFAULT_STABILITY_HOURS,
        description="hours of the objective that each job costs which leaves its place in previous_schedule_id; "
        "what is given is obeyed, while the default never makes a plan far worse than planning anew",
    )
    freeze_until: Instant | None = Field(
        None,
        description="what starts earlier in the schedule previous_schedule_id keeps its place where it can; "
        "default schedule_start",
    )
    previous_schedule_id: Text | None = Field(None, description="the schedule to continue; required by freeze_until")
    manual_schedule: list[ManualRow] | None = Field(
        None, max_length=MAX_MANUAL_ROWS, description="the planner's own plan: the manual arm, if the judge accepts it"
    )
    arm: Text | None = Field(
        None, description="ppo, manual or a model id; scope operate; forced, left out of the statistics"
    )
    parent_schedule_id: Text | None = Field(
        None, description="the schedule that this request is a what-if copy of; see /v1/schedules/{id}/compare/{other}"
    )

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

    @property
    def is_incomplete(self) -> bool:
        """Whether it leaves its machines or its jobs to the plant's data."""
        return self.machines is None or not self.jobs

    @property
    def objective(self) -> Objective:
        """What is asked for; where nothing is said, due dates count if there are any."""
        if self.optimization_objective is not None:
            return self.optimization_objective
        has_due_dates = any(job.lcd_date is not None for job in self.jobs)
        return Objective.BALANCED if has_due_dates else Objective.MAKESPAN


_SAID_TWICE = "both entries say the same: was a row sent twice?"


def cause_of_repeated_job(first: JobRequest, second: JobRequest) -> str:
    """What the sender of two jobs with one `job_id` probably meant, and how to say it."""
    if first == second:
        return _SAID_TWICE
    if first.family_id != second.family_id:
        return "job_id must be unique in the whole request, not only in its family: put family_id in front of it"
    return "if they are steps of one order, each needs a job_id of its own, and all the order as family_id"


def cause_of_repeated_sequence(first: JobRequest, second: JobRequest) -> str:
    """The same for two jobs of one family with one `sequence`."""
    if first == second:
        return _SAID_TWICE
    if not all("sequence" in job.model_fields_set for job in (first, second)):
        return f"a job without a sequence has {first.sequence}: number the steps of a family"
    return (
        "if they are ways to do one step, they are one job with machine_options; if both are done, number them, "
        "or leave out family_id where their order does not matter"
    )


def cause_of_repeated_machine(first: MachineRequest, second: MachineRequest) -> str:
    """The same for two machines with one `machine_id`."""
    if first == second:
        return _SAID_TWICE
    if first.machine_type != second.machine_type:
        return "a machine has one machine_type: jobs of another type name the machine in machine_options"
    return "a machine is one entry, with what is true of it at schedule_start"


def incomplete(request: ScheduleRequest) -> Iterator[tuple[str, str]]:
    """(field, message) of what only the plant's own data could fill in."""
    if not request.jobs:
        yield "jobs", "must not be empty: only the service knows the plant's pending jobs"
    if not request.machines:
        yield "machines", "must be a non-empty list: only the service knows the plant's machines, if it is absent"
