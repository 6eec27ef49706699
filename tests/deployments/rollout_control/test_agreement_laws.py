"""The law of two services on one database, whatever is cut off, dies, expires or happens in between.

No version is decided twice, nothing is raised but by the owner through the database, a rollback holds where it was
decided and then everywhere, and in the end both serve what the database says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete

from deployments.errors import RolloutError, RolloutUnavailable
from deployments.persistence.decisions.rollout_repository import RolloutRows
from deployments.rollout.analysis.outcomes import Outcome
from deployments.rollout.ramp.state import Action, RolloutState, Stage, Transition
from deployments.rollout.ramp.traffic import PUBLISHED
from deployments.rollout_control.agreement import ControlSettings
from deployments.rollout_control.controller import Controller
from deployments.rollout_control.database_sync import LEASE_SECONDS, TAKEOVER_SECONDS
from deployments.rollout_control.protocol import Incident
from deployments.rollout_control.transition_log import Entry, Remembered
from tests.deployments.rollout_control.events import QUICK, Clock, evaluation, report
from tests.deployments.rollout_control.shared_database import TABLES, Line, SharedDatabase
from tests.deployments.rollout_control.test_controller import command

SHIPPED = settings(max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = st.sampled_from(["a", "b"])
INTERRUPTIONS = ("rollback", "other rollback", "takeover", "pause")
RAISING = (Action.PROMOTE, Action.PAUSE, Action.RESUME)


class Journal:
    """A controller's disk, which survives it."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self.entries: list[tuple[Transition | Incident, bool]] = []

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def identity(self) -> str:
        return self._identity

    def read(self) -> Remembered:
        transitions = [(entry, adopted) for entry, adopted in self.entries if isinstance(entry, Transition)]
        return Remembered(
            transitions=tuple(entry for entry, _ in transitions),
            decided=tuple(entry for entry, adopted in transitions if not adopted),
            incidents=tuple(entry for entry, _ in self.entries if isinstance(entry, Incident)),
        )

    def append(self, entry: Transition | Incident, *, is_adopted: bool = False) -> None:
        self.entries.append((entry, is_adopted))

    def save_statistics(self, document: dict[str, Any]) -> None:
        pass


class OwnersLine(Line):
    """Looks at whose lease it is whenever something other than a rollback has been stored."""

    owner_id = ""
    raised: list[int]

    def append_transition(self, transition: Any, **changes: Any) -> bool:
        is_stored = super().append_transition(transition, **changes)
        if is_stored and transition["to_stage"] != "rolled_back":
            lease, _ = RolloutRows(self._engine, self._now).look(None)
            assert lease is not None
            assert (lease.owner_id, lease.token) == (self.owner_id, changes["token"])
            assert lease.seconds_left > 0.0
        return is_stored


