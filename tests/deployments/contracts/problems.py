"""Requests with every field of the schema on their way to a problem, as the tests of this room ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.contracts.translation.fixed_work import EarlierRow
from deployments.contracts.translation.problem import Question, translate
from env.errors import InvalidProblem
from tests.deployments.fakes import KUALA_LUMPUR, NOW, request_of


def question_of(earlier: tuple[EarlierRow, ...] | None = None, **changes: Any) -> Question:
    """The question of a request in Kuala Lumpur."""
    return translate(request_of(**changes), zone=KUALA_LUMPUR, now=NOW, earlier=earlier)


def reasons_of(earlier: tuple[EarlierRow, ...] | None = None, **changes: Any) -> list[tuple[str, str]]:
    """Why there is no question."""
    with pytest.raises(InvalidProblem) as caught:
        question_of(earlier, **changes)
    return list(caught.value.reasons)
