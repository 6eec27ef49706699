"""The scan for known holes: it finds them, and is silent offline."""

from __future__ import annotations

import httpx
import pytest

from tests.dependency_scan import counts, holes, knows_advisories


def _client(answer: httpx.Response | Exception) -> httpx.Client:
    def handle(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.Client(transport=httpx.MockTransport(handle))


@pytest.mark.parametrize(
    ("answer", "knows"),
    [
        (httpx.Response(200, json={"vulnerabilities": []}), True),
        (httpx.Response(200, json={}), False),
        (httpx.Response(200, text="<html>"), False),
        (httpx.Response(404), False),
        (httpx.ConnectError("no route"), False),
        (httpx.ConnectTimeout("slow"), False),
    ],
)
def test_scan_knows_whether_it_can_know_anything(answer: httpx.Response | Exception, knows: bool) -> None:
    """Only an answer with advisories counts; everything else means that nothing is checked."""
    with _client(answer) as client:
        assert knows_advisories(client) is knows


def test_hole_is_named_with_what_closes_it() -> None:
    """One line for each hole; sound and skipped packages have none."""
    report = {
        "dependencies": [
            {"name": "sound", "version": "1", "vulns": []},
            {"name": "unknown", "skip_reason": "not found"},
            {"name": "holey", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]},
        ]
    }
    assert counts(report) == (2, 1)
    assert holes(report) == ["holey 2: PYSEC-1, fixed in 2.1"]
