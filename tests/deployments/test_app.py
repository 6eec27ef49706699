"""The composition root: what Ray needs of it, without Ray running."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError
from ray import serve

from deployments.app import build_app, compose
from deployments.local_cluster.service import DEFAULT_CONFIG
from deployments.settings.serve_config import AppArgs


class AnyPolicy:
    """Has nothing that the composition looks at."""


def test_builder_takes_typed_arguments() -> None:
    """The annotation is the class itself: as a string it would make Ray hand over a plain dictionary."""
    assert build_app.__annotations__["args"] is AppArgs


def test_application_is_what_the_configuration_configures() -> None:
    """The deployments have the names that serve_config.yaml gives numbers to, the router being the ingress."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    built = compose(AnyPolicy, AppArgs())
    assert isinstance(built, serve.Application)
    router = built._bound_deployment
    below = [argument._bound_deployment.name for argument in router.init_args[:5]]
    assert router.name == "RequestRouter"
    assert {router.name, *below} == {entry["name"] for entry in application["deployments"]}


def test_arguments_of_the_shipped_configuration_are_understood() -> None:
    """Every argument in the file is one of the application's."""
    (application,) = yaml.safe_load(DEFAULT_CONFIG.read_text(encoding="utf-8"))["applications"]
    assert AppArgs(**application["args"]) == AppArgs()


def test_arguments_refuse_what_they_do_not_know() -> None:
    """A typo in the configuration is refused, not ignored."""
    with pytest.raises(ValidationError, match="atempts"):
        AppArgs(atempts=3)
