"""Every query, on SQLite."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update

from deployments.persistence.decisions.records import MAX_PAGE_SIZE, DecisionFilter, DecisionRecord
from deployments.persistence.decisions.repository import unit_of_work
from deployments.persistence.errors import InvalidCursor, Mismatch, PayloadMismatch
from deployments.persistence.tables import DECISION
from tests.deployments.persistence.payloads import FIRST_INSTANT, decision, decision_id


def _insert(engine: Engine, *records: DecisionRecord) -> None:
    with unit_of_work(engine) as decisions:
        decisions.insert(records)


def test_decision_comes_back_unchanged(engine: Engine) -> None:
    """Every field, with its bodies, for the client that it belongs to."""
    record = decision(fallback_reason="too slow", line_id="line-1")
    _insert(engine, record)
    with unit_of_work(engine) as decisions:
        assert decisions.get(record.decision_id, "planner") == record
        assert decisions.get(record.decision_id.upper(), "planner") == record


def test_decision_without_payload_comes_back_without(engine: Engine) -> None:
    """A client that asked not to keep the bodies finds the key figures and the digest."""
    record = decision(request=None, answer=None, payload_sha256="ab" * 32)
    _insert(engine, record)
    with unit_of_work(engine) as decisions:
        assert decisions.get(record.decision_id, "planner") == record


@pytest.mark.parametrize(
    ("identifier", "client"), [(decision_id(1), "other"), (decision_id(2), "planner"), ("no id", "planner")]
)
def test_decision_of_another_client_is_absent(engine: Engine, identifier: str, client: str) -> None:
    """It cannot be told from one that does not exist, nor from an id that is none."""
    _insert(engine, decision(1))
    with unit_of_work(engine) as decisions:
        assert decisions.get(identifier, client) is None


def test_insert_is_done_once_however_often_it_is_repeated(engine: Engine) -> None:
    """The first row stays as it was."""
    _insert(engine, decision(1), decision(1), decision(2))
    _insert(engine, decision(2), decision(3))
    with unit_of_work(engine) as decisions:
        assert [record.decision_id for record in decisions.page("planner").records] == [
            decision_id(number) for number in (3, 2, 1)
        ]


def test_other_payload_under_a_stored_id_is_a_mismatch_and_rolls_back(engine: Engine) -> None:
    """The error names decision and digests; nothing of that transaction is kept."""
    first, second = decision(1, answer=b"first"), decision(1, answer=b"second")
    _insert(engine, first)
    with pytest.raises(PayloadMismatch) as caught:
        _insert(engine, decision(2), second)
    assert caught.value.mismatches == (
        Mismatch(decision_id=decision_id(1), wanted_sha256=second.payload_sha256, found_sha256=first.payload_sha256),
    )
    with unit_of_work(engine) as decisions:
        assert decisions.get(decision_id(1), "planner") == first
        assert decisions.get(decision_id(2), "planner") is None


@pytest.mark.parametrize("damaged", [b"no zlib", b"x\x9c\x03\x00\x00\x00\x00\x01"], ids=["not compressed", "emptied"])
def test_damaged_payload_is_never_given_out(engine: Engine, damaged: bytes) -> None:
    """Both ways of reading check the digest; a page without payloads does not look."""
    _insert(engine, decision(1))
    with engine.begin() as connection:
        connection.execute(update(DECISION).values(answer=damaged))
    with unit_of_work(engine) as decisions:
        with pytest.raises(PayloadMismatch, match=f"payload of decision {decision_id(1)} must have SHA-256"):
            decisions.get(decision_id(1), "planner")
        with pytest.raises(PayloadMismatch):
            decisions.page("planner", with_payload=True)
        assert len(decisions.page("planner").records) == 1


def test_page_is_newest_first_and_of_one_client(engine: Engine) -> None:
    """Without payloads unless they are asked for."""
    mine = [decision(number) for number in (1, 2, 3)]
    _insert(engine, *mine, decision(4, client="other"))
    with unit_of_work(engine) as decisions:
        page = decisions.page("planner", with_payload=True)
        assert (page.records, page.next_cursor) == ((mine[2], mine[1], mine[0]), None)
        assert decisions.page("planner").records[0] == replace(mine[2], request=None, answer=None)


def test_page_can_be_of_one_plant_or_one_request(engine: Engine) -> None:
    """The filters add up."""
    _insert(engine, decision(1), decision(2, plant_id="ipoh"), decision(3, plant_id=None, request_id="erp-2"))
    with unit_of_work(engine) as decisions:

        def found(**filters: str) -> list[str]:
            wanted = DecisionFilter(**filters)  # type: ignore[arg-type]
            return [record.decision_id for record in decisions.page("planner", wanted=wanted).records]

        assert found(plant_id="penang") == [decision_id(1)]
        assert found(request_id="erp-2") == [decision_id(3), decision_id(2)]
        assert found(plant_id="ipoh", request_id="erp-2") == [decision_id(2)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.lists(st.integers(0, 4), max_size=12), limit=st.integers(1, 5))
def test_pages_give_each_decision_once(engine: Engine, seconds: list[int], limit: int) -> None:
    """Whatever instants coincide, the pages together are all decisions, newest first."""
    records = [decision(number, created_at=FIRST_INSTANT.replace(second=at)) for number, at in enumerate(seconds)]
    with engine.begin() as connection:
        connection.execute(delete(DECISION))
    _insert(engine, *records)
    found: list[DecisionRecord] = []
    cursor = None
    with unit_of_work(engine) as decisions:
        while True:
            page = decisions.page("planner", before=cursor, limit=limit, with_payload=True)
            assert len(page.records) <= limit
            found += page.records
            if (cursor := page.next_cursor) is None:
                break
    assert found == sorted(records, key=lambda record: (record.created_at, record.decision_id), reverse=True)


@pytest.mark.parametrize(
    "cursor",
    ["", "ä", "not base64!", base64.urlsafe_b64encode(b"2025-07-22T06:00:00 " + b"0" * 32).decode(), "AAAA"],
)
def test_foreign_cursor_is_refused(engine: Engine, cursor: str) -> None:
    """Only what an earlier page gave is a cursor."""
    with unit_of_work(engine) as decisions, pytest.raises(InvalidCursor, match="cursor must be one that"):
        decisions.page("planner", before=cursor)


@pytest.mark.parametrize("limit", [0, MAX_PAGE_SIZE + 1])
def test_page_is_bounded(engine: Engine, limit: int) -> None:
    """Nobody reads the whole table at once."""
    with unit_of_work(engine) as decisions, pytest.raises(ValueError, match=rf"limit must be in 1\.\.100, was {limit}"):
        decisions.page("planner", limit=limit)
