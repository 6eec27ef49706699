"""The files of the console: whole, cheap to ask for again, under a strict policy; the library as it was published."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest

from deployments.api.documentation import CONSOLE_FOLDER, CONSOLE_TYPES
from tests.deployments.api.calls import call

FILES = sorted(path for path in CONSOLE_FOLDER.rglob("*") if path.suffix in CONSOLE_TYPES)
OURS = [path for path in FILES if path.parent.name != "vendor"]
MAX_FIRST_VIEW_BYTES = 300_000


def _name(path: Path) -> str:
    return path.relative_to(CONSOLE_FOLDER).as_posix()


@pytest.mark.parametrize("path", FILES, ids=_name)
async def test_file_is_served_compressed_and_kept_by_the_browser(path: Path) -> None:
    """Whole with its type, compressed where that is understood, and 304 for whoever has it."""
    address = "/" if path.name == "index.html" else f"/console/{_name(path)}"
    answer = await call("GET", address, headers={"Accept-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["content-encoding"], answer.content) == (200, "gzip", path.read_bytes())
    assert answer.headers["content-type"] == CONSOLE_TYPES[path.suffix]
    plain = await call("GET", address, headers={"Accept-Encoding": "identity"})
    assert ("content-encoding" in plain.headers, plain.content) == (False, path.read_bytes())
    again = await call("GET", address, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["cache-control"]) == (304, b"", "no-cache")


async def test_policy_lets_nothing_in() -> None:
    """Own files alone, nothing inline, nothing that makes markup of text."""
    policy = (await call("GET", "/", headers={})).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy
    for part in (
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    ):
        assert part in policy


@pytest.mark.parametrize("name", ["nothing.js", "README.md", "../api/access.py", "vendor/LICENSE.htm.txt", ""])
async def test_only_files_for_browsers_are_served(name: str) -> None:
    """Whatever else lies in the folder, or beside it."""
    assert (await call("GET", f"/console/{name}", headers={})).status_code == 404


def test_page_is_light() -> None:
    """All that a first view loads, before it is compressed."""
    assert sum(path.stat().st_size for path in FILES) < MAX_FIRST_VIEW_BYTES


def test_library_is_as_it_was_published() -> None:
    """Each script of vendor/ is in its table with licence and digest."""
    table = (CONSOLE_FOLDER / "vendor" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.-]+\.js)` .* ([0-9a-f]{64}) \|$", table, re.MULTILINE))
    scripts = {path.name: sha256(path.read_bytes()).hexdigest() for path in (CONSOLE_FOLDER / "vendor").glob("*.js")}
    assert rows == scripts
    assert scripts
    for licence in re.findall(r"`(LICENSE[\w.]+)`", table):
        assert (CONSOLE_FOLDER / "vendor" / licence).stat().st_size > 500


@pytest.mark.parametrize("path", OURS, ids=_name)
def test_module_imports_what_is_there_and_sets_no_markup(path: Path) -> None:
    """Imports name files of the console; names from requests never become HTML, and no style stands inline."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'from "(\.[^"]+)"', text):
        assert (path.parent / name).is_file(), name
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://"):
        assert word not in text
    assert not re.search(r"<(script|style)>|\son\w+=\"", text)


def test_folder_says_what_each_file_holds() -> None:
    """README.md has a row for each of our files."""
    table = (CONSOLE_FOLDER / "README.md").read_text(encoding="utf-8")
    assert [_name(path) for path in OURS if f"`{_name(path)}`" not in table] == []
