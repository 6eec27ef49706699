"""`gantry bench quality`: everyone who competes, side by side on the same cores, set by set."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.terminal import compilation_shown, plain_console, progress_bar
from deployments.errors import ServiceError

if TYPE_CHECKING:
    from rich.table import Table

    from deployments.commands.bench.benchmark_sets import BenchmarkSet
    from models.benchmark.leaderboard import Conditions, Quality

DEFAULT_BUDGETS = "0.1,0.5,2,10"
DEFAULT_OUTPUT = Path("runs/quality")
PAGE_WIDTH = 160


class UnusableBudgets(ServiceError):
    """Budgets that are not positive numbers of seconds."""


class InvalidSchedules(ServiceError):
    """The judge refused something that a competitor brought."""


def quality(
    set_names: Annotated[list[str], typer.Option("--set", help="A set, may be repeated; 'all' for every one.")],
    model: Annotated[Path | None, typer.Option(help="Policy folder; default: the published one.")] = None,
    budgets: Annotated[str, typer.Option(help="Seconds for search and CP-SAT, with commas.")] = DEFAULT_BUDGETS,
    samples: Annotated[int, typer.Option(min=0, help="Sampled passes of 'best of N'; 0 leaves it out.")] = 100,
    limit: Annotated[int | None, typer.Option(min=1, help="Instances of each set, spread evenly.")] = None,
    without_solver: Annotated[bool, typer.Option("--without-solver", help="Leave CP-SAT out.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    output: Annotated[Path, typer.Option(help="Folder for journals, Markdown, JSON and pictures.")] = DEFAULT_OUTPUT,
) -> None:
    """Compare rules, policy, search and CP-SAT on the same instances; every schedule is judged.

    The set plants is generated. All others need files below GANTRY_BENCHMARKS, and docs/BENCHMARKS.md says where
    they come from: brandimarte, hurink-edata, hurink-rdata, hurink-vdata, behnke, taillard, reference-170,
    reference-170-balanced. Started again with the same options, it goes on where it was stopped.

    Example: gantry bench quality --set plants --budgets 0.1,2 --limit 3
    """
    from deployments.commands.bench.benchmark_sets import load_set
    from deployments.commands.bench.benchmark_sets import set_names as known_sets

    chosen = known_sets() if "all" in set_names else set_names
    sets = [load_set(name, limit) for name in chosen]
    lineup = _Lineup(model, _seconds(budgets), samples, seed, with_solver=not without_solver)
    console = plain_console(file_width=PAGE_WIDTH)
    count = sum(len(each.instances) for each in sets)
    minutes = lineup.seconds_for_one * count / 60
    print(f"{count} instances: about {minutes:,.0f} min, less for what was measured before", file=sys.stderr)
    for each in sets:
        found = _hold(each, lineup, output)
        _write(output, found)
        console.print(_table(found))
        if any(row.invalid for row in found.standings):
            raise InvalidSchedules(f"{output / each.name}.md: the judge refused a schedule: see column 'invalid'")
    print(f"wrote {output}")


class _Lineup:
    """Who competes, and the conditions that a journal is bound to."""

    def __init__(
        self, model: Path | None, budgets: tuple[float, ...], samples: int, seed: int, *, with_solver: bool
    ) -> None:
        from models.benchmark.benchmark import contestants
        from models.policy.artefact import PUBLISHED, WEIGHTS_FILE, load_predictor, read_manifest

        if with_solver:
            from models.benchmark.cpsat import require_solver

            require_solver()
        folder = model or PUBLISHED
        predictor = load_predictor(folder)
        self.model, self.weights = predictor.model_id, read_manifest(folder).files[WEIGHTS_FILE]
        self.budgets, self.samples, self.seed, self.with_solver = budgets, samples, seed, with_solver
        self.contestants = contestants(predictor, budgets, samples, seed, with_solver)
        self.warming = contestants(predictor, budgets[:1], min(1, samples), seed, with_solver)

    @property
    def seconds_for_one(self) -> float:
        """What everyone together takes for one instance, about."""
        return sum(contestant.expected_seconds for contestant in self.contestants)

    def conditions(self, held: BenchmarkSet) -> Conditions:
        from env.simulator.compilation import source_digest
        from models.benchmark.leaderboard import Conditions

        return Conditions(
            set_name=held.name,
            objective=str(held.objective),
            in_hours=held.in_hours,
            model=self.model,
            model_sha256=self.weights[:12],
            core=f"{source_digest()}-{_search_digest()}",
            budgets_seconds=self.budgets,
            samples=self.samples,
            seed=self.seed,
            solver=f"CP-SAT {version('ortools')}" if self.with_solver else None,
            cores=len(os.sched_getaffinity(0)),
        )


def _search_digest() -> str:
    """What decides how the search spends its time, beside the compiled core."""
    from models.search import anytime

    return hashlib.sha256(Path(anytime.__file__).read_bytes()).hexdigest()[:8]


def _hold(held: BenchmarkSet, lineup: _Lineup, output: Path) -> Quality:
    """Let everyone meet every instance of a set, as far as they have not yet, and read the leaderboard."""
    from env.instances.generator import toy_problem
    from models.benchmark.benchmark import CellJournal, meet, missing, warm_up
    from models.benchmark.leaderboard import quality as documented

    conditions = lineup.conditions(held)
    journal = CellJournal(output / f"{held.name}.jsonl", conditions.as_json())
    ahead = missing(held.instances, lineup.contestants, journal.cells())
    if ahead:
        with compilation_shown():
            warm_up(lineup.warming, toy_problem())
    with progress_bar() as bar:
        total = sum(contestant.expected_seconds for _, contestant in ahead)
        task = bar.add_task(held.name, total=total)
        for instance, contestant in ahead:
            bar.update(task, description=f"{held.name} {instance.name}: {contestant.competitors[0]}")
            journal.append(meet(instance, contestant))
            bar.advance(task, contestant.expected_seconds)
    chosen = {instance.name for instance in held.instances}
    known = {name for contestant in lineup.contestants for name in contestant.competitors}
    cells = [cell for cell in journal.cells() if cell.instance in chosen and cell.competitor in known]
    return documented(conditions, cells, held.instances_in_set)


def _write(output: Path, found: Quality) -> None:
    """Markdown, JSON, and a picture where matplotlib is installed, beside the journal."""
    from models.benchmark.quality_page import quality_markdown, write_plot

    name = found.conditions.set_name
    page = f"# {name}\n\n{quality_markdown(found)}"
    (output / f"{name}.md").write_text(page, encoding="utf-8")
    (output / f"{name}.json").write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    if find_spec("matplotlib") is not None:
        write_plot(output / f"{name}.svg", found)


def _table(found: Quality) -> Table:
    from rich.table import Table

    from models.benchmark.quality_page import columns

    chosen = columns(found)
    table = Table(title=f"{found.conditions.set_name}: {len(found.instances)} of {found.instances_in_set} instances")
    for name, _ in chosen:
        table.add_column(name, justify="left" if name == "competitor" else "right")
    for row in found.standings:
        table.add_row(*(text(row) for _, text in chosen))
    return table


def _seconds(budgets: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted({float(word) for word in budgets.split(",")}))
    except ValueError as error:
        raise UnusableBudgets(f"budgets must be seconds with commas between them, were {budgets!r}") from error
    if not all(0.001 <= budget < float("inf") for budget in found):
        raise UnusableBudgets(f"budgets must be at least 0.001 s and finite, were {budgets!r}")
    return found
