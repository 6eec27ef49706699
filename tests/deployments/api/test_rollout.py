"""Orders over HTTP: who gave them and why, what stands in the way, and the rollback that needs nobody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from deployments.access import ALL_SCOPES, Client, StoredKey, key_digest
from deployments.errors import RolloutUnavailable, StaleVersion, TransitionRefused
from deployments.rollout.model_registry import Registry
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import RolloutState
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.controller import Command
from deployments.settings.service import PUBLISHED_MODEL
from tests.deployments.api.calls import call
from tests.deployments.fakes import NOW, EmptyTrail, FixedKeys, ObedientClient, development_settings, services_over
from tests.deployments.rollout.test_model_registry import candidate


class RefusingDesk(ObedientClient):
    """Raises at every order, and latches at a rollback."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def overview(self) -> dict[str, Any]:
        raise self.error

    async def command(self, command: Command) -> RolloutState:
        raise self.error

    async def roll_back(self, actor: str, reason: str) -> RolloutState | Latch:
        return Latch(ramp=1, version=3, at=NOW, router="r1", actor=actor, reason=reason)


async def test_overview_is_what_the_contract_names() -> None:
    """Version, stage, target and actual split, guardrails and verdict."""
    answer = (await call("GET", "/v1/rollout")).json()
    assert {"version", "stage", "share", "guardrails", "actual_share", "gate"} < set(answer)
    assert (answer["version"], answer["stage"], answer["share"], answer["actual_share"]) == (3, "expanded", 0.5, 0.48)


@pytest.mark.parametrize("action", ["promote", "pause", "resume"])
async def test_order_says_who_and_why(action: str) -> None:
    """The actor is the key's name, the reason the person's words, the version the one they looked at."""
    rollout_client = ObedientClient()
    sent = {"reason": "trucks are late", "expected_version": 3}
    response = await call(
        "POST", f"/v1/rollout/{action}", services=services_over(rollout_client=rollout_client), json=sent
    )
    assert (response.status_code, response.json()["stage"]) == (200, "expanded")
    (command,) = rollout_client.commands
    assert command.action == action
    assert (command.order.actor, command.order.reason, command.order.expected_version) == (
        "default",
        "trucks are late",
        3,
    )


async def test_promotion_brings_the_audit_of_the_experiment_along() -> None:
    """What makes the experiment doubtful is found in the database, and travels with the order."""

    class Doubtful(EmptyTrail):
        async def integrity(self) -> tuple[str, ...]:
            return ("sample ratio mismatch",)

    rollout_client = ObedientClient()
    services = services_over(rollout_client=rollout_client, trail=Doubtful())
    await call("POST", "/v1/rollout/promote", services=services, json={"reason": "because", "force": True})
    assert (rollout_client.commands[0].integrity, rollout_client.commands[0].force) == (
        ("sample ratio mismatch",),
        True,
    )


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "reason"),
        ({"reason": "   "}, "reason"),
        ({"reason": "x", "expected_version": "3"}, "expected_version"),
        ({"reason": "x", "expected_version": -1}, "expected_version"),
        ({"reason": "x", "stage": "full"}, "stage"),
    ],
)
async def test_order_that_makes_no_sense_is_refused(sent: dict[str, Any], field: str) -> None:
    """Without a reason, with a version that is none, with a field that nobody knows."""
    response = await call("POST", "/v1/rollout/pause", json=sent)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


async def test_key_that_calls_itself_the_guardrail_is_refused() -> None:
    """The audit trail must tell people from rules."""
    client = Client(name="plant", scopes=ALL_SCOPES, key_name="guardrail")
    ring = FixedKeys([StoredKey(digest=key_digest("secret"), client=client)])
    response = await call(
        "POST",
        "/v1/rollout/pause",
        services=services_over(access=ring),
        headers={"X-API-Key": "secret"},
        json={"reason": "x"},
    )
    assert response.status_code == 422


