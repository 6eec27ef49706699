"""The rollout's trail and report, from the rows of the database."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError

from deployments.contracts.requests.wire import InstantOrDay, in_zone
from deployments.errors import RolloutUnavailable
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.rollout.analysis.outcomes import MissingPair
from deployments.rollout.analysis.recomputations import Recomputation
from deployments.rollout.analysis.sample_ratio import AssignedUnit, audit
from deployments.rollout.assignment import ArmRole, PlanningWindow, assign, planning_window
from deployments.rollout.ramp.stages import since_same_arms
from deployments.rollout.ramp.state import RampConfiguration, RolloutState, Transition
from deployments.rollout.report.arm_figures import Rating, RealisedJob
from deployments.rollout.report.goals import Goal
from deployments.rollout.report.report import Records, RolloutReport, report_of
from deployments.rollout_control.database_sync import evaluation_of, paired_rows, readable_rows
from deployments.rollout_control.protocol import BLOCKED, DRY_RUN
from deployments.rollout_control.transition_log import transition_of
from deployments.runtime.background import Threads

MAX_EVENTS = 200
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_RETRY_AFTER_SECONDS = 5


class RolloutTrail:
    """Nothing here is on the path of a request or of a guardrail. Raises `DatabaseError` or `Overloaded`."""

    def __init__(
        self,
        rows: RolloutRows,
        configuration: Callable[[], RampConfiguration],
        goals: tuple[Goal, ...],
        zone: ZoneInfo,
        clock: Callable[[], datetime],
        threads: Threads,
        sampled_share: float = 1.0,
    ) -> None:
        self._threads = threads
        self._rows = rows
        self._configuration = configuration
        self._goals = goals
        self._zone = zone
        self._clock = clock
        self._sampled_share = sampled_share

    async def events(self, limit: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Transitions and incidents as plain JSON values, newest first."""

        def read() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
            found = self._rows.transitions(limit), self._rows.incidents(limit)
            return [_plain(row) for row in found[0]], [_plain(row) for row in found[1]]

        return await self._threads.run(read)

    async def integrity(self) -> tuple[str, ...]:
        """What makes the experiment of the present ramp doubtful; empty when nothing does."""

        def read() -> tuple[str, ...]:
            transitions = self._transitions()
            if not transitions:
                return ()
            state = transitions[-1].state
            rows = self._rows.assignments(_begin_of_ramp(transitions))
            findings = audit(_assigned(row, state) for row in rows if row["ramp"] == state.ramp).findings
            return (*findings, *self._blocked(transitions))

        return await self._threads.run(read)

    async def report(self, since: datetime | None) -> RolloutReport:
        """On the present ramp and its arms; `since` begins the period of the figures by arm.

        Raises `RolloutUnavailable`.
        """
        return await self._threads.run(self._report, since)

    def _blocked(self, transitions: list[Transition]) -> Iterator[str]:
        """Guardrails that fired in this ramp without a rollback, in whichever service."""
        ramp = transitions[-1].state.ramp
        first_version = min(each.version for each in transitions if each.state.ramp == ramp)
        for row in self._rows.incidents():
            if row["rollout_version"] >= first_version and row["action"] in (BLOCKED, DRY_RUN):
                yield f"{row['trigger']} has fired in this ramp: {row['action']}"

    def _report(self, since: datetime | None) -> RolloutReport:
        transitions = self._transitions()
        if not transitions:
            message = "there is no rollout to report on yet: the database has no transition"
            raise RolloutUnavailable(message, _RETRY_AFTER_SECONDS)
        state, begun_at = transitions[-1].state, min(each.at for each in since_same_arms(transitions))
        start = begun_at if since is None else min(since, begun_at)
        records = readable_rows(self._rows.evaluations(start))
        paired = paired_rows(records, champion=state.champion, seed=state.seed, sampled_share=self._sampled_share)
        feedback = list(last_words(self._rows.feedback(start)))
        return report_of(
            Records(
                at=self._clock(),
                state=state,
                configuration=self._configuration(),
                since=since,
                transitions=transitions,
                evaluations=[found for record in records if (found := evaluation_of(record)) is not None],
                missing=[each for each in paired if isinstance(each, MissingPair)],
                recomputations=[each for each in paired if isinstance(each, Recomputation)],
                assignments=[_assigned(row, state) for row in self._rows.assignments(start)],
                jobs=list(self._jobs(feedback)),
                ratings=list(_ratings(feedback)),
                goals=self._goals,
            )
        )

    def _transitions(self) -> list[Transition]:
        return [transition_of(row) for row in reversed(self._rows.transitions(MAX_EVENTS))]

    def _jobs(self, feedback: Iterable[Mapping[str, Any]]) -> Iterator[RealisedJob]:
        for row in feedback:
            completions = json.loads(row["actual_completions"])
            planned = _planned_rows(row["answer"]) if completions else {}
            asked = _asked_jobs(row["request"]) if completions else {}
            for each in completions:
                job = planned.get(each["job_id"])
                if job is not None:
                    yield self._job(row, each, job, asked.get(job.job_id))

    def _job(
        self, row: Mapping[str, Any], actual: Mapping[str, str], job: _PlannedRow, asked: _Job | None
    ) -> RealisedJob:
        due, released = (None, None) if asked is None else (asked.lcd_date, asked.release_at)
        return RealisedJob(
            unit=row["unit"],
            at=row["created_at"],
            stage=row["stage"],
            share=row["share"],
            arm=_role(row["role"]),
            job_id=job.job_id,
            completed_at=datetime.fromisoformat(actual["completed_at"]),
            planned_end_at=in_zone(job.end_datetime, self._zone),
            due_at=None if due is None else in_zone(due, self._zone),
            begun_under=self._begun_under(row, job),
            released_at=None if released is None else in_zone(released, self._zone),
            begins_after_hours=self._begins_after_hours(row, job),
        )

    def _begins_after_hours(self, row: Mapping[str, Any], job: _PlannedRow) -> float | None:
        """From the begin of the window's day, by the clock of the plant."""
        own = planning_window(row["unit"])
        if own is None:
            return None
        begin = datetime.combine(own.day, time(), self._zone)
        return (in_zone(job.start_datetime, self._zone) - begin).total_seconds() / 3600.0

    def _begun_under(self, row: Mapping[str, Any], job: _PlannedRow) -> ArmRole | None:
        """The arm of the window in which the job was to begin; None for units that a client chose."""
        own = planning_window(row["unit"])
        if own is None:
            return None
        day = in_zone(job.start_datetime, self._zone).astimezone(self._zone).date()
        window = PlanningWindow(plant_id=own.plant_id, line_id=own.line_id, day=day)
        return assign(window, seed=row["seed"], share=row["share"], stage=row["stage"]).arm


