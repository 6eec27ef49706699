"""What can be wrong with an order to the rollout.

ServiceError (deployments.errors)
└── RolloutError
    ├── UnknownStage          no stage of that name; carries the known ones
    ├── StaleVersion          somebody else changed the stage first; carries both versions
    ├── TransitionRefused     the order makes no sense in this stage, or the gate is shut; carries the reasons
    └── UnreadableState       stored state is not what this version writes: serve manual

All of them survive pickling, because they travel between processes.
"""

from __future__ import annotations

from deployments.errors import ServiceError


class RolloutError(ServiceError):
    """Root of the errors of the rollout."""


class UnknownStage(RolloutError):
    """There is no stage called `name`; `known` lists those that there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        return f"stage must be one of {', '.join(self.known)}, was {self.name!r}"


class StaleVersion(RolloutError):
    """The order was made for version `expected`, but the rollout is at version `actual`."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"expected_version must be {self.actual}, was {self.expected}: somebody changed the rollout first"


class TransitionRefused(RolloutError):
    """The order is not carried out, for all of `reasons`; the state is as it was."""

    def __init__(self, action: str, stage: str, reasons: tuple[str, ...]) -> None:
        super().__init__(action, stage, reasons)
        self.action = action
        self.stage = stage
        self.reasons = reasons

    def __str__(self) -> str:
        return f"cannot {self.action} from {self.stage}: {'; '.join(self.reasons)}"


class UnreadableState(RolloutError):
    """A stored state, latch or snapshot cannot be understood; the message says what was required and found."""
