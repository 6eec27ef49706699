"""`python -m deployments.counterfactual_process`: computes and judges the arm that did not serve, for its replica."""

from __future__ import annotations

from collections.abc import Callable

from deployments.memory import leave_out_unused, release_start_up_memory
from deployments.niced_process import answer_parent


def prepared() -> Callable[[bytes], bytes]:
    """What turns a packed `Recomputation` into a packed `Recomputed`, warm.

    Raises `ArtefactError` for a published policy that must not be used.
    """
    # Whatever weighs something is imported here, at the lowest priority.
    leave_out_unused()
    from deployments.freight import pack, unpack
    from deployments.predictors import Predictors
    from deployments.replica import settle_in
    from deployments.steering.recomputing import Recomputer
    from deployments.warming import warm_policy, warm_rules

    settings = settle_in()
    predictors = Predictors(settings.model_path, settings.models_folder)
    recomputer = Recomputer(lambda contender: predictors.get(contender.artefact), settings.anomaly_limits)
    warm_rules()
    warm_policy(predictors.published)
    release_start_up_memory()
    return lambda freight: pack(recomputer.compute(unpack(freight)))


if __name__ == "__main__":
    answer_parent(prepared)
