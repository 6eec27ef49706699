from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import ExitStack
from itertools import count

import numpy as np
import pytest

from deployments.api import create_api
from deployments.errors import Overloaded, ProposalFailed
from deployments.scheduling.time_budget import (
    AGED_SECONDS,
    FIRST_SECONDS_OF_A_BYTE,
    MAX_CROWD,
    MAX_SECONDS,
    MIN_BODY_BYTES,
    LoadShedding,
)
from tests.deployments.api.calls import call
from tests.deployments.fakes import (
    NOW,
    FailingProposer,
    KnownPlants,
    PlannedProposer,
    body,
    job,
    machine,
    request_of,
    scheduling_over,
    services_over,
)
from tests.deployments.plants.rows import plant

BODY_BYTES = 50_000
ALONE = BODY_BYTES * FIRST_SECONDS_OF_A_BYTE


class Others:
    """The other routers of a machine, which have `count` requests in flight."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self.told = 0

    def set(self, count: int) -> None:
        self.told = count

    def of_others(self) -> int:
        return self.count


def test_requests_with_a_core_of_their_own_get_the_whole_budget() -> None:
    """As many as there are cores get what they asked for."""
    load = LoadShedding(2)
    with load.request(BODY_BYTES), load.request(BODY_BYTES):
        assert load.afforded_ms(250) == 250


@pytest.mark.parametrize(("in_flight", "expected"), [(2, 600), (3, 500), (4, 400), (5, 300), (7, 100), (8, 0), (30, 0)])
def test_budget_falls_to_nothing_as_requests_pile_up(in_flight: int, expected: int) -> None:
    """Between one and four requests for each core it falls linearly, and beyond nothing is left."""
    load = LoadShedding(2)
    with ExitStack() as stack:
        for _ in range(in_flight):
            stack.enter_context(load.request(BODY_BYTES))
        assert load.afforded_ms(600) == expected


def test_what_other_routers_have_in_flight_counts_as_well() -> None:
    """Two routers of one machine afford what one with all the requests would."""
    others = Others(5)
    both, one = LoadShedding(2, others), LoadShedding(2)
    with ExitStack() as stack:
        stack.enter_context(both.request(BODY_BYTES))
        for _ in range(6):
            stack.enter_context(one.request(BODY_BYTES))
        assert both.afforded_ms(250) == one.afforded_ms(250)
        assert both.afforded_ms(250) == 83
        assert others.told == 1
    assert others.told == 0


def test_newcomers_are_refused_before_they_would_wait() -> None:
    """Refused is the first one that would take longer than is promised; the refusal says when to come again."""
    load = LoadShedding(2)
    with ExitStack() as stack:
        admitted = 0
        while (ALONE * (admitted + 1) / 2) <= MAX_SECONDS + MAX_CROWD * ALONE:
            load.require_room(BODY_BYTES)
            stack.enter_context(load.request(BODY_BYTES))
            admitted += 1
        with pytest.raises(Overloaded, match=f"{admitted} requests are under way") as refused:
            load.require_room(BODY_BYTES)
        assert refused.value.retry_after_seconds == 1
    load.require_room(BODY_BYTES)


def test_no_request_is_refused_on_an_idle_machine_however_large() -> None:
    """Twenty thousand jobs take seconds, and nobody waits for anybody."""
    load = LoadShedding(1)
    load.require_room(10_000_000)
    with load.request(10_000_000):
        load.require_room(10_000_000)


class Crowd:
    """Small requests without end on two cores, as many as are let in, beside a large one."""

    def __init__(self, aged_large: bool = True) -> None:
        self.now, self.small = 0.0, 20_000
        self.load = LoadShedding(2, stopwatch=lambda: self.now)
        self.large = 400_000 if aged_large else self.small
        self.under_way: dict[ExitStack, float] = {}
        self.done = 0

    def ask(self, body_bytes: int) -> int:
        """0 when it is let in, and under way from now on; else the seconds that it is told to wait."""
        try:
            self.load.require_room(body_bytes)
        except Overloaded as refused:
            return refused.retry_after_seconds
        request = ExitStack()
        request.enter_context(self.load.request(body_bytes))
        self.under_way[request] = body_bytes * FIRST_SECONDS_OF_A_BYTE
        return 0

    def run(self, seconds: float, step: float = 0.01) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += step
            share = step * min(1.0, 2 / max(1, len(self.under_way)))
            self.under_way = {request: left - share for request, left in self.under_way.items()}
            for request in [request for request, left in self.under_way.items() if left <= 0.0]:
                del self.under_way[request]
                request.close()
                self.done += 1
            while not self.ask(self.small):
                pass


def test_large_request_does_not_wait_for_a_lull_for_ever() -> None:
    """Told to come again it comes, and is let in the first or second time, though the small ones never end."""
    crowd = Crowd()
    crowd.run(5.0)
    waits = []
    while wait := crowd.ask(crowd.large):
        waits.append(wait)
        assert len(waits) <= 2
        crowd.run(wait)
    assert waits
    assert sum(waits) <= 30


def test_room_that_is_kept_for_a_large_request_costs_no_work() -> None:
    """Fewer small ones are under way meanwhile, and as many get done; who does not come again keeps nobody out."""
    crowd, alone = Crowd(), Crowd()
    for each in (crowd, alone):
        each.run(5.0)
    most = len(alone.under_way)
    wait = crowd.ask(crowd.large)
    assert wait
    for each in (crowd, alone):
        each.run(AGED_SECONDS + 1.0)
    assert len(crowd.under_way) < most / 2
    with pytest.raises(Overloaded, match="a larger one has waited for 3 s"):
        crowd.load.require_room(crowd.small)
    assert crowd.done > 0.95 * alone.done
    crowd.run(2.0 * wait)
    assert len(crowd.under_way) > 0.9 * most


def test_refusal_of_equals_keeps_nobody_out() -> None:
    """Where all are as large, those that are refused are no larger than those that are let in."""
    crowd = Crowd(aged_large=False)
    crowd.run(1.0)
    before = len(crowd.under_way)
    crowd.run(10.0)
    assert len(crowd.under_way) == before


@pytest.mark.parametrize("alone", [0.01, 0.05, 0.4])
@pytest.mark.parametrize("budget_ms", [0, 100])
def test_cost_is_learned_whether_the_machine_is_crowded_or_not(alone: float, budget_ms: int) -> None:
    """Requests that come at random, up to a dozen at once on two cores: what one costs without its budget comes out.

    Each searches until its budget is over by the clock, and then works until it has got what it costs.
    """
    step, now, rng = alone / 50, 0.0, np.random.default_rng(4)
    load = LoadShedding(2, stopwatch=lambda: now)
    arrivals = np.cumsum(rng.exponential((alone + budget_ms / 1000) / 1.6, 300)).tolist()
    searching: dict[ExitStack, float] = {}
    working: dict[ExitStack, float] = {}
    while arrivals or searching or working:
        now += step
        share = min(1.0, 2 / max(1, len(searching) + len(working)))
        working = {request: left - step * share for request, left in working.items()}
        for request in [request for request, left in working.items() if left <= 0.0]:
            del working[request]
            request.close()
        for request in [request for request, end in searching.items() if end <= now]:
            del searching[request]
            working[request] = alone
        while arrivals and arrivals[0] <= now:
            arrivals.pop(0)
            request = ExitStack()
            request.enter_context(load.request(BODY_BYTES)).searched_seconds = budget_ms / 1000
            searching[request] = now + budget_ms / 1000
    assert load._alone(BODY_BYTES) == pytest.approx(alone, rel=0.3)


def test_failed_requests_give_their_place_back_and_teach_nothing() -> None:
    """What ends with an error may have cost anything."""
    now = 0.0
    load = LoadShedding(1, stopwatch=lambda: now)
    failing = load.request(BODY_BYTES)
    failing.__enter__()
    now = 100.0
    assert not failing.__exit__(RuntimeError, RuntimeError(), None)
    assert load.in_flight == 0
    assert load._alone(BODY_BYTES) == ALONE


def ticking(seconds: float) -> LoadShedding:
    """On it every request that is alone takes so long."""
    ticks = count()
    return LoadShedding(2, stopwatch=lambda: seconds * next(ticks))


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_budget_that_nobody_used_up_is_no_reason_to_think_requests_free(share: float) -> None:
    """A rule searches for nothing, and a search ends early where nothing better can exist."""
    load = ticking(10 * FIRST_SECONDS_OF_A_BYTE * MIN_BODY_BYTES)
    scheduling = scheduling_over(ppo=PlannedProposer(), share=share, load=load)
    request, raw = request_of(time_budget_ms=60_000), json.dumps(body()).encode()
    for _ in range(10):
        await scheduling.schedule(request, client="planner", raw_body=raw)
    assert load._alone(MIN_BODY_BYTES) > 2 * FIRST_SECONDS_OF_A_BYTE * MIN_BODY_BYTES


async def test_request_whose_arm_came_to_nothing_teaches_nothing() -> None:
    """Most of its time it has waited, and nobody worked meanwhile."""
    load = ticking(1.0)
    scheduling = scheduling_over(ppo=FailingProposer(ProposalFailed("lost")), load=load)
    await scheduling.schedule(request_of(), client="planner", raw_body=json.dumps(body()).encode())
    assert load._alone(BODY_BYTES) == ALONE


async def test_body_counts_with_what_the_plants_data_added() -> None:
    """A request of a few bytes for a thousand pending jobs is no small one that took long."""
    load = ticking(2 * FIRST_SECONDS_OF_A_BYTE * MIN_BODY_BYTES)
    jobs = [job(f"J{number}") for number in range(1000)]
    plants = KnownPlants(penang=plant(jobs=jobs, machines=[machine()]))
    scheduling = scheduling_over(plants=plants, share=0.0, load=load)
    request = request_of(jobs=[], machines=None, time_budget_ms=0)
    await scheduling.schedule(request, client="planner", raw_body=b"{}")
    assert load._alone(BODY_BYTES) < ALONE


async def test_large_requests_that_come_together_are_not_all_let_in() -> None:
    """None of them is under way yet while they are read, in threads, and each would find the machine idle."""
    load, large = LoadShedding(1), body(jobs=[job(f"J{number}") for number in range(1000)], time_budget_ms=0)
    load._seconds_of_a_byte = 10 / len(json.dumps(large))
    app = create_api(lambda: services, clock=lambda: NOW)
    services = services_over(scheduling=scheduling_over(load=load))
    answers = await asyncio.gather(*[call("POST", "/schedule", app=app, json=large) for _ in range(6)])
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}
    assert {answer.json()["error"] for answer in answers if answer.status_code == 503} == {"overloaded"}


def test_cores_must_make_sense() -> None:
    """The error says what was required and what was found."""
    with pytest.raises(ValueError, match="cores must be at least 1, was 0"):
        LoadShedding(0)
