from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sb3_contrib", reason="publishing needs the extra 'train'")

from sb3_contrib import MaskablePPO

from env.errors import ArtefactError, GateMissed
from env.gym.adapters import FlexibleJobShopEnv
from env.instances.generator import Plant, random_problem, toy_problem
from models.policy.artefact import MODEL_FILE, PUBLISHED, load_predictor, read_manifest
from models.policy.predictor import Predictor
from models.publishing.evaluation import GATES, missed
from models.publishing.publish import agreement, load_model, load_models, measure, publish, save_run
from models.training.config import TrainingConfig
from models.training.train import scorer_of, train
from models.training.validation import Validation, weights_of

NOW = datetime(2025, 7, 22, tzinfo=UTC)
SMALL = Plant(operations=(6, 14))
MIXED = Plant(operations=(40, 120))
UNTRAINED = TrainingConfig(
    plant=SMALL,
    decisions=0,
    imitation_epochs=0,
    lookahead_updates=0,
    group_updates=0,
    slots=2,
    validation_problems=2,
    threads=1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model: publishing does not ask how it was trained."""
    folder = tmp_path_factory.mktemp("run")
    save_run(train(UNTRAINED).model, folder, training=UNTRAINED.as_json(), results={}, clock=lambda: NOW)
    return folder


def test_compiled_inference_agrees_with_stable_baselines3() -> None:
    """On every state of twelve problems the two forms of each published network choose the same candidate."""
    rng = np.random.default_rng(77)
    problems = [random_problem(rng, Plant(operations=(20, 60))) for _ in range(12)]
    for model, weights in zip(load_models(PUBLISHED), load_predictor(PUBLISHED).networks, strict=True):
        found = agreement(model, weights, problems)
        assert found.decisions > 200
        assert found.disagreements == 0
        assert found.largest_logit_difference < 1e-3


def test_agreement_notices_other_weights(run: Path) -> None:
    """The proof can fail: weights with one sign turned choose differently."""
    (weights,) = load_predictor(run).networks
    turned = weights._replace(score=-weights.score)
    rng = np.random.default_rng(5)
    problems = [random_problem(rng, Plant(operations=(20, 40))) for _ in range(4)]
    found = agreement(load_model(run / MODEL_FILE), turned, problems)
    assert found.disagreements > 0


def test_final_model_opens_with_maskable_ppo() -> None:
    """The published zip is a plain MaskablePPO model that plays the gymnasium environment."""
    model = MaskablePPO.load(PUBLISHED / MODEL_FILE, device="cpu")
    shop = FlexibleJobShopEnv(problem=toy_problem())
    observation, info = shop.reset()
    complete = False
    while not complete:
        action, _ = model.predict(observation, action_masks=info["action_mask"], deterministic=True)
        observation, _, complete, _, info = shop.step(action)
    assert shop.schedule.makespan_seconds == 5


@pytest.mark.learning
def test_publishing_raises_the_version(tmp_path: Path) -> None:
    """An equal policy may be published again, one version up; what was trained and measured stays in the manifest."""
    published = read_manifest(PUBLISHED)
    assert publish([PUBLISHED], tmp_path, MIXED, 12, clock=lambda: NOW).model_id == f"{tmp_path.name}@1"
    again = publish([PUBLISHED], tmp_path, MIXED, 12, clock=lambda: NOW)
    assert (again.version, again.training, again.created_at) == (2, published.training, "2025-07-22T00:00:00+00:00")
    found = read_manifest(tmp_path).results
    assert set(found["gates"]) == {gate.name for gate in GATES}
    assert found["compared_with_published"]["published"] == f"{tmp_path.name}@1"
    assert (found["compared_with_published"]["wins"], found["compared_with_published"]["losses"]) == (0, 0)
    assert load_predictor(tmp_path).model_id == f"{tmp_path.name}@2"


@pytest.mark.learning
def test_a_network_joins_the_published_ones(run: Path, tmp_path: Path) -> None:
    """An untrained one cannot make anything worse, because the best schedule counts."""
    target = tmp_path / "full_production"
    shutil.copytree(PUBLISHED, target)
    published = read_manifest(PUBLISHED)
    manifest = publish([target, run], target, Plant(operations=(20, 60)), 16, clock=lambda: NOW)
    assert manifest.training == (*published.training, *read_manifest(run).training)
    assert manifest.results["compared_with_published"]["losses"] == 0
    networks = load_predictor(target).networks
    assert len(networks) == len(load_models(target)) == len(published.training) + 1
    np.testing.assert_array_equal(networks[-1].score, load_predictor(run).networks[0].score)


@pytest.mark.learning
def test_worse_policy_is_not_published(run: Path, tmp_path: Path) -> None:
    """An untrained policy does not replace the published one; the error names every gate that it misses."""
    target = tmp_path / "full_production"
    shutil.copytree(PUBLISHED, target)
    with pytest.raises(GateMissed) as refusal:
        publish([run], target, Plant(operations=(20, 60)), 16, clock=lambda: NOW)
    rule, worse = refusal.value.messages
    assert rule.startswith(
        "gate 'rule': mean gain over the composite rule in per cent of its objective must be >= 0, was -"
    )
    assert worse.startswith("gate 'not worse': the mean gain over full_production@")
    assert worse.endswith(": worse")
    assert read_manifest(target) == read_manifest(PUBLISHED)


@pytest.mark.learning
def test_policy_that_is_worse_than_another_is_not_published_elsewhere(run: Path, tmp_path: Path) -> None:
    """A new folder has no policy of its own to be compared with, so the shipped one is named; of itself it is once."""
    with pytest.raises(GateMissed, match=rf"the mean gain over {read_manifest(PUBLISHED).model_id} must be shown"):
        publish([run], tmp_path / "mine", Plant(operations=(20, 60)), 16, clock=lambda: NOW, against=PUBLISHED)
    assert not (tmp_path / "mine").exists()
    found = publish([PUBLISHED], tmp_path / "mine", MIXED, 12, clock=lambda: NOW, against=PUBLISHED).results
    assert found["compared_with_published"] is None
    assert found["compared_with_other"]["published"] == read_manifest(PUBLISHED).model_id
    again = publish([PUBLISHED], tmp_path / "mine", MIXED, 12, clock=lambda: NOW, against=tmp_path / "mine").results
    assert "compared_with_other" not in again


def test_weights_that_choose_differently_are_not_published(tmp_path: Path) -> None:
    """The figures of the gates come from the policy itself: with one sign turned, it disagrees with its own zip."""
    turned = Predictor([each._replace(score=-each.score) for each in load_predictor(PUBLISHED).networks])
    files = [PUBLISHED / name for name in read_manifest(PUBLISHED).files]
    found = measure(files, load_models(PUBLISHED), turned, Validation(SMALL, 4))
    names = [message.split("'")[1] for message in missed(found)]
    assert names[0] == "agreement"
    assert found["valid"] == 0
    assert 1.0 < found["size"] < 8.0


def test_damaged_model_is_named(run: Path, tmp_path: Path) -> None:
    """A zip that Stable-Baselines3 cannot open is an error of one line."""
    (tmp_path / MODEL_FILE).write_bytes(b"not a zip")
    with pytest.raises(ArtefactError, match=r"final_model\.zip must open with MaskablePPO\.load"):
        load_model(tmp_path / MODEL_FILE)


def test_weights_survive_export(run: Path) -> None:
    """Exported weights are those of the network, to the bit."""
    exported = weights_of(scorer_of(load_model(run / MODEL_FILE)))
    for found, expected in zip(load_predictor(run).networks[0], exported, strict=True):
        np.testing.assert_array_equal(found, expected)
