"""RolloutController: one replica that owns the stage, and everything that it holds."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from deployments.persistence.database import create_delivery_engine
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.rollout.ramp.state import MANUAL, RolloutState, Stage
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.agreement import ControlSettings, ModelIdentity
from deployments.rollout_control.controller import Command, Controller
from deployments.rollout_control.database_sync import DatabaseSync
from deployments.rollout_control.notifications import Notifications
from deployments.rollout_control.protocol import ControllerReply, RouterReport
from deployments.rollout_control.transition_log import ControllerJournal, TransitionListener
from deployments.rollout_control.webhook import DeliveryLog, Destination, Webhook
from deployments.runtime.background import Threads
from deployments.runtime.clock import utc_now
from deployments.runtime.metrics import NOTICES, Meter
from deployments.serve.metrics import RolloutMetrics, replica_meter
from deployments.serve.process import configure_process, release_start_up_memory
from deployments.settings.connections import urls_of
from deployments.settings.service import Settings

MANIFEST = "manifest.json"
"""`MANIFEST_FILE` of `models.policy.artefact`, whose import would bring the compiled core."""
MISS_SECONDS = 10.0
"""How long nobody looks again for a policy that was not found."""


class RemoteController:
    """The deployment RolloutController. Raises `RemoteFailed` or `Overloaded` when it cannot be reached."""

    def __init__(self, controller: Any) -> None:
        # Here, because it brings the compiled core, which the controller's own process does without.
        from deployments.serve.handles import ask

        self._controller = controller
        self._ask = ask

    async def exchange(self, report: RouterReport) -> ControllerReply:
        """A router's news for the state; raises whatever the call raises."""
        reply: ControllerReply = await self._controller.exchange.remote(report)
        return reply

    async def command(self, order: Command) -> RolloutState:
        """A person's order, once only: one that was carried out must not be carried out again."""
        state: RolloutState = await self._ask(self._controller.command, order, attempts=1)
        return state

    async def overview(self) -> dict[str, Any]:
        """What an operator looks at."""
        document: dict[str, Any] = await self._ask(self._controller.overview, attempts=2)
        return document


class RolloutController:
    """Runs on one event loop; disk and database are asked in threads."""

    async def __init__(self) -> None:  # type: ignore[misc]
        """Ray awaits this. Raises `InvalidSettings`, or `ControllerTaken` while an earlier controller lives."""
        async with AsyncExitStack() as stack:
            meter = replica_meter()
            self._control = await _open_control(self.settings(), self.now, stack, meter)
            report = RolloutMetrics(
                meter, guardrails=self._control.guardrails, evidence=lambda: self._control.gate().readings
            )
            report.start()
            stack.push_async_callback(report.stop)
            self._resources = stack.pop_all()
        release_start_up_memory()

    def settings(self) -> Settings:
        """Those of this process."""
        return configure_process()

    def now(self) -> datetime:
        """The clock of the rollout: how long stages last, and when windows close."""
        return utc_now()

    async def exchange(self, report: RouterReport) -> ControllerReply:
        """A router's news for the state."""
        return await self._control.exchange(report)

    async def command(self, command: Command) -> RolloutState:
        """A person's order. Raises `RolloutError` or `RolloutUnavailable`."""
        return await self._control.command(command)

    async def overview(self) -> dict[str, Any]:
        """What an operator looks at. Raises `RolloutUnavailable`."""
        return self._control.overview()

    async def __del__(self) -> None:
        # Saves what there is and lets the next controller in.
        await self._resources.aclose()


