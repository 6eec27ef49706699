"""The plan in force: compare-and-set, undo, history, and what the view of the ERP shows meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Engine, delete, text

from deployments.errors import PlanConflict
from deployments.persistence.decisions.records import PlanOrder, ReleaseAction, ReleaseRecord
from deployments.persistence.decisions.releases import plan_work
from deployments.persistence.delivery.batch_writer import DecisionWriter
from deployments.persistence.errors import DataRejected
from deployments.persistence.tables import DECISION
from tests.deployments.persistence.decisions.test_latest_plan import plan
from tests.deployments.persistence.payloads import decision_id

NOW = datetime(2025, 7, 22, 6, 0, tzinfo=UTC)


def write(engine: Engine, *records: Any) -> None:
    """The records as the writer stores them."""
    report = DecisionWriter(engine).write([record.to_bytes() for record in records])
    assert (report.accepted, report.poisoned) == (len(records), ())


def order(number: int, expected: int | None = None, **changes: Any) -> PlanOrder:
    """An order about decision `number`, which has one job named after it."""
    values: dict[str, Any] = {
        "decision": plan(number, f"J{number}", **changes.pop("of", {})),
        "expected": None if expected is None else decision_id(expected),
        "client": "planner",
        "actor": "anna",
        "reason": "the customer called",
        "at": NOW,
    }
    return PlanOrder(**values | changes)


def release(engine: Engine, wanted: PlanOrder) -> ReleaseRecord:
    """One release, committed."""
    with plan_work(engine) as plans:
        return plans.release(wanted)


def undo(engine: Engine, wanted: PlanOrder) -> ReleaseRecord:
    """One undo, committed."""
    with plan_work(engine) as plans:
        return plans.undo(wanted)


def shown(engine: Engine) -> list[tuple[str, str]]:
    """What the view shows."""
    with engine.connect() as connection:
        found = connection.execute(text("SELECT schedule_id, job_id FROM latest_plan ORDER BY job_id"))
        return [(row[0], row[1]) for row in found]


def _in_force(engine: Engine, client: str = "planner") -> tuple[str, bool] | None:
    with plan_work(engine) as plans:
        found = plans.in_force(client, "penang", None)
    return None if found is None else (found.decision.decision_id, found.release is not None)


def test_newest_decision_that_is_no_what_if_is_in_force_until_one_is_released(engine: Engine) -> None:
    """And afterwards the released one, whatever is decided later; the view says the same."""
    what_if = plan(3, "J3", request={"parent_schedule_id": decision_id(1)})
    write(engine, plan(1, "J1"), plan(2, "J2"), what_if)
    assert _in_force(engine) == (decision_id(2), False)
    assert shown(engine) == [(decision_id(2), "J2")]
    step = release(engine, order(1))
    assert (step.version, step.action, step.previous_id, step.is_what_if) == (1, ReleaseAction.RELEASE, None, False)
    write(engine, plan(4, "J4"))
    assert _in_force(engine) == (decision_id(1), True)
    assert shown(engine) == [(decision_id(1), "J1")]


def test_what_if_may_be_released_and_is_marked(engine: Engine) -> None:
    """A person may put a copy in force that nobody would have taken for the plan by itself."""
    request = {"parent_schedule_id": decision_id(1)}
    write(engine, plan(1, "J1"), plan(2, "J2", request=request))
    assert release(engine, order(2, of={"request": request})).is_what_if
    assert shown(engine) == [(decision_id(2), "J2")]


def test_in_shadow_only_a_release_changes_what_the_floor_sees(engine: Engine) -> None:
    """Decisions of the shadow stage are shown to whoever asks for the plan, and said not to be released."""
    write(engine, plan(1, "J1", stage="shadow"), plan(2, "J2", stage="shadow"))
    assert shown(engine) == []
    assert _in_force(engine) == (decision_id(2), False)
    release(engine, order(1))
    write(engine, plan(3, "J3", stage="shadow"))
    assert shown(engine) == [(decision_id(1), "J1")]
    undo(engine, order(1))
    assert shown(engine) == []


def test_release_compares_before_it_sets(engine: Engine) -> None:
    """Whoever believes something else to be in force changes nothing, and is told what is."""
    write(engine, *(plan(number, f"J{number}") for number in (1, 2, 3)))
    with pytest.raises(PlanConflict, match="nothing is released") as conflict:
        release(engine, order(1, expected=2))
    assert conflict.value.in_force == decision_id(3)
    release(engine, order(1, expected=3))
    for expected in (None, 2, 3):
        with pytest.raises(PlanConflict, match=f"{decision_id(1)} is in force") as conflict:
            release(engine, order(2, expected=expected))
        assert conflict.value.in_force == decision_id(1)
    assert shown(engine) == [(decision_id(1), "J1")]
    assert release(engine, order(2, expected=1)).previous_id == decision_id(1)
    # To release again what is in force is no new step.
    assert release(engine, order(2, expected=2)).version == 2


def test_undo_goes_back_step_by_step(engine: Engine) -> None:
    """To the plan before, to the one before that, at last to whatever is newest; each step is kept with its actor."""
    write(engine, *(plan(number, f"J{number}") for number in (1, 2, 3)))
    release(engine, order(1))
    release(engine, order(2, expected=1))
    with pytest.raises(PlanConflict, match=f"{decision_id(2)} is in force"):
        undo(engine, order(1))
    undo(engine, order(2, reason="wrong one", actor="ben"))
    assert (_in_force(engine), shown(engine)) == ((decision_id(1), True), [(decision_id(1), "J1")])
    release(engine, order(3, expected=1))
    undo(engine, order(3))
    undo(engine, order(1))
    assert (_in_force(engine), shown(engine)) == ((decision_id(3), False), [(decision_id(3), "J3")])
    with pytest.raises(PlanConflict, match="nothing is released"):
        undo(engine, order(1))
    write(engine, plan(4, "J4"))
    assert shown(engine) == [(decision_id(4), "J4")]
    with plan_work(engine) as plans:
        steps = plans.releases("planner", "penang", None, before=None, limit=10)
        assert plans.releases("planner", "penang", None, before=steps[1].version, limit=1) == [steps[2]]
    assert [(step.version, step.action.value, step.decision_id) for step in steps] == [
        (6, "undo", None),
        (5, "undo", decision_id(1)),
        (4, "release", decision_id(3)),
        (3, "undo", decision_id(1)),
        (2, "release", decision_id(2)),
        (1, "release", decision_id(1)),
    ]
    assert (steps[3].actor, steps[3].reason, steps[3].created_at) == ("ben", "wrong one", NOW)


def test_undo_to_a_plan_that_was_pruned_is_refused(engine: Engine) -> None:
    """Nothing is shown that nobody can read any more."""
    write(engine, plan(1, "J1"), plan(2, "J2"))
    release(engine, order(1))
    release(engine, order(2, expected=1))
    with engine.begin() as connection:
        connection.execute(delete(DECISION).where(DECISION.c.decision_id == decision_id(1)))
    with pytest.raises(PlanConflict, match="is not stored any more"):
        undo(engine, order(2))
    assert shown(engine) == [(decision_id(2), "J2")]


def test_what_another_client_released_does_not_exist(engine: Engine) -> None:
    """Nor can it be replaced, or its steps be read."""
    write(engine, plan(1, "J1"), plan(2, "J2", client="stranger"))
    release(engine, order(1))
    assert _in_force(engine, "stranger") is None
    for act in (release, undo):
        with pytest.raises(PlanConflict, match="another client") as conflict:
            act(engine, order(2, client="stranger"))
        assert conflict.value.in_force is None
    with plan_work(engine) as plans:
        assert plans.releases("stranger", "penang", None, before=None, limit=10) == []


def test_lines_are_released_apart(engine: Engine) -> None:
    """A plan of one line says nothing of another."""
    write(engine, plan(1, "J1", line_id="1"), plan(2, "J2", line_id="2"), plan(3, "J3", line_id="2"))
    release(engine, order(2, of={"line_id": "2"}))
    write(engine, plan(4, "J4", line_id="1"), plan(5, "J5", line_id="2"))
    assert shown(engine) == [(decision_id(2), "J2"), (decision_id(4), "J4")]


def test_decisions_that_are_no_plans_hide_none(engine: Engine) -> None:
    """However many were made in shadow, or kept without a payload, after the plan that is shown."""
    write(engine, plan(1, "J1"))
    write(engine, *(plan(number, "J", stage="shadow") for number in range(2, 110)))
    write(engine, *(plan(number, "J", request=None, answer=None) for number in range(110, 220)))
    assert shown(engine) == [(decision_id(1), "J1")]
    release(engine, order(2, of={"stage": "shadow"}, expected=109))
    undo(engine, order(2, of={"stage": "shadow"}))
    assert shown(engine) == [(decision_id(1), "J1")]


def test_after_the_last_undo_the_newest_of_any_client_is_shown(engine: Engine) -> None:
    """As before the first release."""
    write(engine, plan(1, "J1"))
    release(engine, order(1, expected=1))
    write(engine, plan(2, "J2", client="erp"))
    undo(engine, order(1))
    assert shown(engine) == [(decision_id(2), "J2")]


def test_schedule_of_another_client_cannot_be_released(engine: Engine) -> None:
    """Whoever reads it, only its own client puts it in force."""
    write(engine, plan(1, "J1", client="erp"))
    with pytest.raises(PlanConflict, match="or not yours"):
        release(engine, order(1))


def race(engine: Engine, rounds: int = 20) -> None:
    """Two planners release at once, again and again: each time one of them wins, and the other is told of it."""
    write(engine, *(plan(number, f"J{number}") for number in (1, 2, 3)))
    release(engine, order(3))
    current, barrier = 3, Barrier(2)

    def planner(number: int) -> int | str | None:
        barrier.wait()
        try:
            release(engine, order(number, expected=current))
        except PlanConflict as conflict:
            return conflict.in_force
        return number

    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            others = [number for number in (1, 2, 3) if number != current]
            found = list(pool.map(planner, others))
            (winner,) = (each for each in found if isinstance(each, int))
            assert [each for each in found if not isinstance(each, int)] == [decision_id(winner)]
            assert shown(engine) == [(decision_id(winner), f"J{winner}")]
            current = winner


def test_of_two_planners_at_once_exactly_one_wins(engine: Engine) -> None:
    """Also when each has a connection of his own, as two routers have."""
    race(engine)


def test_writer_and_planner_at_once_leave_the_released_plan(engine: Engine) -> None:
    """Decisions that are stored while a plan is released do not take its place."""
    write(engine, plan(1, "J1"))
    with ThreadPoolExecutor(2) as pool:
        stored = pool.submit(lambda: [write(engine, plan(number, f"J{number}")) for number in range(2, 30)])
        release(engine, order(1))
        stored.result()
    assert shown(engine) == [(decision_id(1), "J1")]


def test_release_of_nothing_readable_is_refused(engine: Engine) -> None:
    """An answer that has no rows would empty the floor's view."""
    write(engine, plan(1, "J1"))
    broken = replace(order(1).decision, answer=b"{}")
    with pytest.raises(DataRejected, match="must have rows"):
        release(engine, order(1, decision=broken))
    assert shown(engine) == [(decision_id(1), "J1")]