class _PlannedRow(BaseModel):
    job_id: str
    start_datetime: datetime
    end_datetime: datetime


class _Answer(BaseModel):
    scheduled_jobs: list[_PlannedRow]


class _Job(BaseModel):
    job_id: str
    lcd_date: InstantOrDay | None = None
    release_at: InstantOrDay | None = None


class _Request(BaseModel):
    jobs: list[_Job]


def _begin_of_ramp(transitions: list[Transition]) -> datetime:
    """When the present ramp began, as far as the rows go back."""
    ramp = transitions[-1].state.ramp
    return min((each.at for each in transitions if each.state.ramp == ramp), default=_FIRST)


def _assigned(row: Mapping[str, Any], state: RolloutState) -> AssignedUnit:
    champions = {ArmRole.MANUAL.value, state.champion}
    return AssignedUnit(
        unit=row["unit"],
        at=row["created_at"],
        ramp=row["ramp"],
        stage=row["stage"],
        share=row["share"],
        bucket=row["bucket"],
        seed=row["seed"],
        hash_version=row["hash_version"],
        arm=ArmRole.MANUAL if row["arm"] in champions else ArmRole.PPO,
        job_list=row["job_list_sha256"],
    )


def last_words(feedback: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Feedback rows, oldest first, without what their author took back: a rating or a job said again counts once.

    An author is known by the name of the key; what was stored without one is its client's.
    """
    said: set[tuple[str, str, str | None]] = set()

    def is_new(row: Mapping[str, Any], job_id: str | None) -> bool:
        word = (row["decision_id"], row["author"] or row["client"], job_id)
        is_last = word not in said
        said.add(word)
        return is_last

    kept = []
    for row in reversed(feedback):
        rating = row["rating"] if row["rating"] is not None and is_new(row, None) else None
        completions = [each for each in json.loads(row["actual_completions"]) if is_new(row, each["job_id"])]
        kept.append({**row, "rating": rating, "actual_completions": json.dumps(completions)})
    yield from reversed(kept)


def _ratings(feedback: Iterable[Mapping[str, Any]]) -> Iterator[Rating]:
    for row in feedback:
        if row["rating"] is not None:
            yield Rating(at=row["created_at"], stage=row["stage"], arm=_role(row["role"]), rating=row["rating"])


def _role(role: str) -> ArmRole:
    return ArmRole.PPO if role == ArmRole.PPO.value else ArmRole.MANUAL


def _planned_rows(answer: bytes | None) -> dict[str, _PlannedRow]:
    found = _opened(answer, _Answer)
    return {} if found is None else {row.job_id: row for row in found.scheduled_jobs}


def _asked_jobs(request: bytes | None) -> dict[str, _Job]:
    found = _opened(request, _Request)
    return {} if found is None else {job.job_id: job for job in found.jobs}


def _opened(body: bytes | None, model: type[Any]) -> Any:
    """A stored body, None when it was not kept or is none: what nobody can read says nothing about an arm."""
    if body is None:
        return None
    try:
        return model.model_validate_json(zlib.decompress(body))
    except (ValidationError, zlib.error):
        return None


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
