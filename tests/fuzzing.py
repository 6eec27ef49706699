"""`make fuzz`: thousands of real requests, spoiled in every way, against the real use case with its real arms.

Each answer must be documented, no 5xx, and leave nothing of a request out unsaid. Everything follows from the
seed, which is printed: `python -m tests.fuzzing --seed 7 --requests 5000`.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deployments.api import create_api
from deployments.runtime.background import Threads
from deployments.scheduling.ports import Proposal, ProposalCall
from deployments.serve.handles import PlannersRule
from deployments.settings.service import DEVELOPMENT_API_KEY, PUBLISHED_MODEL
from env.problem import Problem
from models.policy.artefact import load_predictor
from models.search.anytime import search
from tests.deployments.fakes import NOW, JournalDecisions, MemoryJournal, scheduling_over, services_over

ROOT = Path(__file__).resolve().parent.parent
MAX_ANSWER_SECONDS = 60.0
MAX_PROBLEM_BYTES = 200_000
SHOWN_FAILURES = 10
_KEY = {"X-API-Key": DEVELOPMENT_API_KEY}
_SCHEDULING = ("/schedule", "/v1/schedules")
_NASTY: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 0.5, -0.0, 1e-320, 1e308, 1e400, float("nan"), 2**31, 2**63 - 1, 2**63, 10**30, 10_001,
    "", " ", "0", "null", "\u0000", "\ud800", "\u202e", "😀" * 40, "x" * 129, "x" * 5000, "'; DROP TABLE decision; --",
    "<script>alert(1)</script>", "../../etc/passwd", "%s%n", "2025-02-30T00:00:00", "0001-01-01T00:00:00",
    "9999-12-31T23:59:59+14:00", "2025-07-22T14:00:00.123456789Z", "2025-07-22", "24:00", "-00:01", [], {}, [[]],
    [None], {"a": {"a": {"a": {}}}}, [1] * 300,
)  # fmt: skip


class RealPolicy:
    """The published policy, in a thread of this process."""

    def __init__(self, threads: Threads) -> None:
        self._predictor = load_predictor(PUBLISHED_MODEL)
        self._threads = threads

    async def propose(self, problem: Problem, budget_ms: int, call: ProposalCall) -> Proposal:
        """What PPOPolicy would propose; large budgets are cut, because nothing depends on them here."""
        found = await self._threads.run(search, self._predictor, problem, min(budget_ms, 20))
        return Proposal(
            schedule=found.schedule,
            method=found.method,
            model=self._predictor.model_id,
            policy_makespan_seconds=found.policy_makespan_seconds,
        )


@dataclass(slots=True)
class Tally:
    """What came of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; `kind` says how it was spoiled."""

    method: str
    path: str
    template: str
    content: bytes
    headers: dict[str, str]
    kind: str


class Spoiler:
    """Takes real requests and spoils them, by a generator of its own."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._plants = _plants()
        self.known_ids: list[str] = ["0190a5c0-0000-7000-8000-000000000000"]
        self._spoilers: dict[str, Callable[[Any], bytes]] = {
            "whole": _text,
            "value": self._with_values,
            "missing": self._without_fields,
            "moved": self._moved,
            "listed": self._with_lists,
            "scaled": self._scaled,
            "bytes": self._with_bytes,
        }

    def request(self) -> Asked:
        """The next one."""
        if self._rng.random() < 0.1:
            return self._reading()
        template = self._rng.choice(["/schedule"] * 6 + ["/v1/schedules", "/v1/validate", "/v1/validate"])
        body = self._body() if template in _SCHEDULING else self._question()
        if self._rng.random() < 0.06:
            template, body = "/v1/schedules/{schedule_id}/feedback", self._feedback()
        kind = self._rng.choice(list(self._spoilers))
        path = template.replace("{schedule_id}", self._rng.choice(self.known_ids))
        content = self._spoilers[kind](body)
        return Asked(method="POST", path=path, template=template, content=content, headers=self._headers(), kind=kind)

    def _reading(self) -> Asked:
        rng = self._rng
        one, other = rng.choice(self.known_ids), rng.choice([*self.known_ids, "nobody", "%00", "é", "a" * 300])
        template, path = rng.choice(
            [
                ("/v1/schedules", f"/v1/schedules?limit={rng.choice(['1', '100', '0', '-1', 'x', '1e9', ''])}"),
                ("/v1/schedules", f"/v1/schedules?cursor={rng.choice(['', '0', 'x', '%00', '%ff', 'a' * 600])}"),
                ("/v1/schedules/{schedule_id}", f"/v1/schedules/{other}"),
                ("/v1/schedules/{schedule_id}/explanation", f"/v1/schedules/{one}/explanation"),
                ("/v1/schedules/{schedule_id}/compare/{other_id}", f"/v1/schedules/{one}/compare/{other}"),
                ("/v1/audit", f"/v1/audit?cursor={rng.choice(['', 'x', '%ff'])}"),
            ]
        )
        return Asked(method="GET", path=path, template=template, content=b"", headers=self._headers(), kind="read")

    def _body(self) -> Any:
        body = copy.deepcopy(self._rng.choice(self._plants))
        if len(body["jobs"]) > 12:
            body["jobs"] = self._rng.sample(body["jobs"], self._rng.randint(1, 12))
        body |= {"time_budget_ms": 0, "respect_break_times": self._rng.random() < 0.5}
        if self._rng.random() < 0.1:
            body["parent_schedule_id"] = self._rng.choice(self.known_ids)
        if self._rng.random() < 0.1:
            body["previous_schedule_id"] = self._rng.choice(self.known_ids)
        return body

    def _question(self) -> Any:
        body = self._body()
        rows = [{"job_id": job["job_id"], "machine_id": 1, "start_time": 0.0, "end_time": 1.0} for job in body["jobs"]]
        return {"request": body, "scheduled_jobs": rows}

    def _feedback(self) -> Any:
        done = {"job_id": "JOAW001", "completed_at": "2025-07-23T10:00:00"}
        return {"rating": self._rng.randint(1, 5), "comment": "late", "actual_completions": [done]}

    def _headers(self) -> dict[str, str]:
        headers = dict(_KEY)
        if self._rng.random() < 0.1:
            name = self._rng.choice(["Content-Type", "Accept", "x-request-id", "Accept-Encoding", "X-API-Key"])
            headers[name] = self._rng.choice(
                ["", "text/xml", "application/json; charset=utf-16", "*", "a b", "x" * 300]
            )
        return headers

    def _with_values(self, body: Any) -> bytes:
        for _ in range(self._rng.randint(1, 3)):
            holder, place = self._rng.choice(_places(body))
            holder[place] = copy.deepcopy(self._rng.choice(_NASTY))
        return _text(body)

    def _without_fields(self, body: Any) -> bytes:
        for _ in range(self._rng.randint(1, 3)):
            holder, place = self._rng.choice(_places(body) or [({"x": 0}, "x")])
            del holder[place]
        return _text(body)

    def _moved(self, body: Any) -> bytes:
        (one, here), (other, there) = self._rng.choice(_places(body)), self._rng.choice(_places(body))
        one[here], other[there] = copy.deepcopy(other[there]), copy.deepcopy(one[here])
        return _text(body)

    def _with_lists(self, body: Any) -> bytes:
        lists = [holder[place] for holder, place in _places(body) if isinstance(holder[place], list) and holder[place]]
        for chosen in self._rng.sample(lists, min(2, len(lists))):
            chosen.append(copy.deepcopy(self._rng.choice(chosen)))
            self._rng.shuffle(chosen)
        return _text(body)

    def _scaled(self, body: Any) -> bytes:
        numbers = [
            (holder, place)
            for holder, place in _places(body)
            if isinstance(holder[place], int | float) and not isinstance(holder[place], bool)
        ]
        for holder, place in self._rng.sample(numbers, min(4, len(numbers))):
            holder[place] *= self._rng.choice([-1, 0, 1e-9, 1e3, 1e9, 10**12])
        return _text(body)

    def _with_bytes(self, body: Any) -> bytes:
        text = bytearray(_text(body))
        for _ in range(self._rng.randint(1, 6)):
            place = self._rng.randrange(len(text))
            match self._rng.randrange(4):
                case 0:
                    text[place] = self._rng.randrange(256)
                case 1:
                    del text[place : place + self._rng.randint(1, 20)]
                case 2:
                    text[place:place] = self._rng.randbytes(self._rng.randint(1, 4))
                case _:
                    text = text[: max(1, place)]
            text = text or bytearray(b"{")
        return bytes(text)


