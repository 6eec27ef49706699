from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from models.benchmark.model_card import model_card
from models.benchmark.performance_report import ResultFiles
from models.policy.artefact import Manifest
from models.publishing.evaluation import GATES, compared
from tests.models.benchmark.measured import quality_of, speed_of

SIZES = {"final_model.zip": 1_234_000, "weights.npz": 56_000}
RUNS = ResultFiles(qualities={"brandimarte": quality_of("brandimarte")}, speed=speed_of())


def _manifest(**results: object) -> Manifest:
    return Manifest(
        name="full_production",
        version=7,
        created_at="2026-01-05T06:30:00+00:00",
        files={"final_model.zip": "ab12", "weights.npz": "cd34"},
        training=({"config": {"seed": 3, "plant": {"operations": [25, 250]}}, "seconds": 600.0},),
        results=results,
    )


def test_card_says_what_the_policy_is_and_how_it_was_trained() -> None:
    """Id, files with size and hash, duration and every setting, nested ones by dotted names."""
    card = model_card(_manifest(), SIZES, RUNS)
    assert card.startswith("# full_production@7\n")
    assert "| `final_model.zip` | 1,234 kB, SHA-256 `ab12` |" in card
    assert "The training took 10 minutes." in card
    assert "| `plant.operations` | `[25, 250]` |" in card


def test_card_shows_the_settings_of_several_networks_side_by_side() -> None:
    """One column each, empty where a network was trained before there was such a setting."""
    second = {"config": {"seed": 4, "plant": {"operations": [9, 90]}, "new": 1}, "seconds": 1_200.0}
    manifest = _manifest()
    card = model_card(replace(manifest, training=(*manifest.training, second)), SIZES, RUNS)
    assert "A pass is played by up to 2 networks, and the best schedule by the objective counts." in card
    assert "The training took 10 and 20 minutes." in card
    assert "| `plant.operations` | `[25, 250]` | `[9, 90]` |" in card
    assert "| `new` |  | `1` |" in card


def test_card_has_the_figures_of_the_runs() -> None:
    """Best rule, policy pass and search of each set, and the time of a pass."""
    card = model_card(_manifest(), SIZES, RUNS)
    assert "| brandimarte | 1 of 10 | gap to best known, % | 8.00 | 4.00 | 2.00 | 100 |" in card
    assert "| 170 | 150 | 4.0 |" in card
    assert "Measured with" not in card


def test_card_warns_of_figures_of_another_policy() -> None:
    """Runs of an earlier version are not passed off as this one's."""
    runs = ResultFiles(
        qualities={"a": quality_of("a", model="full_production@6")}, speed=speed_of(model="full_production@6")
    )
    card = model_card(_manifest(), SIZES, runs)
    assert card.count("**Measured with full_production@6, not with this version.**") == 2


def test_card_shows_gates_and_comparison() -> None:
    """Each gate with bound and figure, and what it was compared with."""
    found = compared("full_production@6", np.array([0.02, 0.04]), np.array([0.01, 0.01]))
    gates = {gate.name: 0.5 for gate in GATES}
    card = model_card(_manifest(gates=gates, compared_with_published=asdict(found)), SIZES, RUNS)
    assert "| size: megabytes of model and weights | <= 8 | 0.50 |" in card
    assert "Against full_production@6 on 2 validation problems it won 2 and lost 0; the mean difference" in card
    assert "before its gates were recorded" in model_card(_manifest(), SIZES, RUNS)
