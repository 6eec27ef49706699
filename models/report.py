"""An evaluation as files: figures as JSON, and a picture where matplotlib is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from models.evaluation import Row, Summary


def write_report(folder: Path, rows: Sequence[Row], summaries: Sequence[Summary]) -> None:
    """Write report.json and, if possible, objectives.png into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"summaries": [asdict(summary) for summary in summaries], "rows": [asdict(row) for row in rows]}
    (folder / "report.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if find_spec("matplotlib") is not None:
        _plot(folder / "objectives.png", rows, [summary.scheduler for summary in summaries])


def _plot(path: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    """One box a scheduler: its objective relative to the best scheduler on each problem."""
    from matplotlib.figure import Figure

    best: dict[str, float] = {}
    for row in rows:
        best[row.problem] = min(best.get(row.problem, float("inf")), row.objective_seconds)
    ratios = [
        [row.objective_seconds / best[row.problem] for row in rows if row.scheduler == name and best[row.problem] > 0]
        for name in names
    ]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(ratios, tick_labels=list(names), showmeans=True)
    axes.set_ylabel("objective / best of all on the same problem")
    axes.set_title(f"{len(best)} problems, lower is better")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)
