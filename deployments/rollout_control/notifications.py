"""Tells people in words, by mail, chat or whatever else Apprise reaches, what the webhook tells programs."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deployments.errors import Overloaded
from deployments.rollout.analysis.triggers import GuardrailReading
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.transition_log import Entry
from deployments.rollout_control.webhook import DeliveryLog, NoticeDelivery, RetryLimits, notice_of
from deployments.runtime.background import Threads

RUNBOOK = "docs/ROLLOUT.md"
MAX_THREADS_WAITING = 1
DEFAULT_LIMITS = RetryLimits(timeout_seconds=10.0)


@dataclass(frozen=True, slots=True)
class Message:
    """What a person reads."""

    title: str
    body: str


class Notifications(NoticeDelivery):
    """Tells one target, so that one that fails neither holds up the others nor has them told twice.

    `number` is what logs call it by: its URL is a secret.
    """

    def __init__(
        self,
        url: str,
        number: int,
        *,
        plant: str,
        folder: Path,
        begun_at: datetime,
        limits: RetryLimits = DEFAULT_LIMITS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        count: Callable[[str, str], None] = lambda _target, _outcome: None,
    ) -> None:
        delivery_log = DeliveryLog(folder, begun_at=begun_at, name=file_of(url))
        name = f"notification target {number}"
        super().__init__(name, limits, delivery_log=delivery_log, sleep=sleep, count=count)
        self._url = url
        self._plant = plant
        # Libraries of mail and chat block, and one that hangs must hang in a thread of its own.
        self._sending = Threads(self._name, 1, max_waiting=MAX_THREADS_WAITING)

    async def attempt(self, entry: Entry) -> str | None:
        """What went wrong, None when it was taken, within `timeout_seconds`."""
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                return await self._sending.run(send, self._url, message_of(entry, self._plant))
        except (TimeoutError, Overloaded) as error:
            return f"did not answer: {type(error).__name__}"

    async def stop(self) -> None:
        """Ends at once; a thread that hangs in a target is not waited for."""
        await super().stop()
        self._sending.close()


def file_of(url: str) -> str:
    """Where its deliveries are: by URL and not by number, so that taking a target out makes no other forget."""
    return f"notified-{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def send(url: str, message: Message) -> str | None:
    """What went wrong, None when it was taken. Blocking. Never raises: a target may do whatever it likes."""
    from apprise import Apprise, NotifyFormat

    try:
        target = Apprise.instantiate(url)
        if target is None:
            return "is no URL that Apprise knows"
        # Without its format the text would be sent as what the target prefers: unescaped HTML to a mailbox.
        is_taken = target.notify(body=message.body, title=message.title, body_format=NotifyFormat.TEXT)
        return None if is_taken else "did not take it"
    except Exception as error:
        # Whatever the target's library raises; its text might hold the URL.
        return f"failed: {type(error).__name__}"


def message_of(entry: Entry, plant: str) -> Message:
    """What happened, where, since when, and what to do."""
    if isinstance(entry, GuardrailReading):
        name = entry.guardrail.value
        value = "not known" if entry.value is None else f"{entry.value:.4g}"
        found = f"is at {value} after {entry.n} events; its limit is {entry.limit:.4g}"
        what = f"The guardrail {name} ({entry.rule.value}) {found}."
        return _message(f"{name} breached", what, plant, None, "Look at the readings: gantry rollout status.")
    if isinstance(entry, Incident):
        reason = notice_of(entry)["incident"]["reason"]
        what = f"Incident {entry.incident_id}: {entry.trigger} ({reason}) in stage {entry.stage}; {entry.action}."
        to_do = "Find the cause before anybody goes on: gantry rollout status shows where the rollout stands."
        return _message(f"incident: {entry.trigger}", what, plant, entry.at, to_do)
    before = entry.to_stage.value if entry.from_stage is None else entry.from_stage.value
    what = f"{entry.action.value} from {before} to {entry.to_stage.value}, by {entry.actor}: {entry.reason}."
    to_do = "Nothing, if this was meant. Look: gantry rollout status."
    return _message(f"rollout: {entry.action.value} to {entry.to_stage.value}", what, plant, entry.at, to_do)


def _message(title: str, what: str, plant: str, since: datetime | None, to_do: str) -> Message:
    lines = [what, f"Plant: {plant}", *([f"Since: {since.isoformat()}"] if since else [])]
    return Message(f"Gantry {plant}: {title}", "\n".join([*lines, f"What to do: {to_do}", f"Runbook: {RUNBOOK}"]))
