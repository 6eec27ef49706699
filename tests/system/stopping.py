"""`python -m tests.system.stopping`: the service is told to stop at random moments, again and again, and started anew.

Under load, in a search of three seconds, with an Idempotency-Key held, and during the start, in turn. Meanwhile others
knock all the time, each with a connection of its own. Every request that was under way must be answered, every newcomer
turned away in order (problem details with Retry-After, or no connection), and every 200 be stored after the next start.
Prints a line for each stop; the exit code says whether anything was otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx

from deployments.commands.demo import EXAMPLE
from tests.system.serving import (
    ANSWERED,
    HEADERS,
    REFUSED,
    UNCONNECTED,
    Service,
    await_ready,
    eventually,
    kind_of,
    starting_service,
)

CLIENTS = 6
SEARCH_MS = 3000
KNOCK_SECONDS = 0.05
# Whoever came later than this before the signal may be a newcomer, which is turned away.
UNDER_WAY_SECONDS = 0.5
MAX_STOP_SECONDS = 60.0
MAX_START_SECONDS = 15.0
EXAMPLE_BODY: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))


class Moment(StrEnum):
    """When the service is told to stop."""

    LOAD = "under load"
    SEARCH = "in a search"
    KEY = "with a key held"
    START = "during the start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one request; `kind` is "answered", "refused", "unconnected", or else disorderly."""

    sent_at: float
    ended_at: float
    kind: str
    key: str | None = None
    schedule_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What became of all requests around one stop."""

    moment: Moment
    in_flight: tuple[Outcome, ...]
    others: tuple[Outcome, ...]
    seconds: float
    code: int

    @property
    def answered(self) -> int:
        """Of those in flight."""
        return sum(each.kind == ANSWERED for each in self.in_flight)

    @property
    def disorderly(self) -> Counter[str]:
        """Whatever must not happen, by what it was."""
        orderly = {ANSWERED, REFUSED, UNCONNECTED}
        return Counter(each.kind for each in (*self.in_flight, *self.others) if each.kind not in orderly)

    @property
    def promises(self) -> tuple[Outcome, ...]:
        """Every 200."""
        return tuple(each for each in (*self.in_flight, *self.others) if each.schedule_id is not None)

    @property
    def is_orderly(self) -> bool:
        """Whether everything was as it must be, but for what is stored."""
        # Before the first line of the program has run nothing is begun, and the signal does what it does by itself.
        is_unbegun = self.moment is Moment.START and self.code == -signal.SIGTERM and self.seconds < 1.0
        return self.answered == len(self.in_flight) and not self.disorderly and (self.code == 0 or is_unbegun)


def main(arguments: Sequence[str]) -> int:
    """Print a line for each stop; the exit code says whether anything was disorderly or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="gantry-stopping-", ignore_cleanup_errors=True) as folder:
        is_well = run(Path(folder), options.stops, random.Random(options.seed))
    return 0 if is_well else 1


def run(folder: Path, stops: int, rng: random.Random, moments: Sequence[Moment] = tuple(Moment)) -> bool:
    """Whether all went well: `stops` stops at the moments in turn, in one data folder, and a look at what is stored."""
    is_well, promised = True, list[Outcome]()
    for number in range(stops):
        moment = moments[number % len(moments)]
        with starting_service(folder) as service:
            if moment is Moment.START:
                lost = None
            else:
                await_ready(service)
                lost = _lost(service, promised)
                promised = []
            stop = _stopped(service, moment, rng)
        promised += stop.promises
        is_well = is_well and stop.is_orderly and not lost
        _show(number, stop, lost)
    with starting_service(folder) as service:
        await_ready(service)
        lost = _lost(service, promised)
    print(f"at the end {len(promised)} more answers of 200, lost {lost}", flush=True)
    return is_well and not lost


