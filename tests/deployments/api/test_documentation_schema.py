"""The OpenAPI document tried out: Schemathesis asks what the document allows, and what it does not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deployments.api import Services, create_api
from tests.deployments.api.calls import KEY
from tests.deployments.fakes import NOW, JournalDecisions, MemoryJournal, body, job, machine, services_over

# What the answer says of itself; whether a request was rightly refused is for the other tests.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 8
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _schema(services: Services) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", create_api(lambda: services, clock=lambda: NOW))


SCHEMA = _schema(services_over())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_operation_answers_as_documented(operation: Any, mode: GenerationMode) -> None:
    """No 5xx, no status, header or body that the document does not have, whether it allows what is sent or not."""
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
        return

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(headers=KEY, checks=CHECKS)

    ask()


def test_operations_in_a_row_answer_as_documented() -> None:
    """Schedules that were made are read, explained, compared and rated by the ids that came back."""
    served = {(method, path) for method, path, status in _walk(services_over(), "/schedule") if status == 200}
    wanted = {("GET", f"/v1/schedules/{{schedule_id}}{rest}") for rest in ("", "/explanation", "/compare/{other_id}")}
    assert wanted | {("POST", "/v1/schedules/{schedule_id}/feedback")} <= served


def test_models_in_a_row_answer_as_documented() -> None:
    """Models that are listed are activated by their ids."""
    assert ("POST", "/v1/models/{model_id}/activate", 200) in _walk(services_over(), "/models")


def test_route_that_breaks_only_for_ids_of_its_own_is_noticed() -> None:
    """What no single request finds: reading fails, but only once there is something to read."""

    class Broken(JournalDecisions):
        async def get(self, decision_id: str, client: str) -> Any:
            if await super().get(decision_id, client) is not None:
                raise RuntimeError("as asked")
            return None

    journal = MemoryJournal()
    with pytest.raises(FailureGroup, match="Server error"):
        _walk(services_over(journal=journal, decisions=Broken(journal)), "/schedule")


def _walk(services: Services, paths: str) -> Counter[tuple[str, str, int]]:
    """Random walks along the links between the operations of some paths; how often each answer was seen."""
    linked = _schema(services).include(path_regex=paths).as_state_machine()
    seen: Counter[tuple[str, str, int]] = Counter()

    class Walk(linked):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": KEY}

        def before_call(self, case: Any) -> None:
            # What the document cannot say: a plant that can be scheduled, jobs of that schedule, a second id.
            if case.method.upper() == "POST" and case.path in {"/schedule", "/v1/schedules"}:
                case.body = body(jobs=[job("A"), job("B")], machines=[machine(1), machine(2)])
            if case.path.endswith("/feedback") and isinstance(case.body, dict):
                case.body = case.body | {"rating": 4, "actual_completions": []}
            if "other_id" in (case.path_parameters or {}):
                case.path_parameters["other_id"] = case.path_parameters["schedule_id"]

        def validate_response(self, response: Any, case: Any, additional_checks: Any = (), **kwargs: Any) -> None:
            seen[case.method.upper(), case.path, response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

    run_state_machine_as_test(Walk, settings=settings(BOUNDED, max_examples=12, stateful_step_count=20))
    return seen
