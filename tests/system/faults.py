"""The application with a policy that fails as the request_id asks for."""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

import dataclasses
import os

from ray.serve import Application

from deployments.app import compose
from deployments.arguments import AppArgs
from deployments.controller import RolloutController
from deployments.freight import pack, unpack
from deployments.policy import PPOPolicy
from deployments.registry import Artefact
from deployments.settings import Settings
from env.problem import Problem

CRASH, DIE, INCOMPLETE = "crash", "die", "incomplete"


class FaultyPolicy(PPOPolicy):
    """The published policy, but for requests that name a fault."""

    def propose(self, freight: bytes, budget_ms: int, artefact: Artefact | None = None) -> bytes:
        """As the policy does it; or an exception, the end of this process, or a schedule that lacks one job."""
        problem: Problem = unpack(freight)
        if problem.name == CRASH:
            raise RuntimeError("crashed as asked")
        if problem.name == DIE:
            os._exit(1)
        proposed = super().propose(freight, budget_ms, artefact)
        if problem.name != INCOMPLETE:
            return proposed
        proposal = unpack(proposed)
        schedule = dataclasses.replace(proposal.schedule, assignments=proposal.schedule.assignments[:-1])
        return pack(dataclasses.replace(proposal, schedule=schedule))


class PatientController(RolloutController):
    """Beside the controller of the shipped application, so with a journal of its own; rolls nothing back."""

    def settings(self) -> Settings:
        settings = super().settings()
        own = {"rollout_folder": settings.rollout_folder / "faulty", "rollout_dry_run": True}
        return settings.model_copy(update=own)


def build_app(args: AppArgs) -> Application:
    """The application around the faulty policy."""
    return compose(FaultyPolicy, args, controller=PatientController)