class Service:
    """A controller that may be started again and again, with what it announced as its own decision."""

    def __init__(self, name: str, database: SharedDatabase, initial_stage: Stage = Stage.EXPANDED) -> None:
        self.name = name
        self.initial_stage = initial_stage
        self.incidents: list[Incident] = []
        self.database = database
        self.journal = Journal(f"{name * 8}-0000-7000-8000-000000000000")
        self.line = OwnersLine(database.engine, database.now)
        self.line.owner_id = self.journal.identity()
        self.decided: dict[int, Transition] = {}
        self.rolled_back_ramp = 0
        self.events = 0
        self.control: Controller | None = None

    def hear(self, entry: Entry) -> None:
        if isinstance(entry, Incident):
            self.incidents.append(entry)
        if isinstance(entry, Transition):
            self.decided[entry.version] = entry
            if entry.to_stage is Stage.ROLLED_BACK:
                self.rolled_back_ramp = max(self.rolled_back_ramp, entry.state.ramp)

    async def start(self) -> None:
        self.events = 0
        self.sync = self.database.sync(self.line, self.name)
        self.control = Controller(
            ControlSettings(configuration=QUICK, initial_stage=self.initial_stage, seed="gantry", challenger=PUBLISHED),
            journal=self.journal,  # type: ignore[arg-type]
            database=self.sync,
            listeners=(self,),
            clock=self.database.now,
            heartbeat_seconds=3600.0,
            meeting_seconds=3600.0,
        )
        await self.control.open()
        # What happens, and when, is for the walk to say.
        for task in self.control._tasks:
            await task.stop()

    async def stop(self) -> None:
        assert self.control is not None
        await self.control.close()

    @property
    def state(self) -> RolloutState | None:
        assert self.control is not None
        return self.control.transition_log.state

    async def order(self, action: Action) -> bool:
        """Whether it was carried out."""
        assert self.control is not None
        try:
            await self.control.command(command(action, force=True))
        except (RolloutError, RolloutUnavailable):
            return False
        return True

    async def see_critical(self) -> None:
        """A router tells of a violation in the present ramp."""
        assert self.control is not None
        if self.state is not None:
            stage, ramp = self.state.serving_stage.value, self.state.ramp
            seen = evaluation(self.events, Outcome.CRITICAL, stage=stage, ramp=ramp)
            await self.control.exchange(report(seen, first=self.events))
            self.events += 1


