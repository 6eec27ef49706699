"""Which machines may do a job, how long it takes there, and why none may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.contracts.requests.schedule_request import JobRequest, MachineRequest, MachineStatus
from deployments.contracts.requests.wire import seconds_of
from env.problem import Alternative

WORKING = frozenset({MachineStatus.AVAILABLE, MachineStatus.BUSY})
Reason = tuple[str, str]


class Eligibility:
    """The machines of one request, asked job by job."""

    def __init__(self, machines: Sequence[MachineRequest]) -> None:
        self.working = tuple(machine for machine in machines if machine.status in WORKING)
        self._known = {machine.machine_id for machine in machines}
        self._index_of = {machine.machine_id: index for index, machine in enumerate(self.working)}
        self._of_type: dict[int, list[int]] = {}
        for index, machine in enumerate(self.working):
            if machine.machine_type is not None:
                self._of_type.setdefault(machine.machine_type, []).append(index)
        # Jobs that agree share one tuple: thousands of jobs on thousands of machines must fit into memory.
        self._shared: dict[tuple[tuple[int, ...], int, int], tuple[Alternative, ...]] = {}
        self._of_types: dict[tuple[int, ...], list[int]] = {}

    def count(self, job: JobRequest) -> int:
        """How many alternatives the job will have at most, without making them."""
        if job.requires_all_machines:
            return 1
        if job.machine_options is not None:
            return len(job.machine_options)
        return sum([len(self._of_type.get(kind, ())) for kind in set(job.machine_types)])

    def alternatives(self, job: JobRequest) -> tuple[Alternative, ...]:
        """Alternatives by machine index; empty when there are `reasons` why not. A pin leaves its machine only."""
        if job.pinned is not None:
            return self.on_machine(job, job.pinned.machine_id)
        return self._all(job)

    def on_machine(self, job: JobRequest, machine_id: int) -> tuple[Alternative, ...]:
        """The alternative on that machine alone; empty when the job cannot be done there."""
        index = self._index_of.get(machine_id)
        return tuple(choice for choice in self._all(job) if choice.machine == index)

    def _all(self, job: JobRequest) -> tuple[Alternative, ...]:
        if job.requires_all_machines:
            return self._together(job, job.requires_all_machines)
        if job.machine_options is not None:
            return self._chosen(job)
        if job.processing_time is None:
            return ()
        kinds = tuple(sorted(set(job.machine_types)))
        processing, setup = _processing_seconds(job.processing_time), seconds_of(job.setup_time)
        key = (kinds, processing, setup)
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = tuple(
                [
                    Alternative(machine=machine, processing_seconds=processing, setup_seconds=setup)
                    for machine in self._machines_of(kinds)
                ]
            )
        return found

    def _machines_of(self, kinds: tuple[int, ...]) -> list[int]:
        """Indices of the machines of any of these types, in order."""
        found = self._of_types.get(kinds)
        if found is None:
            found = self._of_types[kinds] = sorted([index for kind in kinds for index in self._of_type.get(kind, ())])
        return found

    def reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        """(field, message) of everything that is wrong with where the job may run."""
        if self._is_plain(job):
            return
        found = list(self._machine_reasons(job, path))
        yield from found or self._pin_reasons(job, path)

    def _is_plain(self, job: JobRequest) -> bool:
        """Whether it names types of machines and nothing else, and one of them can do it: nothing is wrong then."""
        is_alone = job.requires_all_machines is None and job.machine_options is None and job.pinned is None
        is_known = is_alone and job.processing_time is not None
        return is_known and not self._of_type.keys().isdisjoint(job.machine_types)

    def _machine_reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        if job.machine_options is not None and not job.requires_all_machines:
            yield from self._option_reasons(job, path)
            return
        if job.processing_time is None:
            yield f"{path}.processing_time", "must be given unless there are machine_options, was absent"
        if job.requires_all_machines:
            yield from self._together_reasons(job, job.requires_all_machines, path)
            return
        if not job.machine_types:
            yield f"{path}.machine_types", "must not be empty unless there are machine_options, was empty"
        elif not any(kind in self._of_type for kind in job.machine_types):
            yield f"{path}.machine_types", f"must name a type of an available machine, was {_few(job.machine_types)}"

    def _option_reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        options = job.machine_options or ()
        seen: set[int] = set()
        for index, option in enumerate(options):
            field = f"{path}.machine_options[{index}]"
            if option.machine_id not in self._known:
                yield f"{field}.machine_id", f"must be one of machines, was {option.machine_id}"
            if option.machine_id in seen:
                yield f"{field}.machine_id", f"must be named once, {option.machine_id} was named again"
            if option.processing_time is None and job.processing_time is None:
                yield f"{field}.processing_time", "must be given here or on the job, was absent"
            seen.add(option.machine_id)
        if seen and seen <= self._known and seen.isdisjoint(self._index_of):
            yield f"{path}.machine_options", f"must name an available machine, was {_few(sorted(seen))}"

    def _together_reasons(self, job: JobRequest, ids: list[int], path: str) -> Iterator[Reason]:
        field = f"{path}.requires_all_machines"
        if job.machine_options is not None:
            yield field, "must not be given together with machine_options, was given"
        seen: set[int] = set()
        for index, machine_id in enumerate(ids):
            if machine_id in seen:
                yield f"{field}[{index}]", f"must be named once, {machine_id} was named again"
            else:
                yield from self._out_of_service(f"{field}[{index}]", machine_id)
            seen.add(machine_id)

    def _pin_reasons(self, job: JobRequest, path: str) -> Iterator[Reason]:
        if job.pinned is None:
            return
        field = f"{path}.pinned.machine_id"
        machine_id = job.pinned.machine_id
        wrong = list(self._out_of_service(field, machine_id))
        if not wrong and not self.on_machine(job, machine_id):
            which = "be the first of requires_all_machines" if job.requires_all_machines else "be able to do the job"
            wrong = [(field, f"must {which}, was {machine_id}")]
        yield from wrong

    def _out_of_service(self, field: str, machine_id: int) -> Iterator[Reason]:
        if machine_id not in self._known:
            yield field, f"must be one of machines, was {machine_id}"
        elif machine_id not in self._index_of:
            yield field, f"must be available or busy, {machine_id} is offline or in maintenance"

    def _together(self, job: JobRequest, ids: list[int]) -> tuple[Alternative, ...]:
        machines = [self._index_of[machine_id] for machine_id in ids if machine_id in self._index_of]
        if job.processing_time is None or len(machines) < len(ids):
            return ()
        return (
            Alternative(
                machine=machines[0],
                processing_seconds=_processing_seconds(job.processing_time),
                setup_seconds=seconds_of(job.setup_time),
                also_holds=tuple(machines[1:]),
            ),
        )

    def _chosen(self, job: JobRequest) -> tuple[Alternative, ...]:
        alternatives = {}
        for option in job.machine_options or ():
            hours = job.processing_time if option.processing_time is None else option.processing_time
            setup = job.setup_time if option.setup_time is None else option.setup_time
            machine = self._index_of.get(option.machine_id)
            if machine is not None and hours is not None:
                alternatives[machine] = Alternative(
                    machine=machine, processing_seconds=_processing_seconds(hours), setup_seconds=seconds_of(setup)
                )
        return tuple(alternatives[machine] for machine in sorted(alternatives))


def _processing_seconds(hours: float) -> int:
    return max(1, seconds_of(hours))


def _few(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"[{shown}{', …' if len(numbers) > 10 else ''}]"
