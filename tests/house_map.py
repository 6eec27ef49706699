"""The map of the house, from the code's own imports: which rooms there are, what for, and who uses whom.

`python -m tests.house_map` writes the generated part of docs/ARCHITECTURE.md and docs/rooms.svg anew. Rooms,
their layers and their floors stand in the import contracts of pyproject.toml, what they are for in their docstrings.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
PICTURE = ROOT / "docs" / "rooms.svg"
BEGIN, END = "<!-- rooms: python -m tests.house_map -->", "<!-- end of rooms -->"
MAX_LISTED = 12
"""As many modules as a room may have; of a room with more, the table tells their number alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A top-level package. `layers` are its rooms, those that use others first; rooms of a layer know nothing of
    each other."""

    name: str
    layers: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """`arrows` lead from each room to those that it uses, without those that it uses through others anyway."""

    floors: tuple[Floor, ...]
    arrows: tuple[tuple[str, str], ...]
    modules: Mapping[str, tuple[str, ...]]
    """Of each package, by their last names."""


def house() -> House:
    """As it stands in the code now."""
    floors = tuple(_floors())
    graph = grimp.build_graph(*(floor.name for floor in floors), cache_dir=None)
    rooms = [room for floor in floors for layer in floor.layers for room in layer]
    uses = {room: set[str]() for room in rooms}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            if _room_of(importer) != _room_of(imported):
                uses[_room_of(importer)].add(_room_of(imported))
    packages = sorted(module for module in graph.modules if graph.find_children(module))
    modules = {
        package: tuple(sorted(last_name(child) for child in graph.find_children(package) if child not in packages))
        for package in packages
    }
    return House(floors=floors, arrows=tuple(_reduced(uses, rooms)), modules=modules)


def purpose(module: str) -> str:
    """What a package or a module is for: the first sentence of its docstring."""
    place = ROOT.joinpath(*module.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()))[0]


def tables(found: House) -> str:
    """One table a floor, as docs/ARCHITECTURE.md shows it."""
    return "\n".join(line for floor in found.floors for line in _table(floor, found.modules))


def page(text: str, found: House) -> str:
    """The text of docs/ARCHITECTURE.md with the tables as they are now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables(found)}\n{END}{after}"


def _floors() -> Iterator[Floor]:
    """Top to bottom."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = {contract["containers"][0]: contract["layers"] for contract in contracts if contract.get("exhaustive")}
    order = next(contract["layers"] for contract in contracts if contract["name"].startswith("Floors"))
    for name in order:
        yield Floor(
            name=name, layers=tuple(tuple(f"{name}.{room}" for room in layer.split(" | ")) for layer in layers[name])
        )


def _room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def last_name(module: str) -> str:
    """A module's name within its package."""
    return module.rpartition(".")[2]


def _reduced(uses: Mapping[str, set[str]], rooms: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Transitive reduction; rooms have no cycles, because layers have none."""
    below: dict[str, set[str]] = {}
    for room in reversed(list(rooms)):
        below[room] = set(uses[room]).union(*(below[used] for used in uses[room]))
    for room in rooms:
        through_others = set[str]().union(*(below[used] for used in uses[room]))
        yield from ((room, used) for used in sorted(uses[room] - through_others))


def _table(floor: Floor, modules: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    yield f"\n### `{floor.name}/`\n\n{purpose(floor.name)}\n"
    yield "| room | what for | modules |"
    yield "|---|---|---|"
    for room in (room for layer in floor.layers for room in layer):
        if room not in modules:
            yield _row(room, "")
        for package in sorted(name for name in modules if name == room or name.startswith(f"{room}.")):
            names = modules[package]
            listed = ", ".join(f"`{name}`" for name in names) if len(names) <= MAX_LISTED else f"{len(names)} modules"
            yield _row(package, listed)


def _row(module: str, listed: str) -> str:
    path = module.replace(".", "/")
    is_package = (ROOT / path).is_dir()
    shown, file = (f"{path}/", f"{path}/__init__.py") if is_package else (f"{path}.py", f"{path}.py")
    return f"| [`{shown}`](../{file}) | {purpose(module)} | {listed} |"


if __name__ == "__main__":
    from tests.house_picture import best_draw, picture

    now = house()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), now), encoding="utf-8")
    PICTURE.write_text(picture(now, best_draw(now)), encoding="utf-8")
