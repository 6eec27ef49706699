"""Every error of the domain, as one tree.

GantryError
├── InvalidProblem        the plant's question contradicts itself; carries every reason
├── BenchmarkFormatError  a benchmark file cannot be read; names file and line
├── HorizonExceeded       the work does not end within the calendar horizon
├── ArtefactError         a policy on disk is missing, damaged or made for another observation
│   └── GateMissed        a policy must not be published; carries every gate that it misses
├── SolverMissing         OR-Tools is not installed, and a comparison with it was asked for
└── UnsupportedProblem    the model for OR-Tools cannot say what the problem asks
"""

from __future__ import annotations

from collections.abc import Iterable


class GantryError(Exception):
    """Root of all errors that Gantry raises on purpose."""


class InvalidProblem(GantryError):
    """The problem cannot be scheduled as it is; `reasons` lists all of them, not the first.

    Each reason is a pair (field, message): the field as a dotted path of the caller's data.
    """

    def __init__(self, reasons: Iterable[tuple[str, str]]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(f"{field}: {message}" for field, message in self.reasons))

    def __reduce__(self) -> tuple[type[InvalidProblem], tuple[tuple[tuple[str, str], ...]]]:
        return (type(self), (self.reasons,))


class BenchmarkFormatError(GantryError):
    """A benchmark file does not follow its format."""


class HorizonExceeded(GantryError):
    """Some work would end after the last opening that the calendar was expanded to."""


class ArtefactError(GantryError):
    """A policy folder that must not be used, and why."""


class GateMissed(ArtefactError):
    """A policy that does not hold what publishing asks; `messages` has one for each gate that it misses."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("; ".join(self.messages))


class SolverMissing(GantryError):
    """The solver that Gantry is compared with is not installed."""


class UnsupportedProblem(GantryError):
    """A problem with something that the solver's model does not know; names what."""
