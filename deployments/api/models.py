"""The routes of the registered policies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from starlette.responses import Response

from deployments.api.dependencies import AS_OPERATOR, KNOWN_PARAMETERS, Bound, Operator, json_answer, parsed_body
from deployments.api.documentation import problems
from deployments.api.rollout import order_of, state_answer
from deployments.api.services import Services
from deployments.contracts.answers.rollout import (
    ActivationRequest,
    ModelAnswer,
    ModelsAnswer,
    RegistrationRequest,
    StateAnswer,
)
from deployments.errors import InvalidRequest, NotFound, RolloutUnavailable
from deployments.rollout.model_registry import Registered
from deployments.rollout.ramp.state import MANUAL, Action
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.controller import Command
from env.errors import ArtefactError

CREATED = 201
router = APIRouter(
    prefix="/v1/models", tags=["models"], dependencies=[KNOWN_PARAMETERS], responses=problems(401, 403, 422, 503)
)


@router.get("", dependencies=[AS_OPERATOR], response_model=ModelsAnswer)
async def list_models(services: Bound) -> Response:
    """The published policy and the registered ones."""
    entries = await services.files.run(services.registry.all)
    roles = await _roles(services)
    return json_answer(ModelsAnswer(models=[_answer(entry, roles) for entry in entries]))


@router.post(
    "", dependencies=[AS_OPERATOR], status_code=CREATED, response_model=ModelAnswer, responses=problems(400, 413)
)
async def register_model(
    services: Bound, body: Annotated[RegistrationRequest, parsed_body(RegistrationRequest)]
) -> Response:
    """Take up a policy from a folder of GANTRY_MODELS_FOLDER, verified and under its hash. Nothing serves it yet."""
    source = services.settings.models_folder / body.folder
    try:
        entry = await services.files.run(services.registry.register, source)
    except ArtefactError as error:
        raise InvalidRequest((("folder", str(error)),)) from error
    return json_answer(_answer(entry, await _roles(services)), status=CREATED)


@router.post("/{model_id}/activate", response_model=StateAnswer, responses=problems(400, 404, 409, 413))
async def activate_model(
    services: Bound,
    client: Operator,
    body: Annotated[ActivationRequest, parsed_body(ActivationRequest)],
    model_id: str,
) -> Response:
    """Make a policy the challenger: in shadow at first, or in the present stage with `force`. No restart."""
    known = {entry.artefact.model_id: entry for entry in await services.files.run(services.registry.all)}
    if model_id not in known:
        raise NotFound(f"there is no model {model_id[:100]!r}; register it first")
    if body.champion not in (None, MANUAL) and body.champion not in known:
        raise InvalidRequest((("champion", f"must be manual or a registered model, was {body.champion!r}"),))
    command = Command(
        action=Action.ACTIVATE,
        order=order_of(services, client, body),
        force=body.force,
        challenger=_wire_name(known[model_id]),
        champion=_wire_name(known[body.champion]) if body.champion in known else body.champion,
    )
    return json_answer(state_answer(await services.rollout_client.command(command)))


def _wire_name(entry: Registered) -> str:
    """How the rollout's state calls it: the published policy is wherever the service was started with it."""
    return PUBLISHED if entry.is_published else entry.artefact.model_id


async def _roles(services: Services) -> dict[str, str]:
    try:
        overview = await services.rollout_client.overview()
    except RolloutUnavailable:
        return {}
    return {overview["champion"]: "champion", overview["challenger"]: "challenger"}


def _answer(entry: Registered, roles: dict[str, str]) -> ModelAnswer:
    return ModelAnswer(
        model_id=entry.artefact.model_id,
        sha256=entry.artefact.sha256,
        created_at=entry.manifest.created_at,
        role=roles.get(_wire_name(entry), "idle"),
        is_published=entry.is_published,
        results=entry.manifest.results,
    )
