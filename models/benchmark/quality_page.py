"""The quality of a set as Markdown tables, and as pictures of quality over time and of speed over size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.benchmark.benchmark import POLICY, samples_name, search_name, solver_name
from models.benchmark.leaderboard import LeaderboardRow, Quality
from models.benchmark.speed import Speed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Column = tuple[str, Callable[[LeaderboardRow], str]]
_LINES = ("search", "CP-SAT", "CP-SAT hinted")
_MAY_BE_OFF = ("CP-SAT", "rule mwkr")  # so bad at times that nothing else could be told apart
_SHOWN_RULES = ("rule composite", "rule mwkr")
_STYLES = {"search": "o-", "CP-SAT": "o-", "CP-SAT hinted": "o-", POLICY: "D", "rule composite": "v", "rule mwkr": "^"}
_COLOURS = {"search": "tab:blue", "CP-SAT": "tab:orange", "CP-SAT hinted": "tab:red", POLICY: "tab:green"}
_COLUMNS = 3
_DOTS_PER_INCH = 80


def quality_markdown(found: Quality) -> str:
    """Leaderboard, duels and shares of one set."""
    conditions = found.conditions
    heading = (
        f"{len(found.instances)} of {found.instances_in_set} instances, objective {conditions.objective}, "
        f"policy {conditions.model}, seed {conditions.seed}, {conditions.cores} cores"
        + (f", {conditions.solver}" if conditions.solver else "")
    )
    return "\n".join([heading, "", *_standings_table(found), "", *_duels_table(found), "", *_shares(found)]) + "\n"


def columns(found: Quality) -> list[Column]:
    """Columns that mean something for the set: heading and text of each cell."""
    chosen: list[Column] = [("competitor", lambda row: row.competitor)]
    chosen.append(("solved", lambda row: f"{row.solved} of {row.instances}"))
    if any(row.mean_gap_percent is not None for row in found.standings):
        chosen.append(("gap to best known, %", lambda row: number(row.mean_gap_percent, 2)))
    if found.conditions.in_hours:
        chosen.append(("makespan, h", lambda row: number(row.mean_makespan_hours, 2)))
    if found.conditions.objective != "makespan":
        chosen += [
            ("objective, h", lambda row: number(row.mean_objective_hours, 2)),
            ("families on time, %", lambda row: number(row.on_time_percent, 1)),
            ("important on time, %", lambda row: number(row.important_on_time_percent, 1)),
            ("utilisation, %", lambda row: number(row.utilisation_percent, 1)),
        ]
    chosen.append(("mean s", lambda row: number(row.mean_seconds, 3)))
    chosen.append(("nobody better", lambda row: str(row.best)))
    if any(row.invalid for row in found.standings):
        chosen.append(("invalid", lambda row: str(row.invalid)))
    return chosen


def number(value: float | None, digits: int) -> str:
    """A figure with that many digits behind the point, a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first hold figures."""
    marks = ["---", *("---:" for _ in headings[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows)]


def write_plot(path: Path, found: Quality) -> None:
    """Quality over time, as SVG. Needs matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "gantry", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        draw_quality(axes, found)
        axes.legend(fontsize="small")
        figure.savefig(path, metadata={"Date": None})


def draw_quality(axes: Axes, found: Quality) -> None:
    """Quality over time. Leaves out whoever had not solved every instance by a budget."""
    label, value = _measure(found)
    highest = 0.0
    for name, points in _drawn(found).items():
        seconds, heights = [each for each, _ in points], [value(row) for _, row in points]
        axes.plot(seconds, heights, _STYLES.get(name, "s"), color=_COLOURS.get(name, "grey"), label=name)
        highest = max(highest, *heights) if name not in _MAY_BE_OFF else highest
    if highest > 0.0:
        axes.set_ylim(bottom=0.0, top=1.1 * highest)
    axes.set_xscale("log")
    axes.set_xlabel("seconds for one instance")
    axes.set_ylabel(label)
    axes.set_title(f"{found.conditions.set_name}: mean of {len(found.instances)}, lower is better", fontsize="medium")
    axes.grid(alpha=0.3)


def _drawn(found: Quality) -> dict[str, list[tuple[float, LeaderboardRow]]]:
    """Points of each line, by budget, and those who take the time that they take, as they are named in the legend."""
    lines = {name: _line(found, name) for name in _LINES}
    for competitor in (POLICY, samples_name(found.conditions.samples), *_SHOWN_RULES):
        row = found.standing(competitor)
        if row is not None and row.solved == row.instances:
            lines[competitor] = [(row.mean_seconds, row)]
    return {name: points for name, points in lines.items() if points}


def _line(found: Quality, name: str) -> list[tuple[float, LeaderboardRow]]:
    points = []
    for budget in found.conditions.budgets_seconds:
        competitor = search_name(budget) if name == "search" else solver_name(budget, hinted=name.endswith("hinted"))
        row = found.standing(competitor)
        if row is not None and row.solved == row.instances:
            points.append((budget, row))
    return points


def _measure(found: Quality) -> tuple[str, Callable[[LeaderboardRow], float]]:
    """What the picture shows: the gap if it is the objective and known everywhere, else the objective itself."""
    gaps = all(row.mean_gap_percent is not None for row in found.standings if row.solved)
    if found.conditions.objective == "makespan" and gaps:
        return "gap to best known, %", lambda row: row.mean_gap_percent or 0.0
    return f"objective ({found.conditions.objective}), h", lambda row: row.mean_objective_hours or 0.0


def _standings_table(found: Quality) -> list[str]:
    chosen = columns(found)
    return table([name for name, _ in chosen], [[text(row) for _, text in chosen] for row in found.standings])


def _duels_table(found: Quality) -> list[str]:
    """Rows: everyone; columns: the product's competitors. Each cell: their wins, ties and losses against the row."""
    ours = [name for name in found.conditions.ours if found.standing(name) is not None]
    fights = {(duel.competitor, duel.opponent): duel for duel in found.duels}
    rows = []
    for standing in found.standings:
        row = [standing.competitor]
        for name in ours:
            duel = fights.get((name, standing.competitor))
            row.append("" if duel is None else f"{duel.wins} - {duel.ties} - {duel.losses}")
        rows.append(row)
    return table(["wins - ties - losses against", *ours], rows)


def _shares(found: Quality) -> list[str]:
    rules = number(found.policy_better_than_every_rule_percent, 0)
    lines = [f"The policy pass is better than every rule on {rules} % of instances."]
    for budget, percent in found.search_better_than_hinted_solver_percent.items():
        share = number(percent, 0)
        lines.append(f"With {budget} s each, the search is better than hinted CP-SAT on {share} % of instances.")
    return lines


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