@pytest.mark.parametrize(
    ("error", "status", "word", "reasons"),
    [
        (StaleVersion(2, 3), 409, "stale_version", ["the rollout is at version 3"]),
        (TransitionRefused("promote", "shadow", ("needs 100 pairs",)), 409, "transition_refused", ["needs 100 pairs"]),
        (RolloutUnavailable("the rollout controller does not answer", 2), 503, "rollout_unavailable", None),
    ],
)
async def test_refusal_says_what_stands_in_the_way(
    error: Exception, status: int, word: str, reasons: list[str] | None
) -> None:
    """Each as a problem of its own, with everything that is missing."""
    services = services_over(rollout_client=RefusingDesk(error))
    response = await call("POST", "/v1/rollout/promote", services=services, json={"reason": "x"})
    assert (response.status_code, response.json()["error"]) == (status, word)
    assert response.json().get("reasons") == reasons
    assert ("Retry-After" in response.headers) == (status == 503)


async def test_rollback_is_in_force_with_and_without_the_controller() -> None:
    """200 with the state when the controller took it, 202 when this router has latched alone."""
    rollout_client = ObedientClient()
    sent = {"reason": "late trucks", "expected_version": 1}
    done = await call("POST", "/v1/rollout/rollback", services=services_over(rollout_client=rollout_client), json=sent)
    assert (done.status_code, done.json()["stage"], done.json()["version"]) == (200, "rolled_back", 4)
    assert rollout_client.rollbacks == [("default", "late trucks")]
    lost = services_over(rollout_client=RefusingDesk(RolloutUnavailable("gone")))
    latched = await call("POST", "/v1/rollout/rollback", services=lost, json=sent)
    assert (latched.status_code, latched.json()["stage"], latched.json()["version"]) == (202, "rolled_back", None)


async def test_events_and_report_are_read() -> None:
    """The trail, and the report as data and as a page."""
    assert (await call("GET", "/v1/rollout/events")).json() == {"transitions": [], "incidents": []}
    report = (await call("GET", "/v1/rollout/report?days=7")).json()
    assert (report["gate"]["verdict"], report["since"]) == ("HOLD", "2025-07-15T06:00:00+00:00")
    page = await call("GET", "/v1/rollout/report?format=html")
    assert page.headers["content-type"].startswith("text/html")
    assert "Gantry rollout report" in page.text
    assert (await call("GET", "/v1/rollout/report?days=0")).status_code == 422


async def test_model_is_registered_listed_and_activated(tmp_path: Path) -> None:
    """From a folder to the challenger, by name; the published policy is called so whatever its id."""
    settings = development_settings(models_folder=tmp_path)
    shutil.copytree(candidate(tmp_path, 1), tmp_path / "incoming")
    rollout_client = ObedientClient()
    services = services_over(
        settings=settings, rollout_client=rollout_client, registry=Registry(tmp_path, PUBLISHED_MODEL)
    )
    made = await call("POST", "/v1/models", services=services, json={"folder": "incoming"})
    assert (made.status_code, made.json()["model_id"], made.json()["role"]) == (201, "candidate@1", "idle")
    models = (await call("GET", "/v1/models", services=services)).json()["models"]
    assert [(each["is_published"], each["role"]) for each in models] == [(True, "challenger"), (False, "idle")]
    published = models[0]["model_id"]
    sent = {"reason": "better", "champion": published, "force": True}
    path = "/v1/models/candidate@1/activate"
    assert (await call("POST", path, services=services, json=sent)).status_code == 200
    (command,) = rollout_client.commands
    assert (command.challenger, command.champion, command.force) == ("candidate@1", PUBLISHED, True)


@pytest.mark.parametrize("folder", ["../etc", "a/b", "", "nothing", "broken"])
async def test_model_that_is_none_is_refused(tmp_path: Path, folder: str) -> None:
    """Paths, folders that are not there, and damaged policies."""
    broken = candidate(tmp_path, 1).rename(tmp_path / "broken")
    (broken / "weights.npz").write_bytes(b"other")
    settings = development_settings(models_folder=tmp_path)
    services = services_over(settings=settings, registry=Registry(tmp_path, PUBLISHED_MODEL))
    response = await call("POST", "/v1/models", services=services, json={"folder": folder})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "folder")


async def test_activation_needs_models_that_are_there() -> None:
    """An unknown challenger is not found, an unknown champion is named."""
    sent = {"reason": "x", "champion": "nobody@1"}
    assert (await call("POST", "/v1/models/nobody@1/activate", json=sent)).status_code == 404
    published = json.loads((PUBLISHED_MODEL / "manifest.json").read_text())
    path = f"/v1/models/{published['name']}@{published['version']}/activate"
    response = await call("POST", path, json=sent)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "champion")