class TwoServices(RuleBasedStateMachine):
    """Two services and their database; each step is a whole one but for what `interrupt` puts into it."""

    engine: Engine | None = None

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.drift = 0.0
        self.loop = asyncio.new_event_loop()
        # The clock of the database is not that by which services measure time.
        self.database = SharedDatabase(self.clock.now, lambda: self.clock.seconds + self.drift, self.engine)
        with self.database.engine.begin() as connection:
            for table in TABLES:
                connection.execute(delete(table))
        self.services = {name: Service(name, self.database) for name in "ab"}
        for service in self.services.values():
            self._do(service.start())

    def _do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @rule(name=NAMES)
    def meet(self, name: str) -> None:
        control = self.services[name].control
        assert control is not None
        self._do(control.meet())

    @rule(name=NAMES, action=st.sampled_from(RAISING))
    def order(self, name: str, action: Action) -> None:
        self._do(self.services[name].order(action))

    @rule(name=NAMES)
    def roll_back(self, name: str) -> None:
        self._do(self.services[name].order(Action.ROLLBACK))

    @rule(name=NAMES)
    def see_critical(self, name: str) -> None:
        self._do(self.services[name].see_critical())

    @rule(name=NAMES, action=st.sampled_from(RAISING), what=st.sampled_from(INTERRUPTIONS))
    def interrupt(self, name: str, action: Action, what: str) -> None:
        """Something happens between the look at the newest version and the write."""
        service, other = self.services[name], self.services["ba"["ab".index(name)]]
        happened: list[bool] = []

        def interloper() -> None:
            if happened:
                return
            happened.append(True)
            self._interloper(what, service, other)

        service.line.before_append = interloper
        self._do(service.order(action))
        service.line.before_append = lambda: None

    def _interloper(self, what: str, service: Service, other: Service) -> None:
        if what == "rollback":
            asyncio.run_coroutine_threadsafe(service.order(Action.ROLLBACK), self.loop).result(10)
        elif what == "other rollback":
            asyncio.run_coroutine_threadsafe(self._roll_back_and_meet(other), self.loop).result(10)
        elif what == "pause":
            self.clock.seconds += LEASE_SECONDS
        else:
            rows = RolloutRows(self.database.engine, self.database.now)
            lease, _ = rows.look(None)
            assert lease is not None
            self.clock.seconds += LEASE_SECONDS
            identity = other.journal.identity()
            rows.take_lease(identity, other.name, seen_token=lease.token, lease_seconds=LEASE_SECONDS)

    async def _roll_back_and_meet(self, other: Service) -> None:
        assert other.control is not None
        await other.order(Action.ROLLBACK)
        await other.control.meet()

    @rule(name=NAMES, is_cut=st.booleans())
    def cut(self, name: str, is_cut: bool) -> None:
        self.services[name].line.is_cut = is_cut

    @rule(name=NAMES, loses=st.booleans())
    def lose_answers(self, name: str, loses: bool) -> None:
        self.services[name].line.loses_answers = loses

    @rule(seconds=st.sampled_from([0.5, TAKEOVER_SECONDS, LEASE_SECONDS]))
    def pass_time(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @rule(seconds=st.sampled_from([-60.0, 60.0]))
    def step_the_clock(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self.drift -= seconds

    @rule(name=NAMES)
    def restart(self, name: str) -> None:
        """It dies without a word."""
        self._do(self.services[name].stop())
        self._do(self.services[name].start())

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        """It ends in order, the other one looks, and it comes again: whose the rollout was it is nobody's meanwhile."""
        leaving, other = self.services[name], self.services["ba"["ab".index(name)]]
        assert other.control is not None
        was_owner = leaving.sync.is_owner and not leaving.line.is_cut
        self._do(leaving.stop())
        self._do(leaving.sync.stop())
        lease, _ = RolloutRows(self.database.engine, self.database.now).look(None)
        assert lease is not None or not was_owner
        assert lease is None or not was_owner or lease.owner_id != leaving.journal.identity()
        self._do(other.control.meet())
        self._do(leaving.start())

    @precondition(lambda self: not any(each.line.is_cut or each.line.loses_answers for each in self.services.values()))
    @rule()
    def settle(self) -> None:
        self._settle()

    @invariant()
    def what_is_raised_stands_in_the_database(self) -> None:
        """Nobody serves anything but what was stored, or manual."""
        stored = {row["version"]: row["state"] for row in self.database.rows()}
        for service in self.services.values():
            state = service.state
            if state is not None and state.stage is not Stage.ROLLED_BACK:
                assert stored.get(state.version) == state.as_json(), (service.name, state.version)

    @invariant()
    def rollback_holds_where_it_was_decided(self) -> None:
        """Until a person has begun the next ramp."""
        for service in self.services.values():
            state = service.state
            if state is not None and state.stage is not Stage.ROLLED_BACK:
                assert state.ramp > service.rolled_back_ramp, service.name

    @invariant()
    def no_version_is_decided_twice(self) -> None:
        """But for rollbacks, which need nobody's leave; of those one at most is stored under each version."""
        first, second = (
            {version for version, each in service.decided.items() if each.to_stage is not Stage.ROLLED_BACK}
            for service in self.services.values()
        )
        assert not first & second

    def _settle(self) -> None:
        rolled_back = max(service.rolled_back_ramp for service in self.services.values())
        for _ in range(3):
            for service in self.services.values():
                assert service.control is not None
                self._do(service.control.meet())
        newest = self.database.rows()[-1]["state"] if self.database.rows() else None
        for service in self.services.values():
            assert (service.state and service.state.as_json()) == newest
            assert service.state is None or service.state.stage is Stage.ROLLED_BACK or service.state.ramp > rolled_back

    def teardown(self) -> None:
        for service in self.services.values():
            service.line.is_cut = service.line.loses_answers = False
        self._settle()
        self.clock.seconds += LEASE_SECONDS
        self._settle()
        for service in self.services.values():
            self._do(service.stop())
        if self.engine is None:
            self.database.close()
        self.loop.close()


def walk(engine: Engine | None, profile: settings) -> None:
    """Random walks over a database, None: one in memory for each."""
    machine: Callable[[], TwoServices] = type("Walk", (TwoServices,), {"engine": engine})
    run_state_machine_as_test(machine, settings=profile)  # type: ignore[no-untyped-call]


def test_two_services_come_to_one_truth() -> None:
    """Sixty walks of thirty steps each."""
    walk(None, SHIPPED)
