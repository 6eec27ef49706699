"""How long the latest schedules of each plant are, as far as this router served them: what is usual there."""

from __future__ import annotations

from collections import OrderedDict, deque

MOST_MAKESPANS = 20
MOST_PLANTS = 1000


class History:
    """Begins empty with each router, and shares nothing with the others.

    Of each plant the last `most_makespans` are kept; with more than `most_plants`, the plant that was
    served least recently is forgotten, because clients name plants as they like.
    """

    def __init__(self, *, most_makespans: int = MOST_MAKESPANS, most_plants: int = MOST_PLANTS) -> None:
        self._most_makespans = most_makespans
        self._most_plants = most_plants
        self._plants: OrderedDict[str, deque[int]] = OrderedDict()

    def recent_makespans_seconds(self, plant_id: str) -> tuple[int, ...]:
        """Those of the plant, oldest first; none for a plant that is not known."""
        return tuple(self._plants.get(plant_id, ()))

    def remember(self, plant_id: str, makespan_seconds: int) -> None:
        """A schedule of the plant was served."""
        self._plants.setdefault(plant_id, deque(maxlen=self._most_makespans)).append(makespan_seconds)
        self._plants.move_to_end(plant_id)
        if len(self._plants) > self._most_plants:
            self._plants.popitem(last=False)
