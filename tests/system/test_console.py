"""The console in a real browser, with the real service behind it: what people do there is read back by the API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.settings.service import DEVELOPMENT_API_KEY
from tests.system.browsing import browser_page
from tests.system.serving import Service, running_service

pytestmark = pytest.mark.system
MARKUP = '<img src=x onerror="document.title=1">🏭'
EXAMPLE = Path(__file__).parents[2] / "deployments" / "examples" / "plant-170.json"


@contextmanager
def console(url: str) -> Iterator[Any]:
    """The console, signed in by typing the key."""
    with browser_page(url) as opened:
        opened.get_by_label("Key").fill(DEVELOPMENT_API_KEY)
        opened.get_by_role("button", name="Sign in").click()
        opened.get_by_role("link", name="Today").wait_for()
        yield opened


@pytest.fixture
def page(service: Service) -> Iterator[Any]:
    """The console of the shared service."""
    with console(service.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of our own to give orders to: of the shared one another application may own the rollout."""
    with running_service(tmp_path_factory.mktemp("ordered")) as running:
        yield running


def readable(service: Service, schedule_id: str) -> dict[str, Any]:
    """The stored decision, once it can be read."""
    with service.client() as client:
        for _ in range(200):
            found = client.get(f"/v1/schedules/{schedule_id}")
            if found.status_code == 200:
                decision: dict[str, Any] = found.json()
                return decision
            time.sleep(0.1)
    raise AssertionError(f"{schedule_id} cannot be read: {found.text}")


def as_shown(hours: float) -> str:
    """Hours as the console writes them."""
    minutes = int(hours * 60 + 0.5)
    return " ".join(
        ([f"{minutes // 60} h"] if minutes >= 60 else []) + ([f"{minutes % 60} min"] if minutes % 60 else [])
    )


def test_key_stays_out_of_reach_of_scripts(page: Any) -> None:
    """Neither cookies that scripts see, nor storage, nor the address hold it, and signing out ends it."""
    found = page.evaluate(
        "[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), location.href]"
    )
    assert found[0] == ""
    assert DEVELOPMENT_API_KEY not in "".join(found)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Key").wait_for()
    assert page.evaluate("fetch('/v1/schedules').then(answer => answer.status)") == 401


def test_example_plant_is_planned_and_drawn(page: Any, service: Service) -> None:
    """One click: every job has a bar and a row, and the makespan shown is that of the stored decision."""
    page.get_by_role("button", name="Plan the example plant").click()
    page.get_by_role("link", name="Open it").click()
    page.wait_for_selector("canvas[data-bars]")
    schedule_id = re.search(r"#/schedules/([^/]+)", page.url)
    assert schedule_id is not None
    decision = readable(service, schedule_id[1])
    assert decision["total_jobs"] == len(decision["answer"]["scheduled_jobs"]) == 170
    assert page.locator("canvas").get_attribute("data-bars") == "170"
    page.get_by_text("The 170 bars as a table").click()
    page.locator("#bars tbody tr").nth(169).wait_for()
    assert page.locator("#bars tbody tr").count() == 170
    tile = page.locator(".tile", has_text="Makespan").locator(".value")
    assert tile.inner_text() == as_shown(decision["metrics"]["makespan"])


def test_arrow_keys_walk_the_bars(page: Any, service: Service) -> None:
    """The first bar of the first machine, then the next one: the address names it, and the panel tells of it."""
    with service.client() as client:
        answer = client.post("/v1/schedules", json=json.loads(EXAMPLE.read_text())).json()
    readable(service, answer["schedule_id"])
    page.goto(f"/#/schedules/{answer['schedule_id']}")
    page.wait_for_selector("canvas[data-bars]")
    first = min(row["machine_id"] for row in answer["scheduled_jobs"])
    jobs = sorted(
        (row for row in answer["scheduled_jobs"] if row["machine_id"] == first), key=lambda row: row["start_time"]
    )
    page.locator("canvas").focus()
    for row in jobs[:2]:
        page.keyboard.press("ArrowRight")
        page.get_by_role("complementary").get_by_role("heading", name=row["job_id"], exact=True).wait_for()
        page.wait_for_function("job => decodeURIComponent(location.hash).endsWith('/' + job)", arg=row["job_id"])
    page.keyboard.press("Escape")
    page.get_by_role("complementary").wait_for(state="detached")


