"""The house that the code lives in: how large its rooms and modules are, what things are called, what imports what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("env", "models", "deployments", "loadtests")
MAX_MODULES_OF_A_ROOM = 12
MAX_MODULES = 230
MEAN_LINES = (160, 280)
MAX_LINES = 500
MAX_PROJECT_LINES = 160
# What the field calls otherwise; each word was a module's or a class's name once.
PRIVATE_WORDS = """
acting archiving asked assigned attempting block_minima budgeting budgets comparing completing contender contest
contestant contestants controlling corruption counterfactual counterfactuals counting desk evaluating exact exchange
feasibility filing freight granting history id_order integrity is_sitting lack learning ledger memory mirror monitor
niced_process off_loop on_router open_axis opening pictures placing plan planner_words position predictors questioning
questions reading recomputed recomputing rerun revisiting routing runs settle_in slots special_work spooling standing
standings steering told unanswered warming watch whole_file writing
"""
# Where arrays hold what has a name: the rooms, and the arrays of which each entry, or each column, is something else.
ROOMS_OF_ARRAYS = ("env/simulator", "env/gym", "models/policy", "models/search", "models/training")
NAMED_ENTRIES = frozenset({"figures", "journal", "means", "move", "objective", "rows", "tallies", "totals"})
NAMED_CODES = frozenset({"kind", "rule"})
# Of the modules that end like verbs these are nouns of the field.
NOUNS = frozenset({"annealing", "key_ring", "parsing", "pruning", "sampling", "timing", "wording"})


def modules() -> list[Path]:
    """Every module of the floors, but for what a migration tool reads and for the maps of rooms."""
    found = [path.relative_to(ROOT) for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]
    return [path for path in found if path.name != "__init__.py" and "versions" not in path.parts]


def lines_of(path: Path) -> int:
    """How many lines the file has."""
    return (ROOT / path).read_text(encoding="utf-8").count("\n")


def classes() -> Iterator[tuple[str, Path]]:
    """Every class at the top of a module, with the module."""
    for path in modules():
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield node.name, path


def test_room_holds_at_most_a_dozen_modules() -> None:
    """A room can be looked over at once."""
    rooms = Counter(path.parent for path in modules())
    assert {str(room): count for room, count in rooms.items() if count > MAX_MODULES_OF_A_ROOM} == {}


def test_modules_are_few_and_read_in_one_sitting() -> None:
    """Many files of sixty lines are as hard to see as one of two thousand."""
    lines = {path: lines_of(path) for path in modules()}
    assert len(lines) <= MAX_MODULES
    assert MEAN_LINES[0] <= sum(lines.values()) / len(lines) <= MEAN_LINES[1]
    assert {str(path): count for path, count in lines.items() if count > MAX_LINES} == {}


def test_project_file_is_short() -> None:
    """What pyproject.toml says of rooms are contracts, not a list of files."""
    assert lines_of(Path("pyproject.toml")) <= MAX_PROJECT_LINES


def test_nothing_is_called_by_a_private_word() -> None:
    """Modules and classes bear the words that a stranger would search for."""
    named = [(path.stem, path) for path in modules()] + [(name.lower(), path) for name, path in classes()]
    assert [(name, str(path)) for name, path in named if name in PRIVATE_WORDS.split()] == []


def test_modules_are_nouns() -> None:
    """A module is a thing, not something that somebody does."""
    assert [str(path) for path in modules() if path.stem.endswith("ing") and path.stem not in NOUNS] == []


def test_one_word_means_one_thing() -> None:
    """No two public classes share a name."""
    where: dict[str, set[str]] = {}
    for name, path in classes():
        if not name.startswith("_"):
            where.setdefault(name, set()).add(str(path))
    assert {name: paths for name, paths in where.items() if len(paths) > 1} == {}


def _bounded(tree: ast.Module) -> Iterator[str]:
    """Names of constants, of fields and of arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        if isinstance(node, ast.Name) and node.id.isupper():
            yield node.id
        if isinstance(node, ast.ClassDef):
            yield from (each.target.id for each in node.body if isinstance(each, ast.AnnAssign))


def test_bounds_are_called_max_and_min() -> None:
    """One word for one kind of bound, wherever it is held."""
    others = ("most_", "least_", "longest_", "fewest_", "minimum_", "maximum_")
    found = {
        f"{path}: {name}"
        for path in modules()
        for name in _bounded(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if name.lower().lstrip("_").startswith(others)
    }
    # The manifests of published policies name this one.
    assert found == {"env/instances/generator.py: least_gap"}


def test_every_room_maps_its_modules() -> None:
    """The docstring of a room names each module and each room in it, in a table."""
    for package in sorted({path.parent for path in modules()} - {Path("loadtests")}):
        text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))) or ""
        if "migrations" in package.parts:
            continue
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
        named = {word.strip().rstrip("/") for row in rows for word in row.split(",")}
        inside = {path.stem for path in modules() if path.parent == package}
        inside |= {path.parent.name for path in modules() if path.parent.parent == package}
        assert inside <= named, f"{package} must name {sorted(inside - named)}"


