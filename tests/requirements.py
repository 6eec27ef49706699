"""What some tests need beside the project. Where it is missing they do not run, and fail if `GANTRY_REQUIRE` names it.

| name | what is meant |
|---|---|
| benchmarks | public instances and workloads: `tests.benchmark_data` says where |
| bubblewrap | the command `bwrap` |
| chromium | the command `chromium`, and Playwright for Python, which drives it |
| logrotate | the command `logrotate` |
| mariadb | a MariaDB server, given or of our own: `tests.system.mariadb` says how |
| nftables | the command `nft` |
| nginx | the command `nginx` |
| prometheus | the commands `prometheus` and `promtool` |
| systemd | the command `systemd-analyze`; systemd need not run |
| train | the extra `train` of the package: without it no test runs that trains, so none at all where it is required |
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import NoReturn

import pytest

VARIABLE = "GANTRY_REQUIRE"
NAMES = (
    *("benchmarks", "bubblewrap", "chromium", "logrotate", "mariadb", "nftables", "nginx", "prometheus", "systemd"),
    "train",
)
TRAINING_EXTRA = ("torch", "stable_baselines3", "sb3_contrib", "matplotlib")


def required() -> frozenset[str]:
    """The names in `GANTRY_REQUIRE`. Raises `pytest.UsageError` for one that nothing here has."""
    found = frozenset(os.environ.get(VARIABLE, "").replace(",", " ").split())
    if unknown := sorted(found - set(NAMES)):
        raise pytest.UsageError(f"{VARIABLE} must name some of {', '.join(NAMES)}, had {', '.join(unknown)}")
    return found


def not_run(name: str, reason: str) -> NoReturn:
    """The calling test cannot run here for want of `name`; it fails where it must run."""
    if name in required():
        pytest.fail(f"required, but cannot run: {reason}")
    pytest.skip(f"not run: {reason}")


def require_extra(modules: Iterable[str] = TRAINING_EXTRA) -> None:
    """Raises `pytest.UsageError` where the extra `train` is required and not there: whole modules would not run."""
    missing = [module for module in modules if find_spec(module) is None] if "train" in required() else []
    if missing:
        raise pytest.UsageError(f"required, but cannot run: the extra 'train' must be installed, had no {missing[0]}")
