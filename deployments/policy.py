"""PPOPolicy: stateless replicas that propose; autoscaled, and ready only when the policy is verified and warm."""

from __future__ import annotations

from deployments.freight import pack, unpack
from deployments.memory import release_start_up_memory
from deployments.predictors import Predictors
from deployments.proposal import Proposal
from deployments.registry import Artefact
from deployments.replica import settle_in
from deployments.warming import warm_policy
from env.problem import Problem
from models.search import search


class PPOPolicy:
    """Methods run in the thread pool of the replica, several at a time: each pass has its own state."""

    def __init__(self) -> None:
        """Raises `ArtefactError` for a policy that must not be used: then the replica never becomes ready."""
        settings = settle_in()
        self._predictors = Predictors(settings.model_path, settings.models_folder)
        warm_policy(self._predictors.published)
        release_start_up_memory()

    def propose(self, freight: bytes, budget_ms: int, artefact: Artefact | None = None) -> bytes:
        """A packed `Problem` -> a packed `Proposal`, the best that the budget buys, by the policy `artefact`.

        Without one the published policy proposes. Raises `HorizonExceeded`, or `ArtefactError` for a policy that is
        not there.
        """
        problem: Problem = unpack(freight)
        predictor = self._predictors.get(artefact)
        found = search(predictor, problem, budget_ms)
        return pack(
            Proposal(
                schedule=found.schedule,
                method=found.method,
                model=predictor.model_id,
                policy_makespan_seconds=found.policy_makespan_seconds,
                gains=found.gains,
            )
        )

    def model_id(self) -> str:
        """The published policy, such as "full_production@1"."""
        return self._predictors.published.model_id
