"""Registered policies: known by what they are, loaded by their hash, and refused when they are not it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.rollout.model_registry import Artefact, Registry
from deployments.serve.policy import MAX_KEPT, PolicyCache
from deployments.settings.service import PUBLISHED_MODEL
from env.errors import ArtefactError
from models.policy.artefact import MANIFEST_FILE


def candidate(folder: Path, version: int) -> Path:
    """The published policy under another version, so under another id and hash."""
    copy = folder / f"candidate-{version}"
    shutil.copytree(PUBLISHED_MODEL, copy)
    path = copy / MANIFEST_FILE
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | {"name": "candidate", "version": version}), encoding="utf-8")
    return copy


def test_registered_policy_is_found_by_its_id(tmp_path: Path) -> None:
    """It is copied under its hash, however often it is registered; the published one comes first in the list."""
    registry = Registry(tmp_path / "models", PUBLISHED_MODEL)
    assert registry.find("candidate@1") is None
    entries = [registry.register(candidate(tmp_path, 1)), registry.register(tmp_path / "candidate-1")]
    assert entries[0] == entries[1]
    assert entries[0].folder == tmp_path / "models" / entries[0].artefact.sha256
    assert registry.find("candidate@1") == entries[0].artefact
    assert [entry.is_published for entry in registry.all()] == [True, False]


def test_id_means_the_same_for_ever(tmp_path: Path) -> None:
    """Another policy under a known id is refused, be it registered or published."""
    registry = Registry(tmp_path / "models", PUBLISHED_MODEL)
    first = candidate(tmp_path, 1)
    registry.register(first)
    path = first / MANIFEST_FILE
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(ArtefactError, match="candidate@1 must be a new id"):
        registry.register(first)


def test_damaged_policy_is_not_registered(tmp_path: Path) -> None:
    """Files that are not what the manifest says are refused, and nothing is left of them."""
    registry = Registry(tmp_path / "models", PUBLISHED_MODEL)
    broken = candidate(tmp_path, 1)
    (broken / "weights.npz").write_bytes(b"other")
    with pytest.raises(ArtefactError, match="was changed"):
        registry.register(broken)
    with pytest.raises(ArtefactError, match="must exist"):
        registry.register(tmp_path / "nothing")
    assert not (tmp_path / "models").exists()


def test_replica_loads_by_hash_and_keeps_the_last_four(tmp_path: Path) -> None:
    """A policy is read once while it is kept; the one that was asked for least recently is forgotten."""
    registry = Registry(tmp_path / "models", PUBLISHED_MODEL)
    known = [registry.register(candidate(tmp_path, version)).artefact for version in range(MAX_KEPT + 1)]
    policies = PolicyCache(PUBLISHED_MODEL, tmp_path / "models")
    held = [policies.get(artefact) for artefact in known]
    assert [predictor.model_id for predictor in held] == [artefact.model_id for artefact in known]
    assert policies.get(known[-1]) is held[-1]
    assert policies.get(known[0]) is not held[0]
    assert policies.get(None) is policies.published


def test_replica_refuses_a_policy_that_is_not_the_one_asked_for(tmp_path: Path) -> None:
    """A hash that is not there, and a folder that holds something else, are no policy."""
    registry = Registry(tmp_path / "models", PUBLISHED_MODEL)
    artefact = registry.register(candidate(tmp_path, 1)).artefact
    policies = PolicyCache(PUBLISHED_MODEL, tmp_path / "models")
    with pytest.raises(ArtefactError, match="must exist"):
        policies.get(Artefact(model_id="candidate@2", sha256="0" * 64))
    with pytest.raises(ArtefactError, match="must hold other@1"):
        policies.get(replace(artefact, model_id="other@1"))
    assert registry.find("other@1") is None
