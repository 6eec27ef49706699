"""Replans of one job list are one observation: their mean, however often a planner presses the button."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_OPEN_GROUPS = 1000
"""Job lists that are remembered; a replan of one that was forgotten is a new observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The observation number `ordinal`, from 0, is now `after`; `before` is None when it is new."""

    ordinal: int
    before: tuple[float, ...] | None
    after: tuple[float, ...]


class Replans:
    """Turns a stream of replans into observations that are revised as further replans arrive."""

    def __init__(self, *, most_open: int = MOST_OPEN_GROUPS) -> None:
        self._most_open = most_open
        self._observations = 0
        self._groups: OrderedDict[str, tuple[int, int, tuple[float, ...]]] = OrderedDict()

    @property
    def observations(self) -> int:
        """How many there are."""
        return self._observations

    def feed(self, group: str, values: tuple[float, ...]) -> Revision:
        """One more replan of `group`; its values become part of the mean."""
        if group not in self._groups:
            revision = Revision(ordinal=self._observations, before=None, after=values)
            self._observations += 1
            self._remember(group, 1, revision)
            return revision
        replans, ordinal, mean = self._groups[group]
        after = tuple(old + (new - old) / (replans + 1) for old, new in zip(mean, values, strict=True))
        revision = Revision(ordinal=ordinal, before=mean, after=after)
        self._remember(group, replans + 1, revision)
        return revision

    def _remember(self, group: str, replans: int, revision: Revision) -> None:
        self._groups[group] = (replans, revision.ordinal, revision.after)
        self._groups.move_to_end(group)
        if len(self._groups) > self._most_open:
            self._groups.popitem(last=False)

    def snapshot(self) -> dict[str, Any]:
        """Plain values; `restored` is the inverse."""
        groups = [[group, replans, ordinal, *mean] for group, (replans, ordinal, mean) in self._groups.items()]
        return {"observations": self._observations, "groups": groups}

    @classmethod
    def restored(cls, document: Mapping[str, Any], *, most_open: int = MOST_OPEN_GROUPS) -> Replans:
        replans = cls(most_open=most_open)
        replans._observations = int(document["observations"])
        for group, count, ordinal, *mean in document["groups"]:
            replans._groups[group] = (int(count), int(ordinal), tuple(mean))
        return replans
