"""A short `make fuzz` on every run, and proof that the fuzzer sees what it must."""

from __future__ import annotations

import httpx
import pytest

from tests.deployments.fakes import body, job
from tests.fuzzing import Asked, _faults, fuzz

DOCUMENTED = {("POST", "/schedule"): {200, 422}}


async def test_spoiled_requests_are_answered_as_documented() -> None:
    """A hundred and fifty of them, always the same ones."""
    tally = await fuzz(150, seed=1)
    assert tally.failures == []
    assert tally.statuses[200] > 10
    assert tally.statuses[422] > 50


def _answer(*job_ids: str, rate: float = 100.0, total: int = 2) -> httpx.Response:
    rows = [{"job_id": job_id} for job_id in job_ids]
    metrics = {"total_jobs": total, "completion_rate": rate}
    return httpx.Response(200, json={"scheduled_jobs": rows, "metrics": metrics, "safety": {"valid": True}})


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (_answer("a", "b"), None),
        (_answer("a"), "each job must be planned once"),
        (_answer("a", "b", "b"), "each job must be planned once"),
        (_answer("a", "b", total=1), "the figures must count every job"),
        (_answer("a", "b", rate=50.0), "the figures must count every job"),
        (httpx.Response(500, headers={"content-type": "application/problem+json"}), "must not be a 5xx"),
        (httpx.Response(418, headers={"content-type": "application/problem+json"}), "must be a documented status"),
        (httpx.Response(422, text="no"), "must be problem details"),
        (
            httpx.Response(422, headers={"content-type": "application/problem+json"}, content=b"x" * 300_000),
            "a refusal must be short",
        ),
    ],
)
def test_fuzzer_sees_what_must_not_be(answer: httpx.Response, fault: str | None) -> None:
    """Each kind of fault is one; a good answer has none."""
    content = httpx.Request("POST", "http://x", json=body(jobs=[job("a"), job("b")])).content
    asked = Asked(method="POST", path="/schedule", template="/schedule", content=content, headers={}, kind="whole")
    found = _faults(asked, answer, DOCUMENTED)
    assert [each[: len(fault or "")] for each in found] == ([] if fault is None else [fault])
