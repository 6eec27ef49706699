"""README, CONTRIBUTING, docs and one docstring: all files, modules, links and make targets that they name are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import deployments.rollout
from deployments.settings.policy_file import shipped_policy
from deployments.settings.service import FILE_SUFFIX, FOREIGN_NAMES, FOREIGN_PREFIX, secret_names, variable_names

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FLOORS = ("env", "models", "deployments", "tests", "loadtests")
FOLDERS = (*FLOORS, "docs", ".ci")
FILES = tuple(
    f"/{path.relative_to(ROOT).as_posix()}" for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def _page(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _quoted(text: str) -> set[str]:
    """What stands in backticks within a line."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)))


def is_there(name: str) -> bool:
    """Whether a path, or the end of one, is a file or a folder of the project."""
    return (ROOT / name).exists() or any(file.endswith(f"/{name.rstrip('/')}") for file in FILES)


def is_defined(dotted: str) -> bool:
    """Whether a dotted name is a module, or something at the top of one."""
    place = ROOT.joinpath(*dotted.split("."))
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    module = place.parent / "__init__.py" if place.parent.is_dir() else place.parent.with_suffix(".py")
    return module.is_file() and place.name in _top_names(module)


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_named_files_exist(path: Path) -> None:
    """Paths that begin at a folder of the project, and names of Python files and pages; placeholders are none."""
    names = {name.partition(":")[0] for name in _quoted(path.read_text(encoding="utf-8"))}
    paths = {name for name in names if re.fullmatch(r"\w[\w./-]*", name)}
    ours = {name for name in paths if name.split("/")[0] in FOLDERS or re.search(r"\w\.(py|md)$", name)}
    assert sorted(name for name in ours if not is_there(name)) == []


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_named_modules_exist(path: Path) -> None:
    """Dotted names of ours, and whatever `python -m` is to run."""
    text = path.read_text(encoding="utf-8")
    dotted = {name for name in _quoted(text) if re.fullmatch(rf"({'|'.join(FLOORS)})(\.\w+)+", name)}
    run = {name for name in re.findall(r"python -m ([\w.]+)", text) if name.split(".")[0] in FLOORS}
    assert sorted(name for name in dotted | run if not is_defined(name)) == []


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_links_lead_somewhere(path: Path) -> None:
    """Links that are not to the web lead to a file or a folder."""
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))}
    assert sorted(link for link in links if ":" not in link and not (path.parent / link).exists()) == []


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_make_targets_exist(path: Path) -> None:
    """Whatever is to be made can be made."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```sh$(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
    named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)
    assert sorted(set(named) - TARGETS) == []


@pytest.mark.parametrize("path", PAGES, ids=_page)
def test_named_settings_exist(path: Path) -> None:
    """Environment variables are settings of today, or belong to the tests; keys are those of the policy file."""
    text = path.read_text(encoding="utf-8")
    variables = {name for name in re.findall(r"GANTRY_[A-Z_]*[A-Z]", text) if not name.startswith(FOREIGN_PREFIX)}
    files = {name + FILE_SUFFIX for name in secret_names()}
    assert sorted(variables - {*variable_names().values(), *files, *FOREIGN_NAMES}) == []
    policy = shipped_policy().values_by_key
    sections = "|".join({key.partition(".")[0] for key in policy})
    assert sorted({name for name in _quoted(text) if re.fullmatch(rf"({sections})\.\w+", name)} - policy.keys()) == []


def test_functions_of_the_rollout_exist() -> None:
    """How the service uses the rollout is told by functions that are there."""
    text = deployments.rollout.__doc__ or ""
    named = set(re.findall(r"\b(?:analysis|ramp|report|simulation)\.\w+\.\w+", text))
    assert len(named) > 10
    assert sorted(name for name in named if not is_defined(f"deployments.rollout.{name}")) == []
    members = set(re.findall(r"`([A-Z]\w+)", text))
    files = (*(ROOT / "deployments" / "rollout").rglob("*.py"), ROOT / "deployments" / "errors.py")
    defined = {name for path in files for name in _top_names(path)}
    assert sorted(members - defined) == []


def _top_names(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = (target for each in tree.body if isinstance(each, ast.Assign) for target in each.targets)
    names = {getattr(each, "name", None) for each in tree.body} | {getattr(each, "id", None) for each in assigned}
    return {name for name in names if name is not None}
