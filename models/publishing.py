"""A trained model -> a policy folder, once it has passed the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO

from env.candidates import CANDIDATE_LIMIT
from env.errors import ArtefactError
from env.gym_env import FlexibleJobShopEnv
from env.observation import FEATURE_COUNT
from env.problem import Problem
from models.artefact import MANIFEST_FILE, MODEL_FILE, Manifest, load_predictor, read_manifest, write_artefact
from models.predictor import Predictor, new_workspace, score
from models.training import scorer_of
from models.validation import Validation, weights_of

TIE_TOLERANCE = 1e-4
AGREEMENT_PROBLEMS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the compiled inference compares with Stable-Baselines3 on the same states.

    A disagreement is a decision whose two choices differ although the policy's own logits are not
    within `TIE_TOLERANCE` of each other.
    """

    decisions: int
    disagreements: int
    largest_logit_difference: float


def save_run(model: MaskablePPO, folder: Path, *, training: dict[str, Any], results: dict[str, Any]) -> Manifest:
    """Write a trained model as an unpublished artefact (version 0)."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL_FILE)
    return write_artefact(
        folder,
        weights_of(scorer_of(model)),
        name=folder.name,
        version=0,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training=training,
        results=results,
    )


def publish(run: Path, target: Path, validation: Validation) -> Manifest:
    """Publish the model of `run` in `target`, one version above what is there.

    Raises `ArtefactError` naming the gate that it misses: the zip must load, the exported weights
    must choose what Stable-Baselines3 chooses, and a published policy must not be better.
    """
    manifest = read_manifest(run)
    model = load_model(run)
    weights = weights_of(scorer_of(model))
    found = agreement(model, Predictor(weights), validation.problems[:AGREEMENT_PROBLEMS])
    if found.disagreements:
        raise ArtefactError(
            f"gate 'agreement': all {found.decisions} choices must equal Stable-Baselines3's, "
            f"{found.disagreements} did not"
        )
    gain = float(validation.gains(Predictor(weights)).mean())
    _refuse_worse(gain, target, validation)
    target.mkdir(parents=True, exist_ok=True)
    version = read_manifest(target).version + 1 if (target / MANIFEST_FILE).exists() else 1
    model.save(target / MODEL_FILE)
    return write_artefact(
        target,
        weights,
        name=target.name,
        version=version,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training=manifest.training,
        results={
            **manifest.results,
            "validation_gain_over_composite_rule": gain,
            "agreement_decisions": found.decisions,
            "agreement_largest_logit_difference": found.largest_logit_difference,
        },
    )


def load_model(folder: Path) -> MaskablePPO:
    """The Stable-Baselines3 model in `folder`. Raises `ArtefactError`."""
    try:
        return MaskablePPO.load(folder / MODEL_FILE, device="cpu")
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise ArtefactError(f"{folder / MODEL_FILE} must open with MaskablePPO.load, but does not: {error}") from error


def agreement(model: MaskablePPO, predictor: Predictor, problems: Sequence[Problem]) -> Agreement:
    """Play `problems` by Stable-Baselines3's greedy choices and score every state with the predictor as well."""
    decisions, disagreements, largest = 0, 0, 0.0
    env = FlexibleJobShopEnv()
    for problem in problems:
        observation, info = env.reset(options={"problem": problem})
        complete = False
        while not complete:
            mask = info["action_mask"]
            action, _ = model.predict(observation, action_masks=mask, deterministic=True)
            logits = _logits(predictor, observation.reshape(-1, FEATURE_COUNT + 1)[mask, :-1])
            tensor, _ = model.policy.obs_to_tensor(observation)
            expected = scorer_of(model)(tensor)[0][0].detach().numpy()[mask]
            largest = max(largest, float(np.abs(logits - expected).max()))
            decisions += 1
            disagreements += bool(expected[int(action)] - expected[int(logits.argmax())] > TIE_TOLERANCE)
            observation, _, complete, _, info = env.step(np.int64(action))
    return Agreement(decisions=decisions, disagreements=disagreements, largest_logit_difference=largest)


def _logits(predictor: Predictor, rows: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any]:
    workspace = new_workspace(predictor.weights, machines=1, limit=max(len(rows), CANDIDATE_LIMIT))
    workspace.rows[: len(rows)] = rows
    score(predictor.weights, workspace, len(rows))
    return workspace.logits[: len(rows)]


def _refuse_worse(gain: float, target: Path, validation: Validation) -> None:
    """Paired on the validation set: the mean difference must not be negative."""
    try:
        published = load_predictor(target)
    except ArtefactError:
        return
    before = float(validation.gains(published).mean())
    if gain < before:
        raise ArtefactError(
            f"gate 'not worse': the mean gain over the composite rule must be >= {before:.4f}, "
            f"that of {published.model_id}, was {gain:.4f}"
        )
