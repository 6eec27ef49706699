"""A trained model -> a policy folder, once it has passed the gates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO

from env.errors import ArtefactError, GateMissed
from env.gym.adapters import FlexibleJobShopEnv
from env.instances.generator import Plant
from env.judge.judge import judge
from env.problem import Problem
from env.simulator.candidates import CANDIDATE_LIMIT
from env.simulator.observation import FEATURE_COUNT
from env.simulator.rules import Rule, dispatch
from models.policy.artefact import (
    MODEL_FILE,
    Manifest,
    due_date_networks,
    latest_version,
    load_predictor,
    makespan_networks,
    model_file,
    read_manifest,
    write_artefact,
)
from models.policy.predictor import Predictor, Weights, new_workspace, score
from models.publishing.evaluation import (
    AGREEMENT,
    MAX_DOUBLINGS,
    PASS_TIME,
    RULE,
    SIZE,
    VALID,
    ComparisonOutcome,
    PolicyComparison,
    compared,
    missed,
)
from models.training.train import scorer_of
from models.training.validation import Validation, weights_of

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


def save_run(
    model: MaskablePPO,
    folder: Path,
    *,
    training: dict[str, Any],
    results: dict[str, Any],
    clock: Callable[[], datetime],
) -> Manifest:
    """Write a trained model as an unpublished artefact (version 0)."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / MODEL_FILE)
    return write_artefact(
        folder,
        [weights_of(scorer_of(model))],
        name=folder.name,
        version=0,
        created_at=clock().isoformat(timespec="seconds"),
        training=[training],
        results=results,
    )


def publish(
    runs: Sequence[Path],
    target: Path,
    plant: Plant,
    problems: int,
    on_stage: Callable[[str], None] = lambda _: None,
    *,
    clock: Callable[[], datetime],
    against: Path | None = None,
) -> Manifest:
    """Publish the networks of `runs` as one policy in `target`, one version above what is there.

    In that order: the first plays large plants where due dates count, the last where makespans do. `target` itself
    may be one of them. Measured on `problems` validation problems of that kind of plant, and on up to eight times
    as many where those leave open whether it is worse than the published policy: the one in `target`, and the one in
    `against`, such as the shipped one, where that is another folder. Raises `GateMissed` naming every
    gate that it misses, and `ArtefactError` when a policy or a zip of it cannot be loaded. A published policy
    made for another observation cannot be played any more, so nothing is compared with it.
    """
    manifests = [read_manifest(folder) for folder in runs]
    models = [model for folder in runs for model in load_models(folder)]
    networks = [weights_of(scorer_of(model)) for model in models]
    training = [each for manifest in manifests for each in manifest.training]
    predictor = Predictor(
        networks, for_due_dates=due_date_networks(training), for_makespans=makespan_networks(training)
    )
    on_stage("gates")
    files = [folder / name for folder, manifest in zip(runs, manifests, strict=True) for name in manifest.files]
    measured = measure(files, models, predictor, Validation(plant, problems))
    comparison = _comparison(predictor, target, plant, problems, on_stage)
    is_other = against is not None and against.resolve() != target.resolve()
    other = _comparison(predictor, against, plant, problems, on_stage) if against is not None and is_other else None
    lost = [found.miss() for found in (comparison, other) if found is not None]
    messages = [*missed(measured), *(message for message in lost if message is not None)]
    if messages:
        raise GateMissed(messages)
    target.mkdir(parents=True, exist_ok=True)
    version = latest_version(target) + 1
    for number, model in enumerate(models, start=1):
        model.save(target / model_file(number))
    return write_artefact(
        target,
        networks,
        name=target.name,
        version=version,
        created_at=clock().isoformat(timespec="seconds"),
        training=training,
        results={
            "validation_gain_over_composite_rule": measured[RULE] / 100.0,
            "gates": measured,
            "compared_with_published": None if comparison is None else asdict(comparison),
            **({} if other is None else {"compared_with_other": asdict(other)}),
        },
    )


