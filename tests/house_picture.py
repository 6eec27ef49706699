"""The house as a drawing: floors as bands, rooms as boxes in the layers of the import contracts, arrows downwards.

No layout engine: a small search puts boxes and arrows where few arrows cross, none runs through a box, and most are
straight. It depends on the house and one number alone, its draw, so that equal houses are drawn equally everywhere.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import combinations

from tests.house_map import Floor, House, last_name, purpose

WIDTH, MARGIN, TITLE_WIDTH = 960, 12, 184
UNIT = 20
"""Pixels; the grid on which everything is placed sideways."""
COLUMNS = (WIDTH - TITLE_WIDTH - 2 * MARGIN) // UNIT
BOX_HEIGHT, GAP = 44, 28
BAND_PADDING, BAND_GAP = 16, 14
MAX_PURPOSE_LENGTH, TITLE_LENGTH = 44, 22
STEPS, DRAWS = 6_000, 16
# How bad it is, for the search; a crossing is as bad as eight steps sideways.
OVERLAP, TOO_CLOSE, CROSSING, SIDEWAYS, OFF_CENTRE = 400, 80, 64, 8, 1
HOTTEST = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ink:
    """Colours of a floor."""

    band: str
    line: str


INKS = (Ink(band="#eef4fb", line="#2f6399"), Ink(band="#edf7ef", line="#2c7a4b"), Ink(band="#fdf5e6", line="#9a5f0c"))


@dataclass(eq=False, slots=True, kw_only=True)
class Box:
    """A room; `place` is its left edge."""

    room: str
    text: str
    floor: int
    row: int
    width: int
    place: int = 0

    @property
    def right(self) -> int:
        return self.place + self.width

    @property
    def places(self) -> int:
        """How many it may have."""
        return COLUMNS - self.width + 1

    def port(self, lane: int) -> int:
        """Where an arrow in that lane touches it."""
        return min(max(lane, self.place + 1), self.right - 1)


@dataclass(eq=False, slots=True, kw_only=True)
class Arrow:
    """From `upper` to `lower`, down the lane `place`; sideways it moves just below the one or just above the other."""

    upper: Box
    lower: Box
    place: int = 0
    places: int = COLUMNS + 1

    @property
    def begin(self) -> int:
        return self.upper.port(self.place)

    @property
    def end(self) -> int:
        return self.lower.port(self.place)

    def way_through(self, gap: int) -> tuple[int, int]:
        """Where it enters and where it leaves the gap below row `gap`."""
        enters = self.begin if gap == self.upper.row else self.place
        return enters, (self.end if gap == self.lower.row - 1 else self.place)


@dataclass(slots=True)
class Drawing:
    """Boxes and arrows, and how badly they are placed."""

    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    rows: Sequence[Sequence[Box]] = field(init=False)
    passing: Sequence[Sequence[Arrow]] = field(init=False)
    """Of each row the arrows that neither begin nor end in it."""
    falling: Sequence[Sequence[Arrow]] = field(init=False)
    """The arrows in the gap below each row."""

    def __post_init__(self) -> None:
        rows = range(1 + max(box.row for box in self.boxes))
        self.rows = [[box for box in self.boxes if box.row == row] for row in rows]
        self.passing = [[each for each in self.arrows if each.upper.row < row < each.lower.row] for row in rows]
        self.falling = [[each for each in self.arrows if each.upper.row <= row < each.lower.row] for row in rows]

    @property
    def crossings(self) -> int:
        """How often two arrows cross."""
        return sum(map(self._crossings, range(len(self.rows))))

    def badness(self) -> int:
        """Of everything."""
        rows = range(len(self.rows))
        return sum(map(self._crowding, rows)) + CROSSING * self.crossings + self._sideways(self.boxes, self.arrows)

    def badness_around(self, moved: Box | Arrow) -> int:
        """Of everything that depends on the place of one."""
        if isinstance(moved, Arrow):
            first, last = moved.upper.row, moved.lower.row
            crowded, gaps = range(first + 1, last), range(first, last)
            boxes, arrows = [moved.upper, moved.lower], [moved]
        else:
            crowded, gaps = range(moved.row, moved.row + 1), range(max(0, moved.row - 1), moved.row + 1)
            boxes, arrows = [moved], [each for each in self.arrows if moved in (each.upper, each.lower)]
        crossings = sum(map(self._crossings, gaps))
        return sum(map(self._crowding, crowded)) + CROSSING * crossings + self._sideways(boxes, arrows)

    def _crowding(self, row: int) -> int:
        boxes, arrows = self.rows[row], self.passing[row]
        apart = (2 + min(one.right, two.right) - max(one.place, two.place) for one, two in combinations(boxes, 2))
        outside = (1 + min(box.right - each.place, each.place - box.place) for box in boxes for each in arrows)
        bad = sum(OVERLAP * max(0, missing) for missing in (*apart, *outside))
        return bad + _closeness([arrow.place for arrow in arrows])

    def _crossings(self, gap: int) -> int:
        ways = [arrow.way_through(gap) for arrow in self.falling[gap]]
        return sum((one[0] - two[0]) * (one[1] - two[1]) < 0 for one, two in combinations(ways, 2))

    def _sideways(self, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> int:
        bad = sum(SIDEWAYS * (abs(each.begin - each.place) + abs(each.end - each.place)) for each in arrows)
        for box in boxes:
            bad += OFF_CENTRE * abs(2 * box.place + box.width - COLUMNS)
            bad += _closeness([arrow.begin for arrow in self.arrows if arrow.upper is box])
            bad += _closeness([arrow.end for arrow in self.arrows if arrow.lower is box])
        return bad


def _closeness(places: Sequence[int]) -> int:
    return TOO_CLOSE * sum(one == two for one, two in combinations(places, 2))


def drawing(house: House, draw: int) -> Drawing:
    """The house with everything in the place that a search finds that begins with that draw."""
    rows = [(floor, layer) for floor, each in enumerate(house.floors) for layer in each.layers]
    boxes = {room: _box(room, floor, row) for row, (floor, layer) in enumerate(rows) for room in layer}
    arrows = [Arrow(upper=boxes[upper], lower=boxes[lower]) for upper, lower in house.arrows]
    drawn = Drawing(list(boxes.values()), arrows)
    _settle(drawn, draw)
    return drawn


def _box(room: str, floor: int, row: int) -> Box:
    text = re.split("[,:;.]", purpose(room))[0].replace("`", "")
    if len(text) > MAX_PURPOSE_LENGTH:
        text = textwrap.shorten(text, MAX_PURPOSE_LENGTH, placeholder=" …")
    pixels = max(9 * len(last_name(room)), 7 * len(text)) + 28
    return Box(room=room, text=text, floor=floor, row=row, width=-(-pixels // UNIT))


def _settle(drawn: Drawing, draw: int) -> None:
    """Simulated annealing; of `random` only what gives the same on every version of Python."""
    drawn_number = random.Random(draw).random
    things = [*drawn.boxes, *drawn.arrows]
    for thing in things:
        thing.place = thing.places // 2
    for step in range(STEPS):
        moved = things[int(drawn_number() * len(things))]
        tolerated = HOTTEST * (1.0 - step / STEPS) ** 3 * drawn_number()
        before, place = drawn.badness_around(moved), moved.place
        moved.place = int(drawn_number() * moved.places)
        if drawn.badness_around(moved) > before + tolerated:
            moved.place = place
    for moved in things:
        moved.place = min(range(moved.places), key=lambda place: _badness_at(drawn, moved, place))


def _badness_at(drawn: Drawing, moved: Box | Arrow, place: int) -> int:
    moved.place = place
    return drawn.badness_around(moved)


def best_draw(house: House) -> int:
    """The draw whose drawing is the best; takes some seconds for each."""
    return min(range(DRAWS), key=lambda draw: drawing(house, draw).badness())


def draw_of(svg: str) -> int:
    """The draw that a picture was made with."""
    found = re.search(r'data-draw="(\d+)"', svg)
    return 0 if found is None else int(found[1])


def picture(house: House, draw: int) -> str:
    """The drawing as SVG, on a ground of its own."""
    drawn = drawing(house, draw)
    tops, bands = _heights(house.floors)
    height = bands[-1][1] + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img" data-draw="{draw}" font-family="system-ui, \'Segoe UI\', \'DejaVu Sans\', sans-serif">',
        "<title>The rooms of the house, and which of them use which</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>',
        *(line for floor, band, ink in zip(house.floors, bands, INKS, strict=True) for line in _band(floor, band, ink)),
        *(_arrow(arrow, tops) for arrow in drawn.arrows),
        *(line for box in drawn.boxes for line in _room(box, tops[box.row])),
        f'<text x="{WIDTH // 2}" y="{height - 14}" text-anchor="middle" font-size="12" fill="#57606a">An arrow means'
        " “imports”. Where a room reaches another one through a third, no arrow of its own is drawn.</text>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _heights(floors: Sequence[Floor]) -> tuple[list[int], list[tuple[int, int]]]:
    """The top of each row, and top and bottom of each floor."""
    tops: list[int] = []
    bands: list[tuple[int, int]] = []
    y = MARGIN
    for floor in floors:
        first = y + BAND_PADDING
        tops += [first + place * (BOX_HEIGHT + GAP) for place in range(len(floor.layers))]
        bands.append((y, tops[-1] + BOX_HEIGHT + BAND_PADDING))
        y = bands[-1][1] + BAND_GAP
    return tops, bands


def _band(floor: Floor, band: tuple[int, int], ink: Ink) -> Iterator[str]:
    top, bottom = band
    yield (
        f'<rect x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{bottom - top}" rx="12" fill="{ink.band}"/>'
    )
    x = MARGIN + 16
    yield f'<text x="{x}" y="{top + 34}" font-size="19" font-weight="700" fill="{ink.line}">{floor.name}/</text>'
    for place, line in enumerate(textwrap.wrap(purpose(floor.name), TITLE_LENGTH)):
        yield f'<text x="{x}" y="{top + 58 + 17 * place}" font-size="12.5" fill="#3d4752">{escape(line)}</text>'


def _room(box: Box, top: int) -> Iterator[str]:
    left, width = _x(box.place), box.width * UNIT
    middle = left + width // 2
    yield (
        f'<rect x="{left}" y="{top}" width="{width}" height="{BOX_HEIGHT}" rx="7" fill="#ffffff"'
        f' stroke="{INKS[box.floor].line}" stroke-width="1.3"/>'
    )
    text, name = f'<text x="{middle}" text-anchor="middle"', escape(last_name(box.room))
    yield f'{text} y="{top + 19}" font-size="14.5" font-weight="700" fill="#1b2530">{name}</text>'
    yield f'{text} y="{top + 36}" font-size="12" fill="#57606a">{escape(box.text)}</text>'


def _arrow(arrow: Arrow, tops: Sequence[int]) -> str:
    begin, lane, end = _x(arrow.begin), _x(arrow.place), _x(arrow.end)
    top, tip = tops[arrow.upper.row] + BOX_HEIGHT, tops[arrow.lower.row] - 1
    # Between two rows that follow each other there is but one gap for both ways sideways.
    is_next = arrow.lower.row == arrow.upper.row + 1
    turns = [(begin, top, end, tip - 6)] if is_next else [(begin, top, lane, tops[arrow.upper.row + 1])]
    if not is_next:
        turns.append((lane, tops[arrow.lower.row - 1] + BOX_HEIGHT, end, tip - 6))
    path = f"M{begin} {top}" + "".join(map(_turn, turns))
    colour = INKS[arrow.upper.floor].line
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        f'<path d="M{end - 4.5} {tip - 8}h9l-4.5 8z" fill="{colour}"/>'
    )


def _turn(turn: tuple[int, int, int, int]) -> str:
    """From one point down to another, by the way of a lane."""
    x, y, other_x, other_y = turn
    if x == other_x:
        return f"V{other_y}"
    bend = (other_y - y) * 4 // 5
    return f"V{y}C{x} {y + bend},{other_x} {other_y - bend},{other_x} {other_y}"


def _x(place: int) -> int:
    return TITLE_WIDTH + MARGIN + place * UNIT