async def fuzz(requests: int, seed: int, *, show: Callable[[int, Tally], None] = lambda _done, _tally: None) -> Tally:
    """Asks `requests` times; what must not be is among the failures, each with what reproduces it."""
    rng, tally, journal = random.Random(seed), Tally(), MemoryJournal()
    with closing(Threads("arms", 1)) as threads:
        decisions = JournalDecisions(journal)
        scheduling = scheduling_over(
            ppo=RealPolicy(threads), manual=PlannersRule(threads), journal=journal, archive=decisions
        )
        services = services_over(scheduling=scheduling, journal=journal, decisions=decisions)
        app = create_api(lambda: services, clock=lambda: NOW)
        spoiler, documented = Spoiler(rng), _documented(app.openapi())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gantry") as client:
            for number in range(requests):
                asked = spoiler.request()
                await _ask(client, asked, documented, tally, number)
                if journal.records:
                    spoiler.known_ids[1:] = [record.decision_id for record in journal.records[-20:]]
                show(number + 1, tally)
    return tally


async def _ask(
    client: httpx.AsyncClient,
    asked: Asked,
    documented: dict[tuple[str, str], set[int]],
    tally: Tally,
    number: int,
) -> None:
    started = time.perf_counter()
    answer = await client.request(asked.method, asked.path, content=asked.content, headers=asked.headers)
    seconds = time.perf_counter() - started
    tally.statuses[answer.status_code] += 1
    tally.kinds[asked.kind] += 1
    tally.slowest_seconds = max(tally.slowest_seconds, seconds)
    faults = list(_faults(asked, answer, documented))
    if seconds > MAX_ANSWER_SECONDS:
        faults.append(f"must be answered within {MAX_ANSWER_SECONDS:g} s, took {seconds:.1f} s")
    for fault in faults:
        shown = asked.content[:2000].decode(errors="replace")
        tally.failures.append(
            f"request {number} ({asked.kind}) {asked.method} {asked.path}: {fault}\n  {answer.text[:500]}\n  {shown}"
        )