def test_name_with_markup_is_shown_as_text(page: Any, service: Service) -> None:
    """Nothing of a request is ever interpreted."""
    body = {
        "request_id": MARKUP,
        "jobs": [{"job_id": MARKUP, "processing_time": 1, "machine_types": [1]}],
        "machines": [{"machine_id": 1, "machine_name": MARKUP, "machine_type": 1}],
    }
    with service.client() as client:
        schedule_id = client.post("/v1/schedules", json=body).json()["schedule_id"]
    readable(service, schedule_id)
    page.goto(f"/#/schedules/{schedule_id}")
    page.get_by_role("heading", name=MARKUP).first.wait_for()
    page.get_by_text("The 1 bar as a table").click()
    assert page.locator("#bars tbody td").nth(1).inner_text() == MARKUP
    assert (page.locator("img").count(), page.title()) == (0, "Gantry")


def test_refusal_is_told_in_plain_words_and_loses_nothing(page: Any, tmp_path: Path) -> None:
    """A request that nobody can schedule: each reason, and the chosen file is still chosen."""
    wrong = tmp_path / "wrong.json"
    wrong.write_text(
        json.dumps({"jobs": [{"job_id": "a", "processing_time": -1, "machine_types": [1]}], "machines": []})
    )
    page.locator("input[type=file]").set_input_files(str(wrong))
    page.get_by_role("button", name="Plan it").click()
    banner = page.get_by_role("alert")
    banner.wait_for()
    assert "cannot take this" in banner.inner_text()
    assert "jobs[0].processing_time" in banner.inner_text()
    assert page.locator("input[type=file]").evaluate("chooser => chooser.files[0].name") == "wrong.json"


def test_session_that_ends_loses_nothing(ordered: Service) -> None:
    """Whoever is asked for the key again, in the middle of an order, finds the reason as it was typed."""
    with console(ordered.url) as page:
        _pause_without_a_session(page)
    with ordered.client() as client:
        assert client.get("/v1/rollout").json()["stage"] == "paused"
        assert client.post("/v1/rollout/resume", json={"reason": "the browser's test is over"}).status_code == 200


def _pause_without_a_session(page: Any) -> None:
    page.goto("/#/rollout")
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_label("Why?").fill("the night shift looks at it")
    page.context.clear_cookies()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    page.get_by_text("Your session has ended").wait_for()
    page.get_by_label("Key").fill(DEVELOPMENT_API_KEY)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Your session has ended").wait_for(state="detached")
    assert page.get_by_label("Why?").input_value() == "the night shift looks at it"
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    page.get_by_role("status").wait_for()


def test_service_that_is_away_is_told_and_asked_again(page: Any) -> None:
    """What was known stays on the screen, and one click asks again."""
    page.goto("/#/schedules")
    page.get_by_role("heading", name="Schedules").wait_for()
    page.context.set_offline(True)
    page.get_by_role("link", name="Rollout").click()
    page.get_by_role("alert").first.wait_for()
    assert "The service does not answer" in page.get_by_role("alert").first.inner_text()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").first.click()
    page.locator(".rail").wait_for()
    page.get_by_role("alert").first.wait_for(state="detached")


def test_rollback_is_in_force_when_the_page_says_so(ordered: Service) -> None:
    """With a reason that the trail keeps; without one it cannot be ordered."""
    reason = f"late orders <b>{time.time_ns()}</b>"
    with console(ordered.url) as page:
        page.goto("/#/rollout")
        page.locator(".rail").wait_for()
        page.get_by_role("button", name="Roll back").click()
        dialog = page.get_by_role("dialog")
        assert dialog.get_by_role("button", name="Roll back").is_disabled()
        dialog.get_by_label("Why?").fill(reason)
        dialog.get_by_role("button", name="Roll back").click()
        page.get_by_text("Rolled back: the planner's rule serves everything.").wait_for()
    with ordered.client() as client:
        rollout = client.get("/v1/rollout").json()
        assert (rollout["stage"], rollout["share"]) == ("rolled_back", 0.0)
        newest = client.get("/v1/rollout/events").json()["transitions"][0]
        assert (newest["to_stage"], newest["reason"]) == ("rolled_back", reason)