def _show(number: int, stop: Stop, lost: int | None) -> None:
    kinds = Counter(each.kind for each in stop.others)
    print(
        f"{number + 1:3} {stop.moment:17} in flight {len(stop.in_flight)} answered {stop.answered}; "
        f"newcomers {dict(kinds)}; disorderly {dict(stop.disorderly)}; lost before {'-' if lost is None else lost}; "
        f"ended after {stop.seconds:.1f} s with {stop.code}",
        flush=True,
    )


def _stopped(service: Service, moment: Moment, rng: random.Random) -> Stop:
    """Told to stop at a random time of the moment."""
    outcomes: list[Outcome] = []
    is_over = threading.Event()
    with _knocking(service, outcomes, is_over):
        clients = [
            threading.Thread(target=_client, args=(service, moment, outcomes, is_over))
            for _ in range(0 if moment is Moment.START else CLIENTS)
        ]
        for client in clients:
            client.start()
        # A search lasts three seconds; before and after it nobody would be in one.
        time.sleep(rng.uniform(0.0, MAX_START_SECONDS) if moment is Moment.START else rng.uniform(1.0, 2.5))
        told_at = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        code = _code(service.process)
        ended_at = time.monotonic()
        is_over.set()
        for client in clients:
            client.join()
    under_way = [each for each in outcomes if _was_under_way(each, told_at)]
    return Stop(
        moment=moment,
        in_flight=tuple(under_way),
        others=tuple(each for each in outcomes if not _was_under_way(each, told_at)),
        seconds=ended_at - told_at,
        code=code,
    )


def _was_under_way(outcome: Outcome, told_at: float) -> bool:
    return outcome.sent_at < told_at - UNDER_WAY_SECONDS and outcome.ended_at > told_at


def _code(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=MAX_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextmanager
def _knocking(service: Service, outcomes: list[Outcome], is_over: threading.Event) -> Iterator[None]:
    """Somebody new comes all the time."""

    def knock() -> None:
        while not is_over.wait(KNOCK_SECONDS):
            outcomes.append(_posted(service, {"time_budget_ms": 0, "jobs": EXAMPLE_BODY["jobs"][:5]}))

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _client(service: Service, moment: Moment, outcomes: list[Outcome], is_over: threading.Event) -> None:
    """One after the other under load; else one alone, which is then under way."""
    while not is_over.is_set():
        budget = 0 if moment is Moment.LOAD else SEARCH_MS
        key = str(uuid.uuid4()) if moment is Moment.KEY else None
        outcome = _posted(service, {"time_budget_ms": budget}, key)
        outcomes.append(outcome)
        if outcome.kind != ANSWERED:
            return


def _posted(service: Service, changes: dict[str, Any], key: str | None = None) -> Outcome:
    """One request over a connection of its own."""
    headers = HEADERS if key is None else HEADERS | {"Idempotency-Key": key}
    schedule_id = None
    # Certificates would be read first, for a tenth of a second, and there are none to check.
    with httpx.Client(base_url=service.url, headers=headers, timeout=60.0, trust_env=False, verify=False) as client:
        sent_at = time.monotonic()
        try:
            answer = client.post("/schedule", json=EXAMPLE_BODY | changes)
            kind = kind_of(answer)
            schedule_id = answer.json()["schedule_id"] if kind == ANSWERED else None
        except httpx.ConnectError:
            kind = UNCONNECTED
        except httpx.TransportError as error:
            kind = type(error).__name__
    return Outcome(sent_at=sent_at, ended_at=time.monotonic(), kind=kind, key=key, schedule_id=schedule_id)


def _lost(service: Service, promised: Sequence[Outcome]) -> int:
    """How many of the answers are not stored, in a service that has just started."""
    with service.client() as client:

        def is_stored(outcome: Outcome) -> bool:
            return eventually(lambda: client.get(f"/v1/schedules/{outcome.schedule_id}").status_code == httpx.codes.OK)

        return sum(not is_stored(outcome) for outcome in promised)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