def _faults(asked: Asked, answer: httpx.Response, documented: dict[tuple[str, str], set[int]]) -> list[str]:
    faults = []
    if answer.status_code >= 500:
        faults.append(f"must not be a 5xx, was {answer.status_code}")
    elif answer.status_code not in documented[asked.method, asked.template]:
        faults.append(f"must be a documented status, was {answer.status_code}")
    if answer.status_code >= 400:
        if answer.headers.get("content-type") != "application/problem+json":
            faults.append(f"must be problem details, was {answer.headers.get('content-type')}")
        if len(answer.content) > MAX_PROBLEM_BYTES:
            faults.append(f"a refusal must be short, had {len(answer.content):,} bytes")
    elif answer.status_code == 200 and asked.template in _SCHEDULING and asked.method == "POST":
        faults += _omissions(json.loads(asked.content), answer.json())
    return faults


def _omissions(request: Any, answer: Any) -> list[str]:
    """What was asked for, and is neither in the plan nor said to be missing."""
    # A number that stands for an id is read as its digits.
    asked = Counter(str(job["job_id"]) for job in request["jobs"])
    planned = Counter(row["job_id"] for row in answer["scheduled_jobs"])
    faults = [] if asked == planned else [f"each job must be planned once: {dict(asked - planned or planned - asked)}"]
    if answer["metrics"]["total_jobs"] != asked.total() or answer["metrics"]["completion_rate"] != 100.0:
        faults.append(f"the figures must count every job, were {answer['metrics']}")
    if not answer["safety"]["valid"]:
        faults.append("a served schedule must be valid")
    return faults


def _documented(document: dict[str, Any]) -> dict[tuple[str, str], set[int]]:
    return {
        (method.upper(), path): set(map(int, operation["responses"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _plants() -> list[Any]:
    files = (ROOT / "deployments" / "examples" / "plant-170.json", ROOT / "tests" / "data" / "all_features.json")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a document."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def _text(body: Any) -> bytes:
    return json.dumps(body).encode()


def main() -> int:
    """Runs, shows how it goes, and says what must not be; 1 when anything must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"{options.requests:,} requests, seed {options.seed}", flush=True)

    def show(done: int, tally: Tally) -> None:
        if done % 500 == 0 or done == options.requests:
            print(
                f"{done:>7,} asked, {len(tally.failures)} failures, {dict(sorted(tally.statuses.items()))}", flush=True
            )

    tally = asyncio.run(fuzz(options.requests, options.seed, show=show))
    for failure in tally.failures[:SHOWN_FAILURES]:
        print(failure)
    print(f"spoiled: {dict(sorted(tally.kinds.items()))}; slowest answer {tally.slowest_seconds:.2f} s")
    print(f"{len(tally.failures)} failures; again with --seed {options.seed}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
