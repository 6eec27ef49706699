"""Memory that is given back: the program goes on as if nothing had happened."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deployments.errors import InvalidSettings
from deployments.local_cluster.service import ray_variables
from deployments.serve.process import MESSAGE_VARIABLE, release_start_up_memory, require_message_room
from deployments.settings.service import load_settings
from models.search.warm_up import compile_core

_LOADS_THE_COMPILER = """
import pathlib, llvmlite.binding
from deployments.serve.process import release_start_up_memory
def resident_megabytes():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssFile")) / 1000
before = resident_megabytes()
release_start_up_memory()
print(before - resident_megabytes())
"""


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_core_works_after_memory_was_released() -> None:
    """Pages that are needed after all are read again, so nothing but memory changes."""
    compile_core()
    release_start_up_memory()
    compile_core()


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages are clean")
def test_release_drops_the_code_of_the_compiler() -> None:
    """Most of what the loader of LLVM read, more than 30 MB, is not resident any more."""
    assert float(run(_LOADS_THE_COMPILER)) > 20


@pytest.mark.system
def test_collector_leaves_a_request_alone() -> None:
    """As many objects as a request of some hundred jobs makes are kept without a single search through them."""
    program = (
        "import gc; from deployments.serve.process import release_start_up_memory; release_start_up_memory();"
        "seen = []; gc.callbacks.append(lambda phase, info: seen.append(phase));"
        "kept = [[] for _ in range(9_000)]; print(len(seen))"
    )
    assert run(program) == "0"


@pytest.mark.system
def test_serve_does_without_pandas() -> None:
    """Ray Serve is whole when pandas is left out, and its import did not bring it in."""
    program = (
        "from deployments.serve.process import leave_out_unused; leave_out_unused(); import sys; from ray import serve;"
        "print(sys.modules['pandas'], hasattr(serve, 'run'))"
    )
    assert run(program) == "None True"


@pytest.mark.system
def test_scheduling_does_without_gymnasium() -> None:
    """A process that schedules never imports gymnasium; one that does finds the environment by its room."""
    program = (
        "import sys; from env.instances.generator import toy_problem; from env.simulator.rules import Rule, dispatch;"
        " print(dispatch(toy_problem(), Rule.SPT).makespan_seconds, 'gymnasium' in sys.modules)"
    )
    assert run(program) == "5 False"
    found = "import gymnasium; print(gymnasium.make('env.gym:gantry/FlexibleJobShop-v0').spec.id)"
    assert run(found) == "gantry/FlexibleJobShop-v0"


@pytest.mark.system
def test_rollout_controller_does_without_the_core() -> None:
    """It compares figures and names, so its replica neither loads policies nor the compiler behind them."""
    program = "import sys, deployments.serve.controller; print({'numba', 'models'} & set(sys.modules))"
    assert run(f"from deployments.serve.process import leave_out_unused; leave_out_unused(); {program}") == "set()"


@pytest.mark.system
def test_policy_does_without_the_words_of_the_wire() -> None:
    """A policy replica imports neither the contracts nor what only they need, so that it stays small."""
    unwanted = {"deployments.contracts", "holidays", "sqlalchemy"}
    program = f"import sys, deployments.serve.policy; print({unwanted} & set(sys.modules))"
    assert run(program) == "set()"


def test_bounds_of_bodies_and_messages_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Ray's own 4 MiB an acknowledged decision would never reach the writer; ours has room for any body."""
    settings = load_settings(_env_file=None)
    for name, value in ray_variables(8000).items():
        monkeypatch.setenv(name, value)
    require_message_room(settings)
    require_message_room(settings.model_copy(update={"max_body_bytes": 2**30}))
    monkeypatch.delenv(MESSAGE_VARIABLE)
    with pytest.raises(
        InvalidSettings, match=f"{MESSAGE_VARIABLE}: must be at least 61516458 for GANTRY_MAX_BODY_BYTES"
    ):
        require_message_room(settings)
    # Without gRPC between the replicas there is no bound.
    monkeypatch.delenv("RAY_SERVE_THROUGHPUT_OPTIMIZED")
    require_message_room(settings)
