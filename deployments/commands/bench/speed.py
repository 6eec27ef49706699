"""`gantry bench speed` and `gantry bench report`: what a policy pass and a judgement cost, and the documents.

Also assembles the group `bench`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.commands.bench.quality import quality
from deployments.commands.terminal import counted, plain_console
from deployments.errors import ServiceError

if TYPE_CHECKING:
    from rich.table import Table

    from models.benchmark.performance_report import ResultFiles
    from models.benchmark.speed import Speed

PROJECT = Path(__file__).resolve().parents[3]
PAGE = "PERFORMANCE_IMPROVEMENTS.md"
CARD = "MODEL_CARD.md"
NOTES = "notes.md"
FIGURES = "figures"
LARGEST_PLANT = 20_000
# A new process as a replica begins it: load the policy, fetch the compiled core, schedule once.
_BECOME_WARM = """
import sys
from pathlib import Path
from models.search.warm_up import warm_policy, warm_rules
from models.policy.artefact import load_predictor
warm_rules()
warm_policy(load_predictor(Path(sys.argv[1])))
"""
_DECODING_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    """Add the command group to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Benchmarks; shared machines are noisy, trust ratios within a run.")
    group.command()(speed)
    group.command()(quality)
    group.command()(report)
    group.callback()(_group)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Benchmarks, with tables side by side."""


def speed(
    model: Annotated[Path | None, typer.Option(help="Policy folder; default: the published one.")] = None,
    largest: Annotated[int, typer.Option(min=170, help="Largest plant, operations.")] = LARGEST_PLANT,
    output: Annotated[Path | None, typer.Option(help="Also write the figures as JSON.")] = None,
) -> None:
    """Time the policy pass, the planner's rule and the judge on plants of growing size, and a process getting warm.

    Example: gantry bench speed --largest 2000 --output runs/speed.json
    """
    # Before numpy is imported: Ray gives a replica one thread too, and "one core" shall mean it.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    from rich.console import Console

    from models.benchmark.performance_report import speed_lines
    from models.benchmark.speed import Speed, plants, time_plant
    from models.policy.artefact import PUBLISHED, load_predictor

    folder = model or PUBLISHED
    predictor = load_predictor(folder)
    sizes = plants(largest)
    timings = []
    with counted("timing", len(sizes)) as on_progress:
        for size, hours in sizes:
            timings.append(time_plant(size, hours, predictor))
            on_progress()
    with Console(stderr=True).status("timing how a process gets warm ..."):
        warm_process_ms = _warm_process_ms(folder)
    found = Speed(
        model=predictor.model_id,
        timings=tuple(timings),
        warm_process_ms=warm_process_ms,
        decodes_per_second=_decodes_per_second(),
    )
    plain_console().print(_table(found))
    for line in speed_lines(found):
        print(line)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")


def _table(found: Speed) -> Table:
    from rich.table import Table

    table = Table(title=f"median milliseconds after warm-up, one core, {found.model}")
    for column in ("operations", "machines", "calendar", "policy pass", "planner's rule", "judge"):
        table.add_column(column, justify="right")
    for timing in found.timings:
        times = (f"{value:,.1f}" for value in (timing.policy_ms, timing.rule_ms, timing.judge_ms))
        table.add_row(f"{timing.operations:,}", str(timing.machines), "yes" if timing.calendar else "no", *times)
    return table


def _warm_process_ms(folder: Path) -> float:
    """Median milliseconds from starting an interpreter to a schedule; the core is in the cache by then."""
    from models.benchmark.speed import median_ms

    command = [sys.executable, "-c", _BECOME_WARM, str(folder.resolve())]

    def become_warm() -> None:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # our own interpreter

    become_warm()
    return median_ms(become_warm)


def _decodes_per_second() -> float:
    """Complete schedules a second for 170 operations without a calendar."""
    from models.benchmark.speed import SIZES, decodes_per_second, plant_of

    return decodes_per_second(plant_of(SIZES[0], calendar=False), _DECODING_SECONDS)


class PicturesMissing(ServiceError):
    """Pictures were asked for, but matplotlib is not installed."""


def report(
    runs: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of bench quality and bench speed.")
    ],
    docs: Annotated[
        Path | None, typer.Option(help="Folder of the report, its figures and notes.md; default: the checkout's docs/.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Policy folder that gets the card; default: published.")] = None,
) -> None:
    """Write docs/PERFORMANCE_IMPROVEMENTS.md, its pictures and the policy's MODEL_CARD.md from measured figures.

    What the runs hold replaces what docs/figures/ has of the same set; the rest stays. Prose on what was tried
    comes from docs/figures/notes.md.

    Example: gantry bench report runs/quality
    """
    from models.benchmark.performance_report import NoRuns, read_runs, write_runs
    from models.policy.artefact import PUBLISHED

    if find_spec("matplotlib") is None:
        raise PicturesMissing("pictures need matplotlib: pip install 'gantry[train]'")
    docs = docs or _own_docs()
    figures = docs / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    found = read_runs(figures).updated(read_runs(runs))
    if not found.qualities and found.speed is None:
        raise NoRuns(f"{runs} must hold figures of gantry bench quality or speed, but holds none")
    write_runs(figures, found)
    kept = read_runs(figures)
    _draw(figures, kept)
    folder = model or PUBLISHED
    for path, text in documents(docs, folder, kept).items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")


def _own_docs() -> Path:
    """Those of the checkout; where the package is installed without one, those of the current folder."""
    return docs if (docs := PROJECT / "docs").is_dir() else Path("docs")


def documents(docs: Path, model: Path, runs: ResultFiles) -> dict[Path, str]:
    """Report and card, by where they belong."""
    from models.benchmark.model_card import model_card
    from models.benchmark.performance_report import performance_markdown
    from models.policy.artefact import read_manifest

    notes = docs / FIGURES / NOTES
    prose = notes.read_text(encoding="utf-8") if notes.exists() else "Nothing was noted."
    manifest = read_manifest(model)
    sizes = {name: (model / name).stat().st_size for name in manifest.files}
    return {
        docs / PAGE: performance_markdown(runs, prose),
        model / CARD: model_card(manifest, sizes, runs),
    }


def _draw(figures: Path, runs: ResultFiles) -> None:
    from models.benchmark.performance_report import QUALITY_PICTURE, SPEED_PICTURE, ordered
    from models.benchmark.quality_page import draw_growth, draw_overview

    if runs.qualities:
        draw_overview(figures / QUALITY_PICTURE, ordered(runs.qualities))
    if runs.speed is not None:
        draw_growth(figures / SPEED_PICTURE, runs.speed)
