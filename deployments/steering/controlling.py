"""Everything that the controller replica holds: opened in order, closed in reverse."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Self

from deployments.persistence.database import create_engine
from deployments.persistence.rollout_rows import RolloutRows
from deployments.rollout.configuration import Stage
from deployments.settings import Settings
from deployments.standing import PUBLISHED
from deployments.steering.control import Control
from deployments.steering.control_journal import ControlJournal
from deployments.steering.filing import Filing
from deployments.steering.ledger import Listener
from deployments.steering.recovery import ControlSettings
from deployments.steering.told import Told
from deployments.steering.webhook import Destination, Webhook


class Controlling:
    """The controller over this node's disk and the database, alive from `open` to `close`."""

    def __init__(self, control: Control, resources: AsyncExitStack) -> None:
        self.control = control
        self._resources = resources

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Raises `ControllerTaken`; a database that is down does not matter."""
        async with AsyncExitStack() as stack:
            engine = create_engine(settings.database_url.get_secret_value())
            stack.callback(engine.dispose)
            filing = Filing(RolloutRows(engine))
            filing.start()
            stack.push_async_callback(filing.stop)
            control = Control(
                ControlSettings(
                    configuration=settings.ramp_configuration,
                    initial_stage=Stage(settings.initial_stage),
                    seed=settings.assignment_seed,
                    challenger=PUBLISHED,
                    is_dry_run=settings.rollout_dry_run,
                ),
                journal=ControlJournal(settings.rollout_folder),
                memory=filing,
                listeners=(filing, *_webhooks(settings, stack)),
                clock=_utc_now,
            )
            stack.push_async_callback(control.close)
            await control.open()
            return cls(control, stack.pop_all())

    async def close(self) -> None:
        """Saves what there is and lets the next controller in."""
        await self._resources.aclose()


def _webhooks(settings: Settings, stack: AsyncExitStack) -> tuple[Listener, ...]:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return ()
    destination = Destination(url=settings.webhook_url, secret=settings.webhook_secret.get_secret_value())
    webhook = Webhook(destination, told=Told(settings.rollout_folder, begun_at=_utc_now()), clock=_utc_now)
    webhook.start()
    stack.push_async_callback(webhook.stop)
    return (webhook,)


def _utc_now() -> datetime:
    return datetime.now(UTC)
