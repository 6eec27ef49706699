"""Applications whose shadow arm hangs or dies, to see what the served path notices of it.

`python -m loadtests.faulty hanging` or `dying` is that arm: it starts as the shadow process does, then fails.
"""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

import os
import sys
import time
from collections.abc import Callable

from ray.serve import Application

from deployments.app import compose
from deployments.runtime.worker_process import answer_parent
from deployments.serve.policy import PPOPolicy
from deployments.serve.shadow import ShadowArm, prepared
from deployments.settings.serve_config import AppArgs

LONGER_THAN_ANYBODY_WAITS_SECONDS = 3600.0


class HangingCounterfactual(ShadowArm):
    """Its process never answers."""

    program = ("loadtests.faulty", "hanging")


class CrashingCounterfactual(ShadowArm):
    """Its process dies of every request."""

    program = ("loadtests.faulty", "dying")


def build_hanging(args: AppArgs) -> Application:
    """The application whose shadow arm hangs."""
    return compose(PPOPolicy, args, counterfactual=HangingCounterfactual)


def build_crashing(args: AppArgs) -> Application:
    """The application whose shadow arm kills the process that computes it."""
    return compose(PPOPolicy, args, counterfactual=CrashingCounterfactual)


def hanging() -> Callable[[bytes], bytes]:
    """Ready like the real one, and never answers."""
    prepared()

    def hang(_: bytes) -> bytes:
        time.sleep(LONGER_THAN_ANYBODY_WAITS_SECONDS)
        return b""

    return hang


def dying() -> Callable[[bytes], bytes]:
    """Ready like the real one, and dies of every question."""
    prepared()

    def die(_: bytes) -> bytes:
        os._exit(1)

    return die


if __name__ == "__main__":
    answer_parent({"hanging": hanging, "dying": dying}[sys.argv[1]])
