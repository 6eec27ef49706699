"""Those who write: each decision until it is acknowledged, half of them under an idempotency key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass, field
from itertools import count

import httpx

from tests.system.auditing.ledger import Attempt, TransitionLog
from tests.system.serving import HEADERS

_PAUSE_SECONDS = 0.2
_TIMEOUT = httpx.Timeout(15.0, connect=3.0)
# A new connection each time: what one fault did to a connection must not touch the next attempt.
_NO_REUSE = httpx.Limits(max_keepalive_connections=0)


@dataclass(slots=True)
class Progress:
    """How far the clients have come. An outage is the time between two acknowledged decisions of any of them."""

    acknowledged: int = 0
    longest_outage_seconds: float = 0.0
    last_at: float = field(default_factory=time.monotonic)

    def note(self) -> None:
        """Somebody heard a 200."""
        now = time.monotonic()
        self.longest_outage_seconds = max(self.longest_outage_seconds, now - self.last_at)
        self.last_at = now
        self.acknowledged += 1


def connections_to(url: str) -> httpx.AsyncClient:
    """For all clients together: each request has a connection of its own anyway."""
    return httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=_NO_REUSE, trust_env=False)


class Client:
    """One client: what it writes, it writes until it is acknowledged."""

    def __init__(
        self, name: str, http: httpx.AsyncClient, ledger: TransitionLog, progress: Progress, stop: asyncio.Event
    ) -> None:
        self._name = name
        self._http = http
        self._ledger = ledger
        self._progress = progress
        self._stop = stop

    async def run(self) -> None:
        """Decision after decision, until told to stop; what is begun is brought to an end."""
        number = 0
        while not self._stop.is_set():
            number += 1
            await self.write(number, is_keyed=number % 2 == 0)

    async def write(self, number: int, *, is_keyed: bool) -> None:
        """One decision, tried again until it is acknowledged."""
        name = f"{self._name}-{number}"
        await self.send_until_answered(name, name if is_keyed else None)

    async def send_until_answered(self, request_id: str, key: str | None) -> Attempt:
        """The attempt that was acknowledged.

        Under a key it is the same request each time; without one, each attempt is a request of its own.
        """
        for number in count(1):
            attempt = self._ledger.open(request_id if key else f"{request_id}.{number}", key)
            await self._send(attempt)
            if attempt.status == 200:
                self._progress.note()
                return attempt
            await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError("counting does not end")

    async def _send(self, attempt: Attempt) -> None:
        headers = HEADERS | ({"Idempotency-Key": attempt.key} if attempt.key else {})
        content = json.dumps(small_request(attempt.request_id)).encode()
        try:
            response = await self._http.post("/schedule", content=content, headers=headers)
        except httpx.HTTPError:
            return
        attempt.status = response.status_code
        if response.status_code == 200:
            attempt.decision_id = response.json()["schedule_id"]
            attempt.body_sha256 = hashlib.sha256(response.content).hexdigest()
            attempt.is_replayed = "Idempotency-Replayed" in response.headers


def small_request(request_id: str) -> dict[str, object]:
    """Three jobs on two machines, different from every other request by its id."""
    return {
        "request_id": request_id,
        "jobs": [
            {"job_id": f"J{index}", "processing_time": 1.5, "machine_types": [1], "setup_time": 0.25}
            for index in range(3)
        ],
        "machines": [{"machine_id": index, "machine_name": f"M{index}", "machine_type": 1} for index in range(2)],
        "schedule_start": "2025-07-22T08:00:00",
        "respect_break_times": False,
        "time_budget_ms": 0,
    }
