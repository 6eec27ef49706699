"""PPOPolicy: stateless replicas that propose, each with the few policies that requests asked for, verified and warm."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from deployments.rollout.model_registry import Artefact, verified
from deployments.scheduling.proposals import policy_proposal
from deployments.serve.process import configure_process, release_start_up_memory
from deployments.serve.serialization import decode, encode
from env.problem import Problem
from models.policy.artefact import load_predictor
from models.policy.predictor import Predictor
from models.search.warm_up import warm_policy

MAX_KEPT = 4


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
        settings = configure_process()
        self._policies = PolicyCache(settings.model_path, settings.models_folder)
        warm_policy(self._policies.published)
        release_start_up_memory()

    def propose(self, payload: bytes, budget_ms: int, artefact: Artefact | None = None) -> bytes:
        """An encoded `Problem` -> an encoded `Proposal`, the best that the budget buys, by the policy `artefact`.

        Without one the published policy proposes. Raises `HorizonExceeded`, or `ArtefactError` for a policy that is
        not there.
        """
        problem: Problem = decode(payload)
        return encode(policy_proposal(self._policies.get(artefact), problem, budget_ms))

    def model_id(self) -> str:
        """The published policy, such as "full_production@1"."""
        return self._policies.published.model_id