def test_tests_mirror_the_rooms() -> None:
    """A test of a floor lies in the mirrored folder and begins with the name of the module that it tests."""
    stray = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        folder = path.parent.relative_to(ROOT / "tests")
        if folder.parts[:1] and folder.parts[0] in FLOORS:
            names = {source.stem for source in (ROOT / folder).glob("*.py")} | {"ops"}
            names |= (
                {room.name for room in (ROOT / folder).iterdir() if room.is_dir()} if folder.name == "ops" else set()
            )
            stem = path.stem.removeprefix("test_")
            if not any(stem == name or stem.startswith(f"{name}_") for name in names):
                stray.append(str(path.relative_to(ROOT)))
    assert stray == []


def numbers_for_names(program: str) -> list[str]:
    """Indices above 0 and entries of arrays that have names, written as numbers; numbers that codes are compared with.

    Entry 0 of any other array is its first, or its only one; an axis of `shape` and a folder of `parents` have no name.
    """
    found = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Subscript):
            name = ast.unparse(node.value).rpartition(".")[2]
            indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            numbers = [_number(index) for index in indices]
            is_entry = name in NAMED_ENTRIES and numbers[-1] is not None
            if name not in ("shape", "parents") and (is_entry or any(number for number in numbers)):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = {ast.unparse(side).rpartition(".")[2] for side in sides}
            if names & NAMED_CODES and any(_number(side) is not None for side in sides):
                found.append(ast.unparse(node))
    return found


def _number(node: ast.expr) -> int | None:
    """The whole number that is written there; -1, the last of anything, is none."""
    return node.value if isinstance(node, ast.Constant) and type(node.value) is int else None


def test_columns_and_codes_are_called_by_name() -> None:
    """No number stands for a feature, a part of the objective, a figure of a search or a rule."""
    found = {
        str(path): numbers
        for path in modules()
        if path.parent.as_posix() in ROOMS_OF_ARRAYS
        and (numbers := numbers_for_names((ROOT / path).read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("rows[index, 0] = 1.0", ["rows[index, 0]"]),
        ("value = arrays.objective[0]", ["arrays.objective[0]"]),
        ("task = plan.journal[entry, 2]", ["plan.journal[entry, 2]"]),
        ("seed = seeds[3]", ["seeds[3]"]),
        ("if rule == 0: pass", ["rule == 0"]),
        ("rows[index, Feature.PAUSES] = rows.shape[1]", []),
        ("target = links[operation, 0, BEFORE]", []),
        ("scale = arrays.time_scale[0]", []),
        ("if rule == Rule.FIFO: last = path[-1]", []),
    ],
)
def test_numbers_for_names_are_found(program: str, found: list[str]) -> None:
    """What has a name is found by its number, what has none may keep it."""
    assert numbers_for_names(program) == found


def default_pools(program: str) -> list[str]:
    """Calls that asyncio answers from its default pool: there whatever hangs holds up everybody in the process."""
    found = []
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and node.module == "asyncio":
            found += [f"asyncio.{each.name}" for each in node.names if each.name == "to_thread"]
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        called, owner = node.func.attr, ast.unparse(node.func.value)
        is_unnamed = called == "run_in_executor" and (not node.args or ast.unparse(node.args[0]) == "None")
        is_lookup = called in ("getaddrinfo", "getnameinfo", "sock_connect") and owner != "socket"
        is_connection = owner == "asyncio" and called in ("open_connection", "start_server", "to_thread")
        if is_unnamed or is_lookup or is_connection or called == "create_connection":
            found.append(f"{owner}.{called}")
    return found


def test_nobody_uses_the_default_pool() -> None:
    """Each purpose has threads of its own (`deployments.runtime.background.Threads`)."""
    programs = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in modules()}
    assert {path: found for path, text in programs.items() if (found := default_pools(text))} == {}


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("await asyncio.to_thread(read)", ["asyncio.to_thread"]),
        ("from asyncio import to_thread", ["asyncio.to_thread"]),
        ("loop.run_in_executor(None, read)", ["loop.run_in_executor"]),
        ("asyncio.get_running_loop().run_in_executor(None, read)", ["asyncio.get_running_loop().run_in_executor"]),
        ("await loop.getaddrinfo(host, 80)", ["loop.getaddrinfo"]),
        ("await asyncio.open_connection(host, 80)", ["asyncio.open_connection"]),
        ("loop.run_in_executor(self._thread, read)", []),
        ("socket.getaddrinfo(host, 80)", []),
    ],
)
def test_default_pools_are_found(program: str, found: list[str]) -> None:
    """Whatever name the loop has."""
    assert default_pools(program) == found


@pytest.mark.system
@pytest.mark.parametrize("room", ["api", "scheduling", "rollout"])
def test_room_knows_neither_ray_nor_sql(room: str) -> None:
    """All its modules can be imported in a fresh process, and none of them brings Ray, SQLAlchemy or torch along."""
    program = (
        f"import importlib, pkgutil, sys, deployments.{room} as room\n"
        "for module in pkgutil.walk_packages(room.__path__, f'{room.__name__}.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print(sorted({'ray', 'sqlalchemy', 'pymysql', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
