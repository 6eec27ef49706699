"""Which policy a name means: read from manifests, and never guessed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from deployments.rollout.ramp.state import MANUAL
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.agreement import ModelIdentity
from deployments.serve.controller import MANIFEST, MISS_SECONDS, Manifests
from tests.deployments.rollout_control.events import Clock


def _publish(folder: Path, name: str, version: str) -> ModelIdentity:
    data = json.dumps({"name": name, "version": version}).encode()
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(data)
    return ModelIdentity(model_id=f"{name}@{version}", sha256=hashlib.sha256(data).hexdigest())


def test_policy_is_found_by_its_manifest_alone(tmp_path: Path) -> None:
    """The published one by either name, another one among those that are registered; the rule needs none."""
    published = _publish(tmp_path / "published", "full", "7")
    other = _publish(tmp_path / "models" / "other", "other", "1")
    manifests = Manifests(tmp_path / "published", tmp_path / "models")
    names = (PUBLISHED, "full@7", "other@1", MANUAL)
    assert [manifests.identify(name) for name in names] == [
        published,
        published,
        other,
        ModelIdentity(model_id=MANUAL, sha256=MANUAL),
    ]


def test_policy_that_is_not_found_is_nobody_until_it_is_there(tmp_path: Path) -> None:
    """Its name is no hash: it would be taken for another policy. Nobody looks again at once."""
    clock = Clock()
    manifests = Manifests(tmp_path / "published", tmp_path / "models", steady=clock.steady)
    assert manifests.identify(PUBLISHED) is None
    published = _publish(tmp_path / "published", "full", "7")
    clock.seconds += MISS_SECONDS / 2
    assert manifests.identify(PUBLISHED) is None
    clock.seconds += MISS_SECONDS / 2
    assert manifests.identify(PUBLISHED) == published
