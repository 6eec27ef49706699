"""`gantry train`, `evaluate`, `publish` and `warm`."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.commands.terminal import compilation_shown, counted, plain_console, progress_bar
from deployments.errors import ServiceError
from deployments.runtime.clock import utc_now
from env.errors import GantryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.progress import Progress as ProgressBar

    from deployments.commands.solve import ProblemFile
    from env.problem import Problem
    from models.publishing.evaluation import Summary
    from models.training.config import TrainingConfig
    from models.training.train import Progress

EVALUATION_PROBLEMS = 96
GENERATED = "generated"


class TrainingExtraMissing(ServiceError):
    """torch and Stable-Baselines3 are not installed."""


class TwoNetworks(ServiceError):
    """One run was asked for two specialists."""


class NoSuchNetwork(ServiceError):
    """The published policy has fewer networks."""


class NothingToCount(ServiceError):
    """A number of problems where the problems are given."""


class NothingToEvaluate(ServiceError):
    """A folder without a single problem file."""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (train, evaluate, publish, warm):
        app.command()(command)


def train(
    output: Annotated[Path, typer.Option(help="Folder for the model, its manifest and TensorBoard logs.")] = Path(
        "runs/latest"
    ),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    decisions: Annotated[int | None, typer.Option(min=0, help="Decisions of the MaskablePPO stage.")] = None,
    demonstrations: Annotated[int | None, typer.Option(min=1, help="Searched schedules to imitate.")] = None,
    updates: Annotated[int | None, typer.Option(min=0, help="Updates of the look-ahead stage.")] = None,
    groups: Annotated[int | None, typer.Option(min=0, help="Updates of the group stage.")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    makespan: Annotated[
        bool, typer.Option("--makespan", help="A network for makespans alone, on hard plants.")
    ] = False,
    due_dates: Annotated[
        bool, typer.Option("--due-dates", help="A network for objectives that count tardiness.")
    ] = False,
    reproduce: Annotated[bool, typer.Option("--reproduce", help="With seed and config of the published one.")] = False,
    network: Annotated[int, typer.Option(min=1, help="Which of the published networks --reproduce trains.")] = 1,
) -> None:
    """Train a policy from scratch; within two hours on two cores with the defaults.

    Example: gantry train --output runs/mine --seed 1 --updates 200
    """
    _require_training_extra()
    from models.publishing.publish import save_run
    from models.training.train import train as run

    config = _config_of_published(network) if reproduce else _config(seed, threads, makespan, due_dates)
    wanted = {
        "decisions": decisions,
        "demonstrations": demonstrations,
        "lookahead_updates": updates,
        "group_updates": groups,
    }
    chosen: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    config = replace(config, **chosen)
    begun = time.monotonic()
    with progress_bar(is_kept=True) as bar:
        trained = run(config, log_folder=output / "tensorboard", on_progress=_Reporter(bar).hear)
    seconds = time.monotonic() - begun
    manifest = save_run(
        trained.model,
        output,
        training={"config": config.as_json(), "seconds": round(seconds, 1)},
        results={"validation_gain_over_composite_rule": trained.gain},
        clock=utc_now,
    )
    print(f"trained in {seconds:,.0f} s: {100 * trained.gain:.2f} % better than the composite rule on validation")
    print(f"saved {output} ({', '.join(manifest.files)}); publish it with: gantry publish {output}")


def _config(seed: int, threads: int, makespan: bool, due_dates: bool) -> TrainingConfig:
    from models.training.config import TrainingConfig

    if makespan and due_dates:
        raise TwoNetworks("--makespan and --due-dates are two networks: train one after the other")
    if makespan:
        return TrainingConfig.for_makespan(seed=seed, threads=threads)
    if due_dates:
        return TrainingConfig.for_due_dates(seed=seed, threads=threads)
    return TrainingConfig(seed=seed, threads=threads)


def _config_of_published(network: int) -> TrainingConfig:
    from models.policy.artefact import PUBLISHED, read_manifest
    from models.training.config import TrainingConfig

    manifest = read_manifest(PUBLISHED)
    if network > len(manifest.training):
        raise NoSuchNetwork(f"{manifest.model_id} has networks 1 to {len(manifest.training)}, was asked for {network}")
    return TrainingConfig.from_json(manifest.training[network - 1]["config"])


def evaluate(
    folder: Annotated[
        Path | None,
        typer.Argument(
            exists=True, file_okay=False, help="Folder of request JSON or benchmark files; default: validation set."
        ),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Policy folder; default: the published one.")] = None,
    best_known: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="JSON: problem -> [lower bound, best]; or set -> that, and the set of the folder's name counts.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for report.json and, with matplotlib, a plot.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Another policy folder: the difference with its interval, without FOLDER on publishing's problems.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--problems", min=2, help="How many of publishing's problems; default: all.")
    ] = None,
) -> None:
    """Compare a policy with every rule, and with another policy, on the same problems; every schedule is judged.

    A file that cannot be read is named on stderr and left out. Two policies are compared as gantry publish does: by
    their gains over the composite rule, in pairs.

    Example: gantry evaluate plants/ --best-known plants/best_known.json --against runs/mine --output report
    """
    from models.policy.artefact import PUBLISHED, load_predictor
    from models.publishing.evaluation import comparison, schedulers, summarise
    from models.publishing.evaluation import evaluate as run

    if count is not None and (against is None or folder is not None):
        raise NothingToCount("--problems goes with --against and without a folder: else the problems are given")
    problems, units = _validation_problems(count) if against is not None and folder is None else _problems(folder)
    references = _references(best_known, folder, units)
    competitors = schedulers(load_predictor(model or PUBLISHED))
    other = None if against is None else load_predictor(against)
    if other is not None:
        competitors[other.model_id] = other.schedule
    with compilation_shown():
        for schedule in competitors.values():
            schedule(problems[0])
    with counted("evaluating", len(problems) * len(competitors)) as on_progress:
        rows = run(competitors, problems, references, on_progress)
    summaries = summarise(rows)
    plain_console().print(_table(summaries))
    found = None if other is None else comparison(rows, "ppo", other.model_id)
    if found is not None:
        print(f"mean gain of ppo over {found.published}: {found.found}")
    if output is not None:
        from models.publishing.evaluation import write_report

        write_report(output, rows, summaries, found)
        print(f"wrote {output}")
    if any(summary.invalid for summary in summaries):
        raise typer.Exit(1)


def publish(
    runs: Annotated[list[Path], typer.Argument(exists=True, file_okay=False, help="Folders that gantry train wrote.")],
    target: Annotated[Path | None, typer.Option(help="Where to publish; default: models/full_production.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="It must not be worse than this policy; default: the shipped one."
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Whether it is held against that policy.")
    ] = True,
) -> None:
    """Publish a trained policy once it passes every gate of models/publishing/evaluation.py; its version goes up.

    It must be worse neither than the policy in the target nor than the shipped one, paired on the validation set;
    --no-compare leaves the latter out. The error names each gate
    that is missed. The networks of several runs, or of a policy folder, become one policy: those that have learned
    the objective play each pass, and the best schedule counts. Name the one for due dates first and the one for
    makespans last.

    Example: gantry publish runs/due-dates runs/makespan
    """
    _require_training_extra()
    from rich.console import Console

    from models.policy.artefact import PUBLISHED
    from models.publishing.publish import publish as run_gates
    from models.training.config import TrainingConfig

    config = TrainingConfig()
    with Console(stderr=True).status("gates ...") as status:
        manifest = run_gates(
            runs,
            target or PUBLISHED,
            config.plant,
            config.validation_problems,
            lambda stage: status.update(f"{stage} ..."),
            clock=utc_now,
            against=(against or PUBLISHED) if compare else None,
        )
    print(f"published {manifest.model_id} in {target or PUBLISHED}")
    print(json.dumps(manifest.results, indent=2))
    print("its card and the report: gantry bench quality --set all, gantry bench speed, gantry bench report")


def warm() -> None:
    """Compile the core and cache it, for images and before the first start.

    Example: gantry warm
    """
    from env.simulator.compilation import cache_folder
    from models.search.warm_up import compile_core

    begun = time.monotonic()
    with compilation_shown():
        compile_core()
    print(f"compiled core ready after {time.monotonic() - begun:.1f} s in {cache_folder()}")


def _require_training_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "stable_baselines3", "sb3_contrib") if find_spec(name) is None]
    if missing:
        raise TrainingExtraMissing(f"training needs {', '.join(missing)}: pip install 'gantry[train]'")


class _Reporter:
    """Turns what training tells into one progress bar a stage."""

    def __init__(self, bar: ProgressBar) -> None:
        self.bar = bar
        self.tasks: dict[str, object] = {}

    def hear(self, progress: Progress) -> None:
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bar.add_task(progress.stage, total=progress.total)
        self.bar.update(
            self.tasks[progress.stage],  # type: ignore[arg-type]
            completed=progress.done,
            description=f"{progress.stage}: {100 * progress.best_gain:+.2f} % over the composite rule",
        )


def _problems(folder: Path | None) -> tuple[Sequence[Problem], Mapping[str, int]]:
    """Problems, and by their names how many seconds one unit of the file is."""
    if folder is None:
        import numpy as np

        from env.instances.generator import random_problem

        rng = np.random.default_rng(0)
        names = [f"{GENERATED}-{index}" for index in range(EVALUATION_PROBLEMS)]
        return [_named(random_problem(rng), name) for name in names], dict.fromkeys(names, 3600)
    from deployments.commands.bench.benchmark_sets import BEST_KNOWN
    from deployments.commands.solve import PROBLEM_SUFFIXES

    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.casefold() in PROBLEM_SUFFIXES)
    stems = Counter(path.stem for path in files)
    named = {path: path.stem if stems[path.stem] == 1 else path.name for path in files if path.name != BEST_KNOWN}
    found = {name: file for path, name in named.items() if (file := _readable(path)) is not None}
    if not found:
        raise NothingToEvaluate(f"{folder} must hold request JSON or benchmark files, but holds none that can be read")
    problems = [_named(file.problem, name) for name, file in found.items()]
    return problems, {name: file.unit_seconds for name, file in found.items()}


def _readable(path: Path) -> ProblemFile | None:
    """What is in a file; None, and a line on stderr that names it, where that is no problem."""
    from deployments.commands.solve import read_problem

    try:
        return read_problem(path)
    except (GantryError, OSError) as error:
        reason = " ".join(str(error).split())
        print(f"left out: {reason if path.name in reason else f'{path.name}: {reason}'}", file=sys.stderr)
        return None


def _validation_problems(count: int | None) -> tuple[Sequence[Problem], Mapping[str, int]]:
    """Those that training and publishing measure on, in hours."""
    from env.instances.generator import validation_problems
    from models.training.config import TrainingConfig

    config = TrainingConfig()
    drawn = validation_problems(config.plant, count or config.validation_problems)
    problems = [_named(problem, f"validation-{index}") for index, problem in enumerate(drawn)]
    return problems, dict.fromkeys([problem.name for problem in problems], 3600)


def _named(problem: Problem, name: str) -> Problem:
    return replace(problem, name=name)


def _references(file: Path | None, folder: Path | None, units: Mapping[str, int]) -> dict[str, float]:
    """Best known makespans in seconds, by the names of the problems."""
    if file is None:
        return {}
    from deployments.commands.bench.benchmark_sets import NoBestKnown, best_known

    makespans = best_known(file, GENERATED if folder is None else folder.resolve().name)
    references = {name: makespan * units[name] for name, makespan in makespans.items() if name in units}
    if not references:
        wanted, had = (f"{', '.join(names):.80}" for names in (units, makespans))
        raise NoBestKnown(f"{file} must have one of the problems {wanted}, but has {had}")
    return references


def _table(summaries: Sequence[Summary]) -> object:
    from rich.table import Table

    table = Table(title="mean over all problems, best first")
    for column in ("scheduler", "objective, h", "gap to best known, %", "median ms", "wins", "invalid"):
        table.add_column(column, justify="left" if column == "scheduler" else "right")
    for summary in summaries:
        gap = "-" if summary.mean_gap_percent is None else f"{summary.mean_gap_percent:.2f}"
        table.add_row(
            summary.scheduler,
            f"{summary.mean_objective_hours:.3f}",
            gap,
            f"{summary.median_milliseconds:.1f}",
            f"{summary.wins} / {summary.problems}",
            str(summary.invalid),
        )
    return table
