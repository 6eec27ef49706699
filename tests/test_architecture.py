"""docs/ARCHITECTURE.md: tables and picture are what the code's imports say, and the walk is the way of a request."""

from __future__ import annotations

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path
from types import FrameType

import pytest

from deployments.api import create_api
from tests.deployments.api.calls import call
from tests.deployments.fakes import body, services_over
from tests.house_map import BEGIN, END, PAGE, PICTURE, ROOT, House, house, page
from tests.house_picture import draw_of, picture

TEXT = PAGE.read_text(encoding="utf-8")
WALK = TEXT.split("## The way of one request\n")[1].split("\n## ")[0]
# Of one request: rooms (a folder of a floor, or a module beside them), files, and steps from one file to another.
MAX_ROOMS, MAX_FILES, MAX_MOVES = 10, 35, 159
FLOORS = tuple(f"{ROOT}/{floor}/" for floor in ("deployments", "models", "env"))
NAMED = re.compile(r"`([a-z_/]+\.py):([\w.]+)`")


@pytest.fixture(scope="module")
def found() -> House:
    """The house as it is."""
    return house()


def test_tables_are_current(found: House) -> None:
    """If not: python -m tests.house_map."""
    assert page(TEXT, found) == TEXT
    assert TEXT.count(BEGIN) == TEXT.count(END) == 1


def test_picture_is_current(found: House) -> None:
    """If not: python -m tests.house_map."""
    drawn = PICTURE.read_text(encoding="utf-8")
    assert drawn == picture(found, draw_of(drawn))


def test_every_arrow_leads_down(found: House) -> None:
    """From a room to one in a lower layer, and nowhere where another way leads already."""
    rooms = [layer for floor in found.floors for layer in floor.layers]
    row_of = {room: row for row, layer in enumerate(rooms) for room in layer}
    assert all(row_of[upper] < row_of[lower] for upper, lower in found.arrows)
    for upper, lower in found.arrows:
        others = {other for room, other in found.arrows if room == upper and other != lower}
        while others:
            assert lower not in others
            others = {other for room, other in found.arrows if room in others}


@pytest.mark.parametrize("place", sorted(set(NAMED.findall(TEXT))), ids=":".join)
def test_named_function_exists(place: tuple[str, str]) -> None:
    """Each `file.py:function` and `file.py:Class.method` of the page is there."""
    file, name = place
    scope: ast.AST = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for part in name.split("."):
        inner = {each.name: each for each in ast.iter_child_nodes(scope) if _is_named(each)}
        assert part in inner
        scope = inner[part]


def _is_named(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


async def walked() -> list[tuple[str, str]]:
    """File and name of each function of the house that one `POST /schedule` over the fakes enters, in order."""
    entered: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(FLOORS):
            entered.append((str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname))

    services = services_over()
    app = create_api(lambda: services)
    # What the first request finds out once and for all is no part of the way.
    for profile in (None, note):
        sys.setprofile(profile)
        try:
            answer = await call("POST", "/schedule", services=services, app=app, json=body())
        finally:
            sys.setprofile(None)
        assert answer.status_code == 200
    return entered


async def test_walk_is_the_way_of_a_request() -> None:
    """What one `POST /schedule` enters over the fakes is entered in the order of the walk."""
    named = [f"{file}:{name}" for file, name in NAMED.findall(WALK)]
    places = [f"{file}:{name}".removesuffix(".__call__") for file, name in await walked()]
    entered = list(dict.fromkeys(place for place in places if place in named))
    assert entered == [place for place in named if place in entered]
    assert len(entered) > len(named) // 2


async def test_walk_is_short() -> None:
    """One request enters few rooms and few files, and does not run to and fro between them."""
    files = [file for file, _ in await walked()]
    rooms = {"/".join(file.split("/")[:2]) for file in files}
    assert len(rooms) <= MAX_ROOMS
    assert len(set(files)) <= MAX_FILES
    assert sum(file != behind for file, behind in pairwise(files)) <= MAX_MOVES
