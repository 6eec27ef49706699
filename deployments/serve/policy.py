"""PPOPolicy: stateless replicas that propose, each with the few policies that requests asked for, verified and warm.

The job lists that replicas died of: routers do not send those again. And the search that nobody waits for, in a
process of low priority beside a router.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from deployments.persistence.decisions.plan_run import BestSoFar
from deployments.rollout.model_registry import Artefact, verified
from deployments.runtime.metrics import PROPOSAL_SECONDS, SEARCH_GAIN
from deployments.scheduling.ports import Proposal, policy_proposal
from deployments.serve.process import configure_process, leave_out_unused, release_start_up_memory
from deployments.serve.serialization import decode, encode
from env.errors import GantryError
from env.judge.anomalies import AnomalyLimits
from env.judge.judge import judge
from env.problem import Problem
from env.schedule import Schedule
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.warm_up import warm_policy

MAX_KEPT = 4
REFUSED_SECONDS = 600.0
SUSPECTED_SECONDS = 10.0
_SUSPECT, _REFUSED = "suspect", "refused"
BEGUN = b""
"""What a replica says when it begins."""
_log = logging.getLogger(__name__)


class PolicyCache:
    """Thread-safe. A policy is loaded by its hash and verified once; after `MAX_KEPT` others it is forgotten."""

    def __init__(self, published: Path, registered: Path) -> None:
        """Raises `ArtefactError` for a published policy that must not be used."""
        self.published = load_predictor(published)
        self._folder = registered
        self._kept: OrderedDict[str, Predictor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, artefact: Artefact | None) -> Predictor:
        """The policy of that hash (None: the published one). Raises `ArtefactError` when it is not there."""
        if artefact is None:
            return self.published
        with self._lock:
            predictor = self._kept.get(artefact.sha256)
            if predictor is None:
                folder = self._folder / artefact.sha256
                verified(folder, artefact)
                predictor = load_predictor(folder)
                self._kept[artefact.sha256] = predictor
            self._kept.move_to_end(artefact.sha256)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return predictor


class PPOPolicy:
    """Methods run in the thread pool of the replica, several at a time: each pass has its own state."""

    def __init__(self) -> None:
        """Raises `ArtefactError` for a policy that must not be used: then the replica never becomes ready."""
        # Here, for the process of low priority needs no Ray.
        from deployments.serve.metrics import replica_meter

        settings = configure_process()
        self._meter = replica_meter()
        self._policies = PolicyCache(settings.model_path, settings.models_folder)
        warm_policy(self._policies.published)
        release_start_up_memory()

    async def stream_proposal(
        self, payload: bytes, budget_ms: int, artefact: Artefact | None = None, threads: int | None = None
    ) -> AsyncIterator[bytes]:
        """`BEGUN` at once, then what `propose` returns: so that the caller can tell work from waiting for it.

        Raises as `propose` does.
        """
        yield BEGUN
        # In the replica's own threads, as many as it takes requests. What is called off keeps its place until it ends.
        yield await to_thread.run_sync(self.propose, payload, budget_ms, artefact, threads)

    def propose(
        self, payload: bytes, budget_ms: int, artefact: Artefact | None = None, threads: int | None = None
    ) -> bytes:
        """An encoded `Problem` -> an encoded `Proposal`, the best that the budget buys, by the policy `artefact`.

        Without one the published policy proposes, and without `threads` on as many as the search likes.

        Raises `HorizonExceeded`, or `ArtefactError` for a policy that is not there.
        """
        begun = time.perf_counter()
        problem: Problem = decode(payload)
        proposal = policy_proposal(self._policies.get(artefact), problem, budget_ms, threads=threads)
        self._meter.observe(PROPOSAL_SECONDS, time.perf_counter() - begun)
        for stage, seconds in proposal.gains.items():
            self._meter.count(SEARCH_GAIN, seconds, stage=stage)
        return encode(proposal)

    async def model_id(self) -> str:
        """The published policy, such as "full_production@1"."""
        return self._policies.published.model_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOrder:
    """What a `SearchWorker` is to search: an encoded `Problem`, for how long, by which policy.

    `number` tells one order from another.
    """

    number: str
    problem: bytes
    budget_ms: int
    artefact: Artefact | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPoll:
    """Asks for news of a search, and ends it where `is_stopped`."""

    number: str
    is_stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """How a search stands; not `is_known` where the process has none of that number.

    `proposal`, or the `failure` in its place, is there when it is over.
    """

    is_known: bool
    best: BestSoFar | None = None
    proposal: Proposal | None = None
    failure: GantryError | None = None


class SearchWorker:
    """One search at a time, in a thread beside the one that answers for it: the program of a `WorkerProcess`."""

    def __init__(self, predictor_of: Callable[[Artefact | None], Predictor], *, wait_seconds: float = 0.5) -> None:
        self._predictor_of = predictor_of
        self._wait_seconds = wait_seconds
        self._running: _RunningSearch | None = None

    def answer(self, question: SearchOrder | SearchPoll) -> SearchReport:
        """Begins what is ordered; answers a poll when the search is over, or else in a moment."""
        if isinstance(question, SearchOrder):
            if self._running is not None:
                self._running.end()
            self._running = _RunningSearch(question, self._predictor_of)
            return SearchReport(is_known=True)
        if self._running is None or self._running.number != question.number:
            return SearchReport(is_known=False)
        return self._running.report(self._wait_seconds, is_stopped=question.is_stopped)


class _RunningSearch:
    """`SearchProgress` of one search in a thread of its own."""

    def __init__(self, order: SearchOrder, predictor_of: Callable[[Artefact | None], Predictor]) -> None:
        self.number = order.number
        self._predictor_of = predictor_of
        self._problem: Problem = decode(order.problem)
        self._is_stopped = False
        self._begun = time.perf_counter()
        # Schedule, seconds and number of the newest: one object, so that two threads see the three together.
        self._newest: tuple[Schedule, float, int] | None = None
        self._best: BestSoFar | None = None
        self._result: Proposal | GantryError | None = None
        self._thread = threading.Thread(target=self._search, args=(order,), daemon=True)
        self._thread.start()

    def is_stopped(self) -> bool:
        """See `SearchProgress`."""
        return self._is_stopped

    def improve(self, schedule: Schedule) -> None:
        """See `SearchProgress`."""
        number = 0 if self._newest is None else self._newest[2] + 1
        self._newest = (schedule, time.perf_counter() - self._begun, number)

    def end(self) -> None:
        """Nobody asks for it any more."""
        self._is_stopped = True
        self._thread.join()

    def report(self, seconds: float, *, is_stopped: bool) -> SearchReport:
        """Waits so long for the end, which it asks for where `is_stopped`."""
        self._is_stopped = self._is_stopped or is_stopped
        self._thread.join(seconds)
        best, result = self._measured(), None if self._thread.is_alive() else self._result
        if isinstance(result, Proposal):
            return SearchReport(is_known=True, best=best, proposal=result)
        return SearchReport(is_known=True, best=best, failure=result)

    def _measured(self) -> BestSoFar | None:
        newest = self._newest
        if newest is not None and (self._best is None or self._best.improvements != newest[2]):
            schedule, seconds, number = newest
            verdict = judge(self._problem, schedule, AnomalyLimits())
            self._best = BestSoFar(
                makespan_seconds=verdict.measures.makespan_seconds,
                bound_seconds=verdict.bound_seconds,
                tardiness_seconds=verdict.measures.tardiness_seconds,
                found_seconds=round(seconds, 3),
                improvements=number,
            )
        return self._best

    def _search(self, order: SearchOrder) -> None:
        try:
            predictor = self._predictor_of(order.artefact)
            self._result = policy_proposal(predictor, self._problem, order.budget_ms, progress=self)
        except GantryError as error:
            self._result = error
        except Exception as error:  # the edge of the thread: whatever it was is what came of the search
            _log.exception("a search that nobody waits for failed")
            self._result = GantryError(f"{type(error).__name__}: {error}")


def prepared() -> Callable[[bytes], bytes]:
    """What the process of low priority does: an encoded `SearchOrder` or `SearchPoll` -> an encoded `SearchReport`.

    Raises `ArtefactError` for a published policy that must not be used.
    """
    leave_out_unused()
    settings = configure_process()
    policies = PolicyCache(settings.model_path, settings.models_folder)
    warm_policy(policies.published)
    release_start_up_memory()
    worker = SearchWorker(policies.get)
    return lambda question: encode(worker.answer(decode(question)))


class SuspectFiles:
    """The job lists that replicas died of, as empty files in `folder`: all routers of a node know the same.

    A list is tried twice, the second time by whoever lost the first replica, and by nobody else for
    `SUSPECTED_SECONDS`. When a second replica has died of it and none has survived it, it is refused for
    `REFUSED_SECONDS`. To look into a folder that is hardly ever there takes microseconds.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def is_withheld(self, job_list: str) -> bool:
        """Whether no replica is to be risked for it now."""
        return self.is_refused(job_list) or self._is_younger(job_list, _SUSPECT, SUSPECTED_SECONDS)

    def is_refused(self, job_list: str) -> bool:
        """Whether two replicas died of it a while ago."""
        return self._is_younger(job_list, _REFUSED, REFUSED_SECONDS)

    def suspect(self, job_list: str) -> bool:
        """A replica died of it. Whether the caller may try it once more."""
        if not job_list:
            return True
        self._sweep()
        if self._write(job_list, _SUSPECT):
            return True
        if not self._is_younger(job_list, _SUSPECT, SUSPECTED_SECONDS):
            # Whoever tried it again did not come to an end with it.
            self.refuse(job_list)
        return False

    def acquit(self, job_list: str) -> None:
        """A replica has survived it."""
        with suppress(OSError):
            self._path(job_list, _SUSPECT).unlink(missing_ok=True)

    def refuse(self, job_list: str) -> None:
        """A second replica died of it, too."""
        if job_list:
            self._write(job_list, _REFUSED)
            self.acquit(job_list)

    def _write(self, job_list: str, name: str) -> bool:
        """Whether the file was not there. What the disk does not take is not remembered."""
        path = self._path(job_list, name)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            os.utime(path, (self._clock(), self._clock()))
        except FileExistsError:
            return False
        except OSError as error:
            _log.error("what replicas die of cannot be remembered: %s", error)
        return True

    def _sweep(self) -> None:
        with suppress(OSError):
            for path in self._folder.iterdir():
                job_list, _, name = path.name.partition(".")
                if not self._is_younger(job_list, name, REFUSED_SECONDS):
                    path.unlink(missing_ok=True)

    def _is_younger(self, job_list: str, name: str, seconds: float) -> bool:
        try:
            # A clock that was set back must not make it mean something for longer.
            return abs(self._clock() - self._path(job_list, name).stat().st_mtime) < seconds
        except OSError:
            return False

    def _path(self, job_list: str, name: str) -> Path:
        return self._folder / f"{job_list}.{name}"
