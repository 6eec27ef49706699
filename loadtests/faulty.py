"""Applications whose shadow arm hangs or dies, to see what the served path notices of it."""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

from ray.serve import Application

from deployments.app import compose
from deployments.serve.policy import PPOPolicy
from deployments.serve.shadow import ShadowArm
from deployments.settings.serve_config import AppArgs


class HangingCounterfactual(ShadowArm):
    """Its process never answers."""

    program = ("loadtests.faulty_arm", "hanging")


class CrashingCounterfactual(ShadowArm):
    """Its process dies of every request."""

    program = ("loadtests.faulty_arm", "dying")


def build_hanging(args: AppArgs) -> Application:
    """The application whose shadow arm hangs."""
    return compose(PPOPolicy, args, counterfactual=HangingCounterfactual)


def build_crashing(args: AppArgs) -> Application:
    """The application whose shadow arm kills the process that computes it."""
    return compose(PPOPolicy, args, counterfactual=CrashingCounterfactual)
