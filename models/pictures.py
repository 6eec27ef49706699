"""The two pictures of the performance report, as small PNG files. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.quality import Quality
from models.quality_page import draw_quality
from models.speed import Speed

_COLUMNS = 3
_DOTS_PER_INCH = 80


def draw_overview(path: Path, qualities: Sequence[Quality]) -> None:
    """Quality over time, one panel a set."""
    from matplotlib.figure import Figure

    rows = -(-len(qualities) // _COLUMNS)
    figure = Figure(figsize=(4.4 * _COLUMNS, 3.3 * rows), layout="constrained")
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, found in zip(panels, qualities, strict=False):
        draw_quality(axes, found)
    for axes in panels[len(qualities) :]:
        axes.set_axis_off()
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def draw_growth(path: Path, found: Speed) -> None:
    """Milliseconds over operations, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for calendar, style in ((False, "-"), (True, "--")):
        timings = [timing for timing in found.timings if timing.calendar == calendar]
        sizes = [timing.operations for timing in timings]
        suffix = ", with calendar" if calendar else ""
        axes.plot(sizes, [timing.policy_ms for timing in timings], style, marker="o", label=f"policy pass{suffix}")
        axes.plot(sizes, [timing.rule_ms for timing in timings], style, marker="s", label=f"planner's rule{suffix}")
        axes.plot(sizes, [timing.judge_ms for timing in timings], style, marker="^", label=f"judge{suffix}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations")
    axes.set_ylabel("median ms, one core")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})
