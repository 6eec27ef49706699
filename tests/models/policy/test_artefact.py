from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from env.errors import ArtefactError
from env.instances.generator import toy_problem
from models.policy.artefact import (
    MANIFEST_FILE,
    MODEL_FILE,
    PUBLISHED,
    WEIGHTS_FILE,
    due_date_networks,
    load_predictor,
    makespan_networks,
    model_file,
    read_manifest,
    write_artefact,
)
from tests.models.policy.test_predictor import random_predictor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small artefact whose model file is only a placeholder: this module never opens it."""
    (tmp_path / MODEL_FILE).write_bytes(b"not opened here")
    write_artefact(
        tmp_path,
        random_predictor(4).networks,
        name="small",
        version=2,
        created_at="2026-01-05T00:00:00+00:00",
        training=[{"seed": 4}],
        results={},
    )
    return tmp_path


def test_written_artefact_is_read_back(folder: Path) -> None:
    """Weights, id and what they were trained with survive."""
    predictor = load_predictor(folder)
    assert predictor.model_id == "small@2"
    assert read_manifest(folder).training == ({"seed": 4},)
    for found, expected in zip(predictor.networks[0], random_predictor(4).networks[0], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_every_network_of_a_policy_is_read_back(folder: Path) -> None:
    """In their order, and with a model file for each."""
    networks = [random_predictor(seed).networks[0] for seed in (4, 5)]
    shutil.copy(folder / MODEL_FILE, folder / model_file(2))
    facts: dict[str, Any] = {"name": "two", "version": 1, "created_at": "2026-01-05T00:00:00+00:00", "results": {}}
    manifest = write_artefact(folder, networks, training=[{"seed": 4}, {"seed": 5}], **facts)
    assert list(manifest.files) == ["final_model.zip", "final_model_2.zip", "weights.npz"]
    for found, expected in zip(load_predictor(folder).networks, networks, strict=True):
        for matrix, original in zip(found, expected, strict=True):
            np.testing.assert_array_equal(matrix, original)
    with pytest.raises(ValueError, match="one entry for each of 2 networks"):
        write_artefact(folder, networks, training=[{}], **facts)


def test_policy_of_an_earlier_version_is_read(folder: Path) -> None:
    """Its manifest says of one network what today's says of each."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "training": {"seed": 4}}))
    assert read_manifest(folder).training == ({"seed": 4},)
    assert len(load_predictor(folder).networks) == 1


@pytest.mark.parametrize("name", [MODEL_FILE, WEIGHTS_FILE])
def test_changed_file_is_refused(folder: Path, name: str) -> None:
    """One changed byte in either file is enough."""
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ArtefactError, match="it was changed"):
        load_predictor(folder)


@pytest.mark.parametrize("name", [MODEL_FILE, WEIGHTS_FILE, MANIFEST_FILE])
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    """Nothing is served from an incomplete folder."""
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match="must exist"):
        load_predictor(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("observation_version", 0), ("features", ["duration"]), ("candidate_limit", 7)],
)
def test_policy_for_another_observation_is_refused(folder: Path, field: str, value: object) -> None:
    """Old weights do not fit a new observation, nor the other way round."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(ArtefactError, match=f"{field} must be .* retrain"):
        load_predictor(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x"}', '{"features": [], "surprise": 1}'])
def test_damaged_manifest_is_refused(folder: Path, text: str) -> None:
    """Whatever is not a manifest says so in one line."""
    (folder / MANIFEST_FILE).write_text(text)
    with pytest.raises(ArtefactError, match="must be a policy manifest, but is not"):
        load_predictor(folder)


def test_published_policy_loads_and_schedules() -> None:
    """The policy that ships is complete, unchanged and made for this observation."""
    predictor = load_predictor(PUBLISHED)
    assert predictor.model_id.startswith("full_production@")
    assert predictor.schedule(toy_problem()).makespan_seconds == 5


def test_networks_that_saw_one_kind_of_objective_are_for_that() -> None:
    """By the objectives of their training; where a manifest does not tell, a network is for everything."""
    training = [
        {"config": {"plant": {"objectives": ["balanced", "tardiness"]}}},
        {"config": {"plant": {"objectives": ["makespan", "tardiness"]}}},
        {"config": {"plant": {"objectives": ["makespan"]}}},
        {"seed": 4},
    ]
    assert due_date_networks(training) == [0]
    assert makespan_networks(training) == [2]
