"""A policy on disk, and the refusal of anything that does not match. Needs no torch.

final_model.zip     the Stable-Baselines3 model: the source of truth
final_model_2.zip   that of the second network, where a policy has several, and so on
weights.npz         their scorers, exported for the compiled core
manifest.json       what it is, what it was trained with, and the SHA-256 of the other files
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from env.errors import ArtefactError
from env.problem import Objective
from env.simulator.candidates import CANDIDATE_LIMIT
from env.simulator.observation import FEATURE_NAMES, OBSERVATION_VERSION
from models.policy.predictor import Predictor, Weights

MODEL_FILE = "final_model.zip"
WEIGHTS_FILE = "weights.npz"
MANIFEST_FILE = "manifest.json"
PUBLISHED = Path(__file__).resolve().parents[1] / "full_production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a policy folder says about itself; `training` has one entry for each of its networks.

    The observation version, the features and the candidate limit are what the
    policy was trained to see; weights made for any other are refused.
    """

    name: str
    version: int
    created_at: str
    files: dict[str, str]
    training: tuple[dict[str, Any], ...] = ({},)
    results: dict[str, Any] = field(default_factory=dict)
    observation_version: int = OBSERVATION_VERSION
    features: tuple[str, ...] = FEATURE_NAMES
    candidate_limit: int = CANDIDATE_LIMIT

    @property
    def model_id(self) -> str:
        """`name@version`, as answers carry it."""
        return f"{self.name}@{self.version}"


def model_file(number: int) -> str:
    """The name of the Stable-Baselines3 model of a policy's network; numbers begin at 1."""
    return MODEL_FILE if number == 1 else f"final_model_{number}.zip"


def write_artefact(
    folder: Path,
    networks: Sequence[Weights],
    *,
    name: str,
    version: int,
    created_at: str,
    training: Sequence[dict[str, Any]],
    results: dict[str, Any],
) -> Manifest:
    """Write weights and manifest beside the models, which must already be in `folder`; `training` is by network."""
    if len(training) != len(networks):
        raise ValueError(f"training must have one entry for each of {len(networks)} networks, had {len(training)}")
    arrays = {
        _array_name(name, number): matrix
        for number, weights in enumerate(networks, start=1)
        for name, matrix in weights._asdict().items()
    }
    np.savez(folder / WEIGHTS_FILE, **arrays)
    files = [*(model_file(number) for number in range(1, len(networks) + 1)), WEIGHTS_FILE]
    manifest = Manifest(
        name=name,
        version=version,
        created_at=created_at,
        files={file: _sha256(folder / file) for file in files},
        training=tuple(training),
        results=results,
    )
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`, checked against this version of Gantry and against the files beside it.

    Raises `ArtefactError` when anything is missing, damaged or made for another observation.
    """
    path = folder / MANIFEST_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        training = fields["training"]
        # Until version 4 a policy was one network, and what is said of its training stood alone.
        trainings = (training,) if isinstance(training, dict) else tuple(training)
        manifest = Manifest(**{**fields, "features": tuple(fields["features"]), "training": trainings})
        due_date_networks(trainings)  # raises here, where the file can be named
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} must exist, but does not: publish or name a policy folder") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtefactError(f"{path} must be a policy manifest, but is not: {error}") from error
    _refuse_other_observation(manifest, path)
    for file, expected in manifest.files.items():
        _refuse_other_content(folder / file, expected)
    return manifest


def latest_version(folder: Path) -> int:
    """The version that was last published in `folder`, 0 for none; whether it could still be used does not matter."""
    path = folder / MANIFEST_FILE
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["version"])
    except FileNotFoundError:
        return 0
    except (ValueError, TypeError, KeyError) as error:
        raise ArtefactError(f"{path} must be a policy manifest, but is not: {error}") from error


def load_predictor(folder: Path = PUBLISHED) -> Predictor:
    """The verified policy in `folder`, ready to schedule. Raises `ArtefactError`."""
    manifest = read_manifest(folder)
    try:
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as arrays:
            networks = [
                Weights(**{name: arrays[_array_name(name, number)] for name in Weights._fields})
                for number in range(1, len(manifest.training) + 1)
            ]
        training = manifest.training
        return Predictor(networks, manifest.model_id, due_date_networks(training), makespan_networks(training))
    except (OSError, ValueError, KeyError) as error:
        raise ArtefactError(f"{folder / WEIGHTS_FILE} must hold the exported scorer, but does not: {error}") from error


def due_date_networks(training: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the networks that never saw a problem in which the makespan alone counts."""
    return [place for place, seen in enumerate(map(_objectives, training)) if Objective.MAKESPAN not in seen]


def makespan_networks(training: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the networks that never saw a problem in which anything else counts."""
    return [place for place, seen in enumerate(map(_objectives, training)) if set(seen) == {Objective.MAKESPAN}]


def _objectives(training: Mapping[str, Any]) -> Sequence[str]:
    found: Sequence[str] = training.get("config", {}).get("plant", {}).get("objectives", tuple(Objective))
    return found


def _array_name(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _refuse_other_observation(manifest: Manifest, path: Path) -> None:
    expected = {
        "observation_version": OBSERVATION_VERSION,
        "features": FEATURE_NAMES,
        "candidate_limit": CANDIDATE_LIMIT,
    }
    for name, value in expected.items():
        if getattr(manifest, name) != value:
            raise ArtefactError(f"{path}: {name} must be {value!r}, was {getattr(manifest, name)!r}: retrain")


def _refuse_other_content(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ArtefactError(f"{path} must exist, because the manifest names it, but does not")
    found = _sha256(path)
    if found != expected:
        raise ArtefactError(f"{path} must have SHA-256 {expected[:12]}…, had {found[:12]}…: it was changed")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
