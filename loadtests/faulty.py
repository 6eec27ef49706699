"""Applications whose counterfactuals hang or die, to see what the served path notices of it."""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

from ray.serve import Application

from deployments.app import compose
from deployments.arguments import AppArgs
from deployments.counterfactual import Counterfactual
from deployments.policy import PPOPolicy


class HangingCounterfactual(Counterfactual):
    """Its process never answers."""

    program = ("loadtests.faulty_arm", "hanging")


class CrashingCounterfactual(Counterfactual):
    """Its process dies of every request."""

    program = ("loadtests.faulty_arm", "dying")


def build_hanging(args: AppArgs) -> Application:
    """The application whose counterfactuals hang."""
    return compose(PPOPolicy, args, counterfactual=HangingCounterfactual)


def build_crashing(args: AppArgs) -> Application:
    """The application whose counterfactuals kill the process that computes them."""
    return compose(PPOPolicy, args, counterfactual=CrashingCounterfactual)
