"""Warm means that no request waits for the compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import gc, sys
from dataclasses import replace
from pathlib import Path
from numba.core.registry import CPUDispatcher
from deployments.commands.demo import EXAMPLE
from deployments.commands.solve import read_problem
from models.search.warm_up import warm_policy, warm_rules
from env.simulator.rules import Rule, dispatch
from env.problem import Objective
from models.policy.artefact import PUBLISHED, load_predictor
from models.search.anytime import search

def compiled():
    found = (item for item in gc.get_objects() if isinstance(item, CPUDispatcher))
    names = ((item.py_func.__module__, item.py_func.__name__, len(item.overloads)) for item in found)
    return {(room, name): count for room, name, count in names if room.startswith(("env.", "models."))}

predictor = load_predictor(PUBLISHED)
warm_rules()
warm_policy(predictor)
before = compiled()
plain, special = read_problem(EXAMPLE)[0], read_problem(Path(sys.argv[1]))[0]
dispatch(plain, Rule.PLANNER)
for objective in Objective:
    for problem in (plain, special):
        search(predictor, replace(problem, objective=objective), 0, iterations=200)
        search(predictor, replace(problem, objective=objective), 50)
print(sorted(name for name, count in compiled().items() if before.get(name, 0) != count))
"""


@pytest.mark.system
def test_nothing_is_compiled_after_warming(pytestconfig: pytest.Config) -> None:
    """A process that is warm searches any problem, by the clock or by moves, without compiling or loading code."""
    every_feature = pytestconfig.rootpath / "tests" / "data" / "all_features.json"
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(every_feature)],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert run.stdout.strip() == "[]"
