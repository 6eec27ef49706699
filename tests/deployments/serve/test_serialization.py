"""What replicas send each other arrives as it was sent."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from deployments.serve.serialization import decode, encode, encode_problem
from env.instances.generator import toy_problem
from env.judge.judge import judge
from env.problem import Alternative, Job, Machine, Operation, Problem
from env.schedule import Schedule
from tests.deployments.shipped_policy import POLICY
from tests.problems import WITH_INSTANTS, solved_problems


@given(solved_problems(WITH_INSTANTS))
@settings(max_examples=25)
def test_freight_arrives_as_it_was_sent(solved: tuple[Problem, Schedule]) -> None:
    """Problem, schedule and verdict are the same at the other end, field by field."""
    sent = (*solved, judge(*solved, POLICY.anomaly_limits))
    arrived = decode(encode(sent))
    assert arrived == sent
    assert _spelled(arrived) == _spelled(sent)


def _spelled(value: object) -> object:
    """Every field by its name, type and form down to the last, which tells 1 from 1.0 and True; sets in order."""
    if dataclasses.is_dataclass(value):
        fields = [(field.name, _spelled(getattr(value, field.name))) for field in dataclasses.fields(value)]
        return type(value), fields
    if isinstance(value, (tuple, frozenset)):
        parts = [_spelled(part) for part in value]
        return type(value), sorted(parts, key=repr) if isinstance(value, frozenset) else parts
    return type(value), repr(value)


def test_freight_keeps_what_is_shared_shared() -> None:
    """Jobs that agree share one tuple of alternatives, without which thousands of them would not fit into memory."""
    alternatives = (Alternative(machine=0, processing_seconds=1),)
    jobs = tuple(Job(id=id, operations=(Operation(id=id, alternatives=alternatives),)) for id in "AB")
    first, second = decode(encode(Problem(jobs=jobs, machines=(Machine(id=1),)))).operations
    assert first.alternatives is second.alternatives


def test_freight_is_as_frozen_as_it_was() -> None:
    """Nobody may change at the far end what nobody may change here."""
    arrived = decode(encode(Schedule(assignments=())))
    with pytest.raises(dataclasses.FrozenInstanceError):
        arrived.assignments = ()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda payload: b"", "payload must begin with"),
        (lambda payload: payload[:10], "as its header says"),
        (lambda payload: pickle.dumps("foreign"), "payload must begin with"),
        (lambda payload: payload[:6] + b"\x02" + payload[7:], "payload must begin with"),
        (lambda payload: payload[:-1], "as its header says"),
        (lambda payload: payload + b"more", "as its header says"),
    ],
)
def test_foreign_freight_is_refused_unread(
    spoil: Callable[[bytes], bytes], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is of another version, of nobody or cut off is refused before anything of it is read."""
    monkeypatch.setattr(pickle, "loads", lambda _: pytest.fail("was read"))
    with pytest.raises(ValueError, match=reason):
        decode(spoil(encode(Schedule(assignments=()))))


def test_freight_cut_anywhere_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of a problem's bytes has arrived, nothing is made of a part, nor of any other version."""
    whole = encode(toy_problem())
    versions = [whole[:6] + bytes([version]) + whole[7:] for version in range(256) if version != whole[6]]
    monkeypatch.setattr(pickle, "loads", lambda _: pytest.fail("was read"))
    for spoiled in (*(whole[:length] for length in range(len(whole))), *versions):
        with pytest.raises(ValueError, match="payload must"):
            decode(spoiled)


def test_problem_is_encoded_once() -> None:
    """Policy and judge get the same bytes, and a problem that was changed other ones."""
    problem = toy_problem()
    assert encode_problem(problem) is encode_problem(problem)
    assert decode(encode_problem(problem)) == problem
    changed = dataclasses.replace(problem, stability_seconds=1.0)
    assert decode(encode_problem(changed)) == changed
