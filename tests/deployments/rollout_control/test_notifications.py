"""People are told in words, over real sockets; a target that hangs holds up nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from deployments.commands import notify
from deployments.rollout_control.notifications import Message, Notifications, message_of, send
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.webhook import RetryLimits
from deployments.serve.controller import _notifications
from deployments.settings.service import load_settings
from tests.deployments.rollout_control.events import NOW
from tests.deployments.rollout_control.test_webhook import INCIDENT, TRANSITION, Listener

# A port that nobody listens at.
NOBODY = "json://127.0.0.1:9/?rto=1&cto=1"
LIMITS = RetryLimits(attempts=2, first_pause_seconds=0.01, timeout_seconds=0.5)


def target(listener: Listener) -> str:
    return listener.url.replace("http://", "json://") + "?rto=2&cto=2"


def notifications(url: str, folder: Path) -> Notifications:
    return Notifications(url, 1, plant="penang", folder=folder, begun_at=NOW, limits=LIMITS)


async def _until(listener: Listener, heard: int) -> None:
    async with asyncio.timeout(30):
        while len(listener.received) < heard:
            await asyncio.sleep(0.01)
    # What it was told is written down after the answer.
    await asyncio.sleep(0.3)


async def test_message_says_what_where_since_when_and_what_to_do(tmp_path: Path) -> None:
    """One message for each notice, and the next controller does not send it again."""
    async with Listener(silent_calls=0) as listener:
        for _ in range(2):
            told = notifications(target(listener), tmp_path)
            told.hear(INCIDENT)
            told.hear(TRANSITION)
            told.start()
            await _until(listener, 2)
            await told.stop()
    incident, transition = (json.loads(body) for _, body in listener.received)
    assert incident["title"] == "Gantry penang: incident: crash_rate"
    assert "in stage limited; rolled back" in incident["message"]
    for part in ("Plant: penang", f"Since: {NOW.isoformat()}", "What to do: ", "Runbook: "):
        assert part in incident["message"]
        assert part in transition["message"]
    assert "by guardrail: crash" in transition["message"]


async def test_target_that_hangs_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The other one is told at once; the log says what was given up, and no part of the URL."""
    async with Listener(silent_calls=1000) as hanging, Listener(silent_calls=0) as well:
        both = [notifications(target(each), tmp_path) for each in (hanging, well)]
        with caplog.at_level(logging.WARNING, "deployments"):
            for each in both:
                each.hear(INCIDENT)
                each.start()
            await _until(well, 1)
            assert "was given up" not in caplog.text
            async with asyncio.timeout(30):
                while "the notification target 1 was given up" not in caplog.text:
                    await asyncio.sleep(0.01)
        for each in both:
            await each.stop()
            # What hangs has hung up when its own limit is over; only then the listener may go.
            each._sending.close(waits=True)
        await asyncio.sleep(0.1)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("deployments")]
    assert "attempt 2 of 2: the notification target 1 did not answer: TimeoutError" in ours
    assert not any("json://" in line for line in ours)


async def test_what_was_given_up_is_counted_kept_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason, also after the controller has ended; the exit code says that somebody was not told."""
    counted: list[tuple[str, str]] = []
    folder = tmp_path / "rollout"
    folder.mkdir()
    async with Listener(silent_calls=0) as listener:
        taken = target(listener)

        def count(name: str, outcome: str) -> None:
            counted.append((name, outcome))

        told = [
            Notifications(url, number, plant="p", folder=folder, begun_at=NOW, limits=LIMITS, count=count)
            for number, url in enumerate((taken, NOBODY), 1)
        ]
        for each in told:
            each.hear(INCIDENT)
            each.start()
        async with asyncio.timeout(30):
            while len(counted) < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        for each in told:
            await each.stop()
    assert sorted(counted) == [("notification target 1", "delivered"), ("notification target 2", "given up")]
    monkeypatch.setenv("GANTRY_ROLLOUT_FOLDER", str(folder))
    monkeypatch.setenv("GANTRY_NOTIFY_URLS", f"{taken} {NOBODY}")
    listed = CliRunner().invoke(app, ["notify", "list"])
    assert listed.exit_code == 1
    first, second, lost = listed.stdout.splitlines()
    assert first.startswith("target 1 (json): 1 delivered, the newest of ")
    assert second == "target 2 (json): 0 delivered; 1 given up"
    assert lost.endswith(f"incident {INCIDENT.incident_id}: did not take it")
    monkeypatch.setenv("GANTRY_NOTIFY_URLS", taken)
    assert CliRunner().invoke(app, ["notify", "list"]).exit_code == 0
    for file in folder.glob("notified-*"):
        file.write_text("{", encoding="utf-8")
    broken = CliRunner().invoke(app, ["notify", "list"])
    assert (broken.exit_code, "cannot be read" in broken.stderr) == (1, True)


def test_url_that_nobody_knows_is_a_complaint() -> None:
    """Nothing is raised in the controller."""
    assert send("nobody://x", message_of(TRANSITION, "penang")) == "is no URL that Apprise knows"


@pytest.mark.parametrize(
    ("urls", "complaints", "code", "said"),
    [
        (None, [], 1, "GANTRY_NOTIFY_URLS is not set"),
        ("json://secret-host", [None], 0, "target 1 (json) took it"),
        ("json://secret-host slack://b", [None, "did not take it"], 1, "target 2 (slack) did not take it"),
    ],
)
def test_command_says_who_took_it(
    monkeypatch: pytest.MonkeyPatch, urls: str | None, complaints: list[str | None], code: int, said: str
) -> None:
    """By number and kind; exit 1 when somebody did not."""
    monkeypatch.delenv("GANTRY_NOTIFY_URLS", raising=False)
    if urls:
        monkeypatch.setenv("GANTRY_NOTIFY_URLS", urls)
    monkeypatch.setattr("deployments.rollout_control.notifications.send", lambda *_: complaints.pop(0))
    result = CliRunner().invoke(app, ["notify", "test"])
    assert (result.exit_code, said in result.output) == (code, True)
    assert "secret-host" not in result.output


def test_command_gives_up_a_target_that_hangs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and ends."""
    monkeypatch.setattr(notify, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("deployments.rollout_control.notifications.send", lambda *_: __import__("time").sleep(1))
    assert notify._told(1, "json://x", Message("t", "b")) is not None
    assert "did not answer within 0.05 s" in capsys.readouterr().err


async def test_controller_tells_every_target_of_the_settings(tmp_path: Path) -> None:
    """Each URL has a listener of its own, which is stopped with the controller."""
    async with Listener(silent_calls=0) as one, Listener(silent_calls=0) as two, AsyncExitStack() as stack:
        urls = f"{target(one)} {target(two)}"
        settings = load_settings(data_folder=tmp_path, notify_urls=urls, plant_id="penang")
        settings.rollout_folder.mkdir(parents=True)
        listeners = _notifications(settings, stack, lambda _target, _outcome: None)
        later = Incident(**{**INCIDENT.as_json(), "at": datetime.now(UTC) + timedelta(seconds=1)})
        for each in listeners:
            each.hear(later)
        await _until(one, 1)
        await _until(two, 1)
    assert len(listeners) == 2
