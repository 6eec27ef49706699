"""`gantry bench report`: the performance report and the model card, from runs of the benchmarks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from models.benchmark.performance_report import ResultFiles

PROJECT = Path(__file__).resolve().parents[3]
PAGE = "PERFORMANCE_IMPROVEMENTS.md"
CARD = "MODEL_CARD.md"
NOTES = "notes.md"
FIGURES = "figures"


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
