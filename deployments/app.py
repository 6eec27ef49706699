"""The composition root: how the deployments are bound to each other. `serve_config.yaml` names `build_app`.

The classes themselves know nothing of Ray; how many of each there are, and how busy they may get, stands in
`serve_config.yaml`.
"""

# No `from __future__ import annotations` here: Ray reads the annotation of `args` as an object, and hands
# over a plain dictionary when it is a string.

from ray import serve
from ray.serve import Application, Deployment

from deployments.serve.controller import RolloutController
from deployments.serve.policy import PPOPolicy
from deployments.serve.router import RequestRouter
from deployments.serve.shadow import ShadowArm
from deployments.serve.validator import SafetyValidator
from deployments.serve.writer import DBWriter
from deployments.settings.serve_config import AppArgs


def build_app(args: AppArgs) -> Application:
    """The application with the published policy."""
    return compose(PPOPolicy, args)


def compose(
    policy: type,
    args: AppArgs,
    *,
    router: type = RequestRouter,
    counterfactual: type = ShadowArm,
    controller: type = RolloutController,
) -> Application:
    """The application around any class with the methods of `PPOPolicy`, and likewise for the others."""
    ingress = _deployment(serve.ingress()(router), "RequestRouter")
    return ingress.bind(
        _deployment(policy, "PPOPolicy").bind(),
        _deployment(SafetyValidator, "SafetyValidator").bind(),
        _deployment(DBWriter, "DBWriter").bind(),
        _deployment(counterfactual, "Counterfactual").bind(),
        _deployment(controller, "RolloutController").bind(),
        args,
    )


def _deployment(cls: type, name: str) -> Deployment:
    deployment: Deployment = serve.deployment(name=name)(cls)
    return deployment
