"""docs/ARCHITECTURE.md: tables and picture are what the code's imports say, and the walk is the way of a request."""

from __future__ import annotations

import ast
import re
import sys
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


async def test_walk_is_the_way_of_a_request() -> None:
    """What one `POST /schedule` enters over the fakes is entered in the order of the walk."""
    named = [f"{file}:{name}" for file, name in NAMED.findall(WALK)]
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT)):
            place = f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_qualname}".removesuffix(".__call__")
            if place in named and place not in entered:
                entered.append(place)

    services = services_over()
    app = create_api(lambda: services)
    sys.setprofile(note)
    try:
        answer = await call("POST", "/schedule", services=services, app=app, json=body())
    finally:
        sys.setprofile(None)
    assert answer.status_code == 200
    assert entered == [place for place in named if place in entered]
    assert len(entered) > len(named) // 2