class Manifests:
    """Which policy a name means, from the manifests alone: the controller has no need of what is behind them."""

    def __init__(self, published: Path, registered: Path, steady: Callable[[], float] = time.monotonic) -> None:
        self._published = published
        self._registered = registered
        self._steady = steady
        self._missed_at: dict[str, float] = {}

    def identify(self, name: str) -> ModelIdentity | None:
        """The policy of that name, or the planner's rule; None for one that cannot be found.

        Folders are looked through for it again after `MISS_SECONDS`.
        """
        if name == MANUAL:
            return ModelIdentity(model_id=name, sha256=name)
        now = self._steady()
        if now - self._missed_at.get(name, -MISS_SECONDS) < MISS_SECONDS:
            return None
        found = (each for folder in self._folders(name) if (each := _identity_in(folder)) is not None)
        identity = next((each for each in found if name in (PUBLISHED, each.model_id)), None)
        if identity is None:
            self._missed_at[name] = now
        return identity

    def _folders(self, name: str) -> list[Path]:
        folders = [self._published]
        if name != PUBLISHED:
            with suppress(OSError):
                folders += [each for each in self._registered.iterdir() if each.is_dir()]
        return folders


def _identity_in(folder: Path) -> ModelIdentity | None:
    try:
        data = (folder / MANIFEST).read_bytes()
        document = json.loads(data)
        model_id = f"{document['name']}@{document['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ModelIdentity(model_id=model_id, sha256=hashlib.sha256(data).hexdigest())


async def _open_control(
    settings: Settings, clock: Callable[[], datetime], stack: AsyncExitStack, meter: Meter
) -> Controller:
    """The controller over this node's disk and the database, which may be down. Raises `ControllerTaken`."""

    def count(target: str, outcome: str) -> None:
        meter.count(NOTICES, target=target, outcome=outcome)

    rows, threads = _rows(settings, "the rows of the rollout", stack)
    history, history_threads = _rows(settings, "the history of the rollout", stack)
    owner_name = f"{socket.gethostname()}:{settings.rollout_folder.absolute()}"
    database_sync = DatabaseSync(rows, threads, history=history, history_threads=history_threads, owner_name=owner_name)
    database_sync.start()
    stack.push_async_callback(database_sync.stop)
    control = Controller(
        ControlSettings(
            configuration=settings.policy.ramp_configuration,
            initial_stage=Stage(settings.initial_stage),
            seed=settings.assignment_seed,
            challenger=PUBLISHED,
            is_dry_run=settings.rollout_dry_run,
            sampled_share=settings.counterfactual_percent / 100.0,
            identify=Manifests(settings.model_path, settings.models_folder).identify,
        ),
        journal=ControllerJournal(settings.rollout_folder),
        database=database_sync,
        listeners=(database_sync, *_webhooks(settings, stack, count), *_notifications(settings, stack, count)),
        clock=clock,
    )
    stack.push_async_callback(control.close)
    await control.open()
    return control


def _rows(settings: Settings, purpose: str, stack: AsyncExitStack) -> tuple[RolloutRows, Threads]:
    """A connection that gives up soon, in a thread that nobody else waits for."""
    engine = create_delivery_engine(settings.database_url.get_secret_value())
    stack.callback(engine.dispose)
    threads = Threads(purpose, 1)
    stack.callback(threads.close)
    return RolloutRows(engine), threads


def _webhooks(
    settings: Settings, stack: AsyncExitStack, count: Callable[[str, str], None]
) -> tuple[TransitionListener, ...]:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return ()
    destination = Destination(url=settings.webhook_url, secret=settings.webhook_secret.get_secret_value())
    delivery_log = DeliveryLog(settings.rollout_folder, begun_at=utc_now())
    webhook = Webhook(destination, delivery_log=delivery_log, clock=utc_now, count=count)
    webhook.start()
    stack.push_async_callback(webhook.stop)
    return (webhook,)


def _notifications(
    settings: Settings, stack: AsyncExitStack, count: Callable[[str, str], None]
) -> tuple[TransitionListener, ...]:
    begun_at, folder, plant = utc_now(), settings.rollout_folder, settings.plant_id
    listeners = []
    for number, url in enumerate(urls_of(settings.notify_urls), 1):
        listener = Notifications(url, number, plant=plant, folder=folder, begun_at=begun_at, count=count)
        listener.start()
        stack.push_async_callback(listener.stop)
        listeners.append(listener)
    return tuple(listeners)
