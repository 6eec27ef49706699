"""Applications whose counterfactuals hang or die, to see what the served path notices of it."""

# No `from __future__ import annotations` here, for the reason that deployments.app gives.

import os
import time
from typing import Any

from ray.serve import Application

from deployments.app import compose
from deployments.arguments import AppArgs
from deployments.counterfactual import Counterfactual
from deployments.policy import PPOPolicy


class _Hanging:
    def compute(self, work: Any) -> Any:
        """For as long as anybody waits, and then some."""
        time.sleep(work.limit_seconds + 60.0)


class _Deadly:
    def compute(self, _: Any) -> Any:
        """The end of the process."""
        os._exit(1)


class HangingCounterfactual(Counterfactual):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__()
        self._recomputer: Any = _Hanging()


class CrashingCounterfactual(Counterfactual):
    """Dies of every request."""

    def __init__(self) -> None:
        super().__init__()
        self._recomputer: Any = _Deadly()


def build_hanging(args: AppArgs) -> Application:
    """The application whose counterfactuals hang."""
    return compose(PPOPolicy, args, counterfactual=HangingCounterfactual)


def build_crashing(args: AppArgs) -> Application:
    """The application whose counterfactuals kill their replica."""
    return compose(PPOPolicy, args, counterfactual=CrashingCounterfactual)
