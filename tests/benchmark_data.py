"""Public benchmarks and workloads, read where they lie: they are not part of the project.

`GANTRY_BENCHMARKS` names the folder that holds `benchmarks/` and `workloads/`; without it the folder
`shared` beside the project is tried.
"""

from __future__ import annotations

import json
from pathlib import Path

from deployments.commands.bench import benchmark_sets
from tests.requirements import not_run


def data_folder() -> Path:
    """The folder of benchmarks and workloads; without one the calling test does not run."""
    folder = benchmark_sets.data_folder()
    if not ((folder / "benchmarks").is_dir() and (folder / "workloads").is_dir()):
        not_run("benchmarks", f"{folder} must hold benchmarks/ and workloads/, but does not: set GANTRY_BENCHMARKS")
    return folder


def benchmark_folder(name: str) -> Path:
    """The folder of one public set; without it the calling test does not run."""
    folder = data_folder() / "benchmarks" / name
    if not folder.is_dir():
        not_run("benchmarks", f"{folder} must hold the set {name}, but is not there: set GANTRY_BENCHMARKS")
    return folder


def benchmark_files(name: str) -> dict[Path, float]:
    """Files of one public set, with the best-known makespan of each."""
    folder = data_folder() / "benchmarks"
    best = json.loads((folder / "best_known.json").read_text(encoding="utf-8"))[name]
    return {path: float(best[path.stem][1]) for path in sorted((folder / name).iterdir()) if path.stem in best}


def reference_files() -> list[Path]:
    """The ten plants of 170 jobs."""
    return sorted((data_folder() / "workloads" / "reference-170").glob("[0-9][0-9].json"))