def measure(
    files: Sequence[Path], models: Sequence[MaskablePPO], predictor: Predictor, validation: Validation
) -> dict[str, float]:
    """The figure of every gate in `gates.GATES`; `files` and `models` are those of the predictor's networks."""
    schedules = [predictor.schedule(problem) for problem in validation.problems]
    refused = sum(
        not judge(problem, schedule).valid for problem, schedule in zip(validation.problems, schedules, strict=True)
    )
    found = [
        agreement(model, weights, validation.problems[:AGREEMENT_PROBLEMS])
        for model, weights in zip(models, predictor.networks, strict=True)
    ]
    return {
        AGREEMENT: sum(network.disagreements for network in found),
        VALID: refused,
        SIZE: sum(file.stat().st_size for file in files) / 1e6,
        PASS_TIME: pass_time_ratio(predictor, validation.problems),
        RULE: 100.0 * float(validation.gains(predictor.schedule).mean()),
    }


def pass_time_ratio(predictor: Predictor, problems: Sequence[Problem]) -> float:
    """Median over the problems of a policy pass's time in times of the composite rule's, both the best of three."""
    ratios = []
    for problem in problems:
        passes, rules = [], []
        for _ in range(3):
            passes.append(_seconds(partial(predictor.schedule, problem)))
            rules.append(_seconds(partial(dispatch, problem, Rule.COMPOSITE)))
        ratios.append(min(passes) / min(rules))
    return float(np.median(ratios))


def load_models(folder: Path) -> list[MaskablePPO]:
    """The Stable-Baselines3 model of each network of the policy in `folder`. Raises `ArtefactError`."""
    return [load_model(folder / model_file(number + 1)) for number in range(len(read_manifest(folder).training))]


def load_model(file: Path) -> MaskablePPO:
    """One Stable-Baselines3 model. Raises `ArtefactError`."""
    try:
        return MaskablePPO.load(file, device="cpu")
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise ArtefactError(f"{file} must open with MaskablePPO.load, but does not: {error}") from error


def agreement(model: MaskablePPO, weights: Weights, problems: Sequence[Problem]) -> Agreement:
    """Play `problems` by Stable-Baselines3's greedy choices and score every state by the exported network as well."""
    decisions, disagreements, largest = 0, 0, 0.0
    env = FlexibleJobShopEnv()
    for problem in problems:
        observation, info = env.reset(options={"problem": problem})
        complete = False
        while not complete:
            mask = info["action_mask"]
            action, _ = model.predict(observation, action_masks=mask, deterministic=True)
            logits = _logits(weights, observation.reshape(-1, FEATURE_COUNT + 1)[mask, :-1])
            tensor, _ = model.policy.obs_to_tensor(observation)
            expected = scorer_of(model)(tensor)[0][0].detach().numpy()[mask]
            largest = max(largest, float(np.abs(logits - expected).max()))
            decisions += 1
            disagreements += bool(expected[int(action)] - expected[int(logits.argmax())] > TIE_TOLERANCE)
            observation, _, complete, _, info = env.step(np.int64(action))
    return Agreement(decisions=decisions, disagreements=disagreements, largest_logit_difference=largest)


def _logits(weights: Weights, rows: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, Any]:
    workspace = new_workspace(weights, machines=1, limit=max(len(rows), CANDIDATE_LIMIT))
    workspace.rows[: len(rows)] = rows
    score(weights, workspace, len(rows))
    return workspace.logits[: len(rows)]


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _comparison(
    predictor: Predictor, target: Path, plant: Plant, problems: int, on_stage: Callable[[str], None]
) -> PolicyComparison | None:
    """The candidate against the policy in `target`, on more problems while they are undecided; None without one."""
    try:
        published = load_predictor(target)
    except ArtefactError:
        return None
    for doubling in range(MAX_DOUBLINGS + 1):
        count = problems * 2**doubling
        on_stage(f"comparing with {published.model_id} on {count} problems")
        validation = Validation(plant, count)
        found = compared(published.model_id, validation.gains(predictor.schedule), validation.gains(published.schedule))
        if found.decision is not ComparisonOutcome.UNDECIDED:
            break
    return found
