"""Every way in which the service and its surroundings are made to fail, one at a time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from tests.system.auditing.proxy import FaultProxy
from tests.system.mariadb import PrivateMariaDb
from tests.system.serving import Service

REPLICAS = ("RequestRouter", "PPOPolicy", "SafetyValidator", "DBWriter", "Counterfactual", "RolloutController")
Fault = Callable[[], Awaitable[bool]]
Pause = Callable[[], Awaitable[None]]


class Faults:
    """Inflicts each kind in turn, in an order that the generator shuffles anew each round."""

    def __init__(
        self,
        service: Service,
        database: PrivateMariaDb,
        *,
        to_service: FaultProxy,
        to_database: FaultProxy,
        full_disk: Path,
        rng: np.random.Generator,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._service = service
        self._database = database
        self._to_service = to_service
        self._to_database = to_database
        self._full_disk = full_disk
        self._rng = rng
        self._waiting: list[str] = []
        self._kinds: dict[str, Fault] = {
            **{f"kill -9 of {name}": self._killing(name) for name in REPLICAS},
            "kill -9 of the Serve controller": self._kill_serve_controller,
            "kill -9 of mariadbd": self._kill_database,
            "reset of the clients' connections": self._resetting(to_service),
            "reset of the database's connections": self._resetting(to_database),
            "clients' connections half-open": self._stalling(to_service),
            "database's connections half-open": self._stalling(to_database),
            "delay between clients and service": self._delaying(to_service),
            "delay between service and database": self._delaying(to_database),
            "database cut off": self._cut_off_database,
            "disk of the spool full": self._fill_disk,
        }

    async def inflict(self) -> None:
        """The next one; returns when it is over, not when the service has recovered."""
        if not self._waiting:
            self._waiting = [str(kind) for kind in self._rng.permutation(list(self._kinds))]
        kind = self._waiting.pop()
        if await self._kinds[kind]():
            self.counts[kind] += 1

    def _killing(self, deployment: str) -> Fault:
        async def kill() -> bool:
            pids = await asyncio.to_thread(self._service.replicas, deployment)
            return bool(pids) and _kill(int(self._rng.choice(pids)))

        return kill

    async def _kill_serve_controller(self) -> bool:
        pids = await asyncio.to_thread(self._service.serve_controllers)
        return bool(pids) and _kill(pids[0])

    async def _kill_database(self) -> bool:
        await kill_database(self._database, lambda: self._pause(0.5, 3.0))
        return True

    def _resetting(self, proxy: FaultProxy) -> Fault:
        async def reset() -> bool:
            return proxy.reset() > 0

        return reset

    def _stalling(self, proxy: FaultProxy) -> Fault:
        async def stall_connections() -> bool:
            await stall(proxy, lambda: self._pause(0.5, 3.0))
            return True

        return stall_connections

    def _delaying(self, proxy: FaultProxy) -> Fault:
        async def delay() -> bool:
            proxy.delay_seconds = float(self._rng.uniform(0.05, 0.5))
            await self._pause(0.5, 2.0)
            proxy.delay_seconds = 0.0
            return True

        return delay

    async def _cut_off_database(self) -> bool:
        await cut_off(self._to_database, lambda: self._pause(0.5, 3.0))
        return True

    async def _fill_disk(self) -> bool:
        self._full_disk.touch()
        await self._pause(0.3, 1.5)
        self._full_disk.unlink()
        return True

    async def _pause(self, least_seconds: float, most_seconds: float) -> None:
        await asyncio.sleep(float(self._rng.uniform(least_seconds, most_seconds)))


async def kill_database(database: PrivateMariaDb, pause: Pause) -> None:
    """Dead until the pause is over."""
    await asyncio.to_thread(database.stop, signal.SIGKILL)
    await pause()
    await asyncio.to_thread(database.start)


async def cut_off(proxy: FaultProxy, pause: Pause) -> None:
    """Nobody gets through until the pause is over."""
    proxy.is_cut = True
    proxy.reset()
    await pause()
    proxy.is_cut = False


async def stall(proxy: FaultProxy, pause: Pause) -> None:
    """Nothing moves until the pause is over. Whoever was stalled is lost, as behind a firewall that forgot them."""
    proxy.stall()
    await pause()
    proxy.reset()
    proxy.flow()


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
