"""Orders on a router: to the controller if it is there; a rollback also without it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import JournalUnavailable, RolloutUnavailable, TransitionRefused
from deployments.rollout.ramp.latch import Latch
from deployments.rollout.ramp.state import Action, Order, RolloutState, Stage
from deployments.rollout_control import rollout_client as room
from deployments.rollout_control.controller import Command
from deployments.rollout_control.rollout_client import RolloutClient
from deployments.rollout_control.router_view import RolloutView
from deployments.serve.handles import RemoteFailed
from tests.deployments.rollout_control.events import NOW, Clock, state
from tests.deployments.rollout_control.test_router_view import view

ROLLED_BACK = state(version=4, stage=Stage.ROLLED_BACK, share=0.0)
PAUSE = Command(action=Action.PAUSE, order=Order(actor="ops", reason="because", at=NOW))


class Controller:
    """Answers with a state or raises; remembers its commands."""

    def __init__(self, answer: RolloutState | Exception) -> None:
        self.answer = answer
        self.commands: list[Command] = []

    async def command(self, command: Command) -> RolloutState:
        self.commands.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def overview(self) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"version": self.answer.version}


def desk_over(router: RolloutView, controller: Controller) -> RolloutClient:
    clock = Clock()
    return RolloutClient(
        router,
        command=controller.command,
        overview=controller.overview,
        unreachable=(RemoteFailed,),
        clock=clock.now,
        steady=clock.steady,
    )


async def test_order_takes_effect_on_its_router_at_once(tmp_path: Path) -> None:
    """The router does not wait for the next exchange to know what it was told."""
    router = view(tmp_path)
    paused = state(stage=Stage.PAUSED, held_stage=Stage.EXPANDED)
    assert await desk_over(router, Controller(paused)).command(PAUSE) == paused
    assert router.traffic_split().stage == "paused"


async def test_rollback_is_in_force_before_the_controller_answers(tmp_path: Path) -> None:
    """On disk and in memory first; then the controller's state, whoever asked with which version."""
    router, controller = view(tmp_path), Controller(ROLLED_BACK)
    router.learn(state(), 0.0)
    assert await desk_over(router, controller).roll_back("night shift", "late trucks") == ROLLED_BACK
    assert router.latch is not None
    (command,) = controller.commands
    assert (command.action, command.order.actor, command.order.expected_version) == ("rollback", "night shift", None)


@pytest.mark.parametrize("failure", [RemoteFailed("gone"), RolloutUnavailable("unknown"), TimeoutError()])
async def test_rollback_without_a_controller_is_a_latch(tmp_path: Path, failure: Exception) -> None:
    """The router rolls itself back, and says that it has done so alone."""
    router = view(tmp_path)
    router.learn(state(), 0.0)
    found = await desk_over(router, Controller(failure)).roll_back("night shift", "late trucks")
    assert isinstance(found, Latch)
    assert router.traffic_split().stage == "rolled_back"


async def test_rollback_does_not_wait_for_a_controller_that_hangs(tmp_path: Path) -> None:
    """It is bounded to well under a second."""
    assert room.ROLLBACK_SECONDS < 1.0

    class Silent(Controller):
        async def command(self, command: Command) -> RolloutState:
            await asyncio.Event().wait()
            raise AssertionError

    router = view(tmp_path)
    assert isinstance(await desk_over(router, Silent(ROLLED_BACK)).roll_back("ops", "because"), Latch)


async def test_rollback_that_nobody_could_keep_is_said_to_be(tmp_path: Path) -> None:
    """Without disk and controller it lasts as long as the process, and that is an error to be told."""
    folder = tmp_path / "file"
    folder.write_text("no folder")
    router = view(folder)
    with pytest.raises(JournalUnavailable, match="neither disk nor controller"):
        await desk_over(router, Controller(RemoteFailed("gone"))).roll_back("ops", "because")
    assert router.latch is not None


async def test_other_orders_need_the_controller(tmp_path: Path) -> None:
    """What it refuses is told as it is; that it is not there is told as that."""
    router = view(tmp_path)
    refused = TransitionRefused("pause", "rolled_back", ("only a stage of the ramp can be paused",))
    with pytest.raises(TransitionRefused):
        await desk_over(router, Controller(refused)).command(PAUSE)
    lost = desk_over(router, Controller(RemoteFailed("replica lost in each of 1 attempts")))
    for asked in (lost.command(PAUSE), lost.overview()):
        with pytest.raises(RolloutUnavailable, match="does not answer: replica lost"):
            await asked
