"""Public benchmarks and workloads, read where they lie: they are not part of the project.

`GANTRY_BENCHMARKS` names the folder that holds `benchmarks/` and `workloads/`; without it the folder
`shared` beside the project is tried. Tests that need it are reported as not run where it is absent,
unless `GANTRY_REQUIRE` contains `benchmarks`: then they fail.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deployments.commands.bench import benchmark_sets


def data_folder() -> Path:
    """The folder of benchmarks and workloads; the calling test is skipped, or fails, without one."""
    folder = benchmark_sets.data_folder()
    if (folder / "benchmarks").is_dir() and (folder / "workloads").is_dir():
        return folder
    reason = f"not run: {folder} must hold benchmarks/ and workloads/, but does not: set GANTRY_BENCHMARKS"
    if "benchmarks" in os.environ.get("GANTRY_REQUIRE", ""):
        pytest.fail(reason)
    pytest.skip(reason)


def benchmark_files(name: str) -> dict[Path, float]:
    """Files of one public set, with the best-known makespan of each."""
    folder = data_folder() / "benchmarks"
    best = json.loads((folder / "best_known.json").read_text(encoding="utf-8"))[name]
    return {path: float(best[path.stem][1]) for path in sorted((folder / name).iterdir()) if path.stem in best}


def reference_files() -> list[Path]:
    """The ten plants of 170 jobs."""
    return sorted((data_folder() / "workloads" / "reference-170").glob("[0-9][0-9].json"))
