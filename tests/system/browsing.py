"""A browser as planners and operators have it: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from tests.requirements import not_run

SECONDS = 60.0
"""Generous, because the tests may share two cores with anything."""


def chromium_command() -> str:
    """The command; a test that cannot have it, or Playwright, says so."""
    found = shutil.which("chromium")
    if found is None:
        not_run("chromium", "there is no chromium (Debian: chromium)")
    if find_spec("playwright") is None:
        not_run("chromium", "playwright must be installed (extra dev)")
    return found


@contextmanager
def browser_page(url: str) -> Iterator[Any]:
    """A page of a fresh browser at `url`. Whatever the page says of errors fails the test in the end."""
    command = chromium_command()
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        # Tests may run as root, for whom chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, base_url=url)
        page.set_default_timeout(1000 * SECONDS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto("/")
        yield page
        browser.close()
    assert errors == []
