"""The application with a policy that fails as the request_id asks for."""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

import dataclasses
import datetime
import os

from ray.serve import Application

from deployments.app import compose
from deployments.rollout.model_registry import Artefact
from deployments.serve.controller import RolloutController
from deployments.serve.policy import PPOPolicy
from deployments.serve.serialization import decode, encode
from deployments.settings.serve_config import AppArgs
from deployments.settings.service import Settings
from env.problem import Problem
from env.schedule import Schedule

CRASH, DIE, INCOMPLETE, TOO_EARLY, LATE = "crash", "die", "incomplete", "early", "late"
LATE_SECONDS = 7200
DAYS_AHEAD = "days-ahead"


class FaultyPolicy(PPOPolicy):
    """The published policy, but for requests whose name begins with a fault."""

    def propose(
        self, payload: bytes, budget_ms: int, artefact: Artefact | None = None, threads: int | None = None
    ) -> bytes:
        """As the policy does it; or an exception, the end of this process, or a schedule that is wrong or late."""
        problem: Problem = decode(payload)
        fault = problem.name.split("-")[0]
        if fault == CRASH:
            raise RuntimeError("crashed as asked")
        if fault == DIE:
            os._exit(1)
        proposed = super().propose(payload, budget_ms, artefact, threads)
        if fault not in (INCOMPLETE, TOO_EARLY, LATE):
            return proposed
        proposal = decode(proposed)
        return encode(dataclasses.replace(proposal, schedule=_spoilt(proposal.schedule, fault)))


class PatientController(RolloutController):
    """Beside the controller of the shipped application, so with a journal of its own; rolls nothing back."""

    def settings(self) -> Settings:
        settings = super().settings()
        own = {"rollout_folder": settings.rollout_folder / "faulty", "rollout_dry_run": True}
        return settings.model_copy(update=own)


class SteppedController(RolloutController):
    """Its clock is ahead by as many days as the file `DAYS_AHEAD` in its folder says."""

    def settings(self) -> Settings:
        self._days = super().settings().rollout_folder / DAYS_AHEAD
        return super().settings()

    def now(self) -> datetime.datetime:
        days = int(self._days.read_text()) if self._days.exists() else 0
        return super().now() + datetime.timedelta(days=days)


def build_app(args: AppArgs) -> Application:
    """The application around the faulty policy, beside the shipped one."""
    return compose(FaultyPolicy, args, controller=PatientController)


def build_alone(args: AppArgs) -> Application:
    """The application around the faulty policy, with a controller that rolls back and whose clock can be set ahead."""
    return compose(FaultyPolicy, args, controller=SteppedController)


def _spoilt(schedule: Schedule, fault: str) -> Schedule:
    rows = schedule.assignments
    if fault == INCOMPLETE:
        rows = rows[:-1]
    elif fault == TOO_EARLY:
        rows = tuple(dataclasses.replace(row, start_seconds=-row.end_seconds) for row in rows)
    else:
        rows = tuple(
            dataclasses.replace(
                row, start_seconds=row.start_seconds + LATE_SECONDS, end_seconds=row.end_seconds + LATE_SECONDS
            )
            for row in rows
        )
    return Schedule(assignments=rows)
