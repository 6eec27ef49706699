from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands.bench.speed import CARD, FIGURES, NOTES, PAGE, PROJECT, documents
from models.benchmark.performance_report import NoRuns, ResultFiles, read_runs, write_runs
from models.policy.artefact import PUBLISHED
from tests.models.benchmark.measured import quality_of, speed_of

MAX_BYTES = 300_000
DOCS = PROJECT / "docs"


def test_committed_documents_are_those_of_the_committed_runs() -> None:
    """Report and card say exactly what the figures in docs/figures/ and the manifest say; nobody typed a number."""
    for path, text in documents(DOCS, PUBLISHED, read_runs(DOCS / FIGURES)).items():
        assert path.read_text(encoding="utf-8") == text, f"run: gantry bench report {DOCS / FIGURES}"


def test_committed_pictures_exist_and_are_small() -> None:
    """Every picture that the report shows is there, and all figures together stay below 300 kB."""
    shown = re.findall(r"\]\((figures/[^)]+)\)", (DOCS / PAGE).read_text(encoding="utf-8"))
    assert shown
    for name in shown:
        assert (DOCS / name).is_file(), name
    assert sum(path.stat().st_size for path in (DOCS / FIGURES).iterdir()) < MAX_BYTES


def test_notes_have_no_typed_figures() -> None:
    """Prose tells what was tried; how much it brought stands in tables that commands printed."""
    notes = (DOCS / FIGURES / NOTES).read_text(encoding="utf-8")
    assert re.findall(r"\d[\d.,]*\s*(?:%|h\b|ms\b|s\b|hours|per cent)", notes) == []


def test_report_is_written_from_runs_and_keeps_other_sets(tmp_path: Path) -> None:
    """Two runs after each other: both sets are in the report, with pictures, figures and the card of the policy."""
    pytest.importorskip("matplotlib", reason="pictures need the extra 'train'")
    docs, model = tmp_path / "docs", tmp_path / "full_production"
    shutil.copytree(PUBLISHED, model)
    for name in ("brandimarte", "taillard"):
        write_runs(tmp_path / name, ResultFiles(qualities={name: quality_of(name)}, speed=speed_of()))
        result = CliRunner().invoke(
            app, ["bench", "report", str(tmp_path / name), "--docs", str(docs), "--model", str(model)]
        )
        assert result.exit_code == 0, result.output
    page = (docs / PAGE).read_text(encoding="utf-8")
    assert "### brandimarte" in page
    assert "### taillard" in page
    assert {path.name for path in (docs / FIGURES).iterdir()} == {
        "brandimarte.json",
        "taillard.json",
        "speed.json",
        "quality.png",
        "speed.png",
    }
    assert "| taillard | 1 of 10 |" in (model / CARD).read_text(encoding="utf-8")


def test_report_of_nothing_is_an_error(tmp_path: Path) -> None:
    """A folder without any figures is named."""
    with pytest.raises(NoRuns, match="must hold figures of gantry bench quality or speed"):
        CliRunner().invoke(
            app, ["bench", "report", str(tmp_path), "--docs", str(tmp_path / "docs")], catch_exceptions=False
        )
