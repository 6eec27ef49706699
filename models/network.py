"""Candidate scorer and pooled critic, as a Stable-Baselines3 policy.

Every candidate row goes through the same two hidden layers; between them the mean of all candidates
is added, so that a row is scored knowing its rivals. There is no limit on how many rows there are:
the same weights score two candidates or two thousand.

    h = relu(x W1 + b1)            per candidate
    g = relu(h W2 + mean(h) C + b2)
    logit = g w3
    value = critic(mean(g), max(g))
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from torch import Tensor, nn

from env.simulator.observation import FEATURE_COUNT

HIDDEN = 64
NO_CANDIDATE = -1e4
"""Logit of a row that is no candidate; the mask hides it, this only keeps it finite."""


class CandidateScorer(nn.Module):
    """Flat observations [batch, limit * (features + 1)] -> logits [batch, limit] and values [batch].

    The last column of each row says whether it is a candidate; only those are computed.
    """

    def __init__(self, features: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = 1
        self.first = nn.Linear(features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.context = nn.Linear(hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.critic = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        batch = observations.shape[0]
        rows = observations.view(batch, -1, self.first.in_features + 1)
        valid = rows[:, :, -1] > 0.5
        owner, column = valid.nonzero(as_tuple=True)
        count = valid.sum(1).clamp(min=1)
        hidden = self.embed(rows[owner, column, :-1], owner, count)
        scores = self.score(hidden).squeeze(-1)
        logits = rows.new_full(rows.shape[:2], NO_CANDIDATE).index_put((owner, column), scores)
        mean = _mean(hidden, owner, count)
        index = owner.unsqueeze(-1).expand_as(hidden)
        most = torch.zeros_like(mean).scatter_reduce(0, index, hidden, "amax")
        return logits, self.critic(torch.cat([mean, most], dim=1)).squeeze(-1)

    def embed(self, rows: Tensor, owner: Tensor, count: Tensor) -> Tensor:
        """Hidden units [row, hidden] of candidate rows [row, features].

        `owner`, shape [row], is the decision that a row belongs to, `count`, shape [decision], how
        many rows each has.
        """
        hidden = torch.relu(self.first(rows))
        shift = self.context(_mean(hidden, owner, count))
        activated: Tensor = torch.relu(self.second(hidden) + shift[owner])
        return activated

    def log_probabilities(self, rows: Tensor, owner: Tensor, count: Tensor) -> Tensor:
        """Log-probability of each candidate within its decision, shape [row]; the rows as in `embed`."""
        scores = self.score(self.embed(rows, owner, count)).squeeze(-1)
        highest = torch.full((len(count),), -torch.inf).scatter_reduce(0, owner, scores.detach(), "amax")
        scores = scores - highest[owner]
        total = torch.zeros(len(count), dtype=scores.dtype).index_add(0, owner, scores.exp())
        log_probabilities: Tensor = scores - total.log()[owner]
        return log_probabilities


def _mean(hidden: Tensor, owner: Tensor, count: Tensor) -> Tensor:
    total = hidden.new_zeros((len(count), hidden.shape[1])).index_add(0, owner, hidden)
    return total / count.unsqueeze(1).to(hidden.dtype)


class CandidatePolicy(MaskableActorCriticPolicy):
    """MaskablePPO policy around a `CandidateScorer`.

    Observation: Box [limit * (features + 1)]; action: Discrete(limit), the candidate's place.
    """

    def __init__(
        self, observation_space: spaces.Box, action_space: spaces.Discrete, lr_schedule: Any, **kwargs: Any
    ) -> None:
        kwargs["ortho_init"] = False
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    mlp_extractor: CandidateScorer  # type: ignore[assignment]

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = CandidateScorer(FEATURE_COUNT)

    def _build(self, lr_schedule: Any) -> None:
        self._build_mlp_extractor()
        self.action_net = nn.Identity()
        self.value_net = nn.Identity()  # type: ignore[assignment]
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def forward(
        self, obs: Tensor, deterministic: bool = False, action_masks: np.ndarray[Any, Any] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits, values = self.mlp_extractor(obs)
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values.unsqueeze(-1), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        logits, values = self.mlp_extractor(obs)
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return values.unsqueeze(-1), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: Any, action_masks: np.ndarray[Any, Any] | None = None) -> Any:
        logits, _ = self.mlp_extractor(obs)
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution

    def predict_values(self, obs: Any) -> Tensor:
        return self.mlp_extractor(obs)[1].unsqueeze(-1)  # type: ignore[no-any-return]
