"""The auditor: its own books first, then a short audit of the real service."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import replace

import pytest

from deployments.persistence.decisions.records import payload_digest
from tests.system.auditing.audit import run_audit
from tests.system.auditing.ledger import Attempt, Row, TransitionLog, row_of
from tests.system.auditing.proxy import FaultProxy
from tests.system.auditing.report import Plan

BODY = b'{"schedule_id": "d1"}'
DIGEST = hashlib.sha256(BODY).hexdigest()
ROW = Row(decision_id="d1", request_id="r1", answer_sha256=DIGEST, is_intact=True)


def _acknowledged(request_id: str = "r1", decision_id: str = "d1") -> Attempt:
    return Attempt(request_id=request_id, key=None, status=200, decision_id=decision_id, body_sha256=DIGEST)


def _unanswered(request_id: str, status: int | None = None) -> Attempt:
    return Attempt(request_id=request_id, key=None, status=status)


def test_books_balance_when_every_row_is_explained() -> None:
    """A row of an attempt without an answer is explained, and so is one that came to nothing."""
    ledger = TransitionLog([_acknowledged(), _unanswered("r2"), _unanswered("r3", 500), _unanswered("r4", 422)])
    rows = [ROW, replace(ROW, decision_id="d2", request_id="r2"), replace(ROW, decision_id="d3", request_id="r3")]
    assert ledger.balance(rows).holds


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([], "lost"),
        (
            [ROW, replace(ROW, decision_id="d2", request_id="r2"), replace(ROW, decision_id="d3", request_id="r2")],
            "duplicated",
        ),
        ([replace(ROW, answer_sha256="0" * 64)], "mismatched"),
        ([replace(ROW, is_intact=False)], "mismatched"),
        ([ROW, replace(ROW, decision_id="d9", request_id="nobody")], "unexplained"),
        ([ROW, replace(ROW, decision_id="d4", request_id="r4")], "unexplained"),
    ],
)
def test_books_tell_each_fault_from_the_others(rows: list[Row], fault: str) -> None:
    """Lost, twice, changed, or nobody's: also a row of an attempt that was told no."""
    ledger = TransitionLog([_acknowledged(), _unanswered("r2"), _unanswered("r4", 422)])
    balance = ledger.balance(rows)
    found = {name for name in ("lost", "duplicated", "mismatched", "unexplained") if getattr(balance, name)}
    assert found == {fault}


def test_two_answers_to_one_request_are_a_duplicate() -> None:
    """Under a key all attempts are one request."""
    ledger = TransitionLog([_acknowledged(), _acknowledged(decision_id="d2")])
    assert ledger.balance([ROW, replace(ROW, decision_id="d2")]).duplicated == ("r1", "r1")


def test_row_is_read_from_the_bytes_of_the_table() -> None:
    """What the table has is hashed anew."""
    stored = (zlib.compress(b"{}"), zlib.compress(BODY))
    assert row_of("d1", "r1", *stored, payload_digest(b"{}", BODY)) == ROW
    assert not row_of("d1", "r1", *stored, "0" * 64).is_intact


async def test_proxy_forwards_stalls_resets_and_cuts() -> None:
    """Each fault does what its name says, and afterwards the proxy works again."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = FaultProxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    proxy.stall()
    writer.write(b"b")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.1)
    proxy.flow()
    assert await reader.readexactly(1) == b"b"
    assert proxy.reset() == 1
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    proxy.is_cut = True
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await reader.read(1) == b""
    writer.close()
    await proxy.stop()
    server.close()


@pytest.mark.system
def test_short_audit_balances() -> None:
    """Each kind of fault once, a hundred decisions, a database that goes away at the end and comes back."""
    report = run_audit(Plan(decisions=100, faults=16, backlog=50, longest_seconds=420.0, seed=7))
    assert report.failures == (), "\n".join(report.lines())
