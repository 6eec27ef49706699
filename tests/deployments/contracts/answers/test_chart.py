"""Gantt charts: what is drawn where, what is escaped, and what a browser lets them do."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from xml.etree.ElementTree import Element, fromstring
from zoneinfo import ZoneInfo

import pytest

from deployments.contracts.answers.chart import TEMPLATE, days_of, facts_of, gantt_html, gantt_svg, page_policy
from deployments.contracts.answers.plan_files import PlannedMachine, PlanSheet
from tests.deployments.contracts.answers.test_plan_files import NASTY, row, sheet

SVG = "{http://www.w3.org/2000/svg}"


def _svg(plan: PlanSheet) -> Element:
    return fromstring(gantt_svg(plan))


def _of_class(root: Element, *kinds: str) -> list[Element]:
    return [each for each in root.iter() if set(kinds) <= set(each.get("class", "").split())]


def test_bars_lie_where_the_work_is() -> None:
    """Setup as a dark head, a pause as a gap, red for what is late, and a mark at each due date."""
    plan = sheet(
        row("A", family_id="F", due=7200),
        row("B", 2, start=3600, end=10_800, pauses=((5400, 7200),), due=9000),
        machines=(PlannedMachine(id=1, name="Saw", closed=((5400, 7200),)), PlannedMachine(id=2, name="")),
    )
    root = _svg(plan)
    one, other = _of_class(root, "bar")
    assert (one.get("class"), other.get("class")) == ("bar f0", "bar late")
    assert float(one.get("width", "")) * 2 == pytest.approx(float(other.get("width", "")), abs=0.2)
    assert float(one.get("y", "")) < float(other.get("y", ""))
    assert len(_of_class(root, "pause")) == 1
    # One of each stands in the legend.
    assert len(_of_class(root, "setup")) == 1 + 2
    assert len(_of_class(root, "due")) == 1 + 1
    assert len(_of_class(root, "late")) == 1 + 2
    assert len([each for each in root.iter(f"{SVG}rect") if each.get("fill") == "url(#closed)"]) == 1 + 1 + 1
    told = [each.text for each in root.iter(f"{SVG}title")]
    assert (
        "B\nSaw\nTue 22 Jul 15:00 to Tue 22 Jul 17:00\nsetup 15 min, work 1 h 15 min\ndue Tue 22 Jul 16:30: 30 min late"
        in told
    )


def test_days_begin_at_midnight_by_the_plants_clock() -> None:
    """Also when a night has an hour more, or less."""
    start = datetime(2025, 10, 25, 22, 0, tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    plan = sheet(row("A", end=4 * 86_400), start=start, zone=ZoneInfo("Europe/Berlin"))
    assert days_of(plan)[:3] == [(0, "Sun 26 Oct 2025"), (90_000, "Mon 27 Oct"), (176_400, "Tue 28 Oct")]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_text_in_picture_and_page(name: str) -> None:
    """Whatever they look like: markup, the end of a script, a place of the template."""
    plan = sheet(row(name, machine_name=name, family_id=name), title=f"{name} __DATA__")
    shown = name.replace("\x07", "\ufffd")
    root = _svg(plan)
    assert {each.tag for each in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "style", "defs", "pattern", "line", "rect", "text", "path", "g")
    }
    assert any((each.text or "").startswith(shown.split("\n", maxsplit=1)[0]) for each in root.iter(f"{SVG}title"))
    page = gantt_html(plan).decode()
    assert page.count("<script") == 2
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[0])
    assert data["rows"][0][0] == name


def test_page_runs_its_own_script_and_nothing_else() -> None:
    """The policy names the hashes of what the page holds, and nothing that is not in it."""
    page = gantt_html(sheet(row("A"))).decode()
    for kind in ("style", "script"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert f"{kind}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in page_policy()
    assert "default-src 'none'" in page_policy()
    assert not re.findall(r"""(?:https?:)?//(?!www\.w3\.org)[a-z]+\.|\son[a-z]+=|style=""", page)
    assert TEMPLATE.read_text(encoding="utf-8").count("__DATA__") == 1


def test_chart_without_dates_counts_in_the_units_of_its_file() -> None:
    """A benchmark knows neither days nor clocks."""
    plan = sheet(row("A", start=0, end=55, setup=0), is_dated=False)
    assert days_of(plan) == []
    assert "makespan 55" in facts_of(plan)
    assert {"0", "10", "50"} <= {each.text for each in _svg(plan).iter(f"{SVG}text")}


def test_twenty_thousand_bars_are_drawn() -> None:
    """One for each job, and a page of some megabytes."""
    rows = [
        row(f"J{number}", 1 + number % 2, start=1800 * number, due=1800 * number + 9000) for number in range(20_000)
    ]
    plan = sheet(*rows)
    assert gantt_svg(plan).count(b'class="bar ') == 20_000
    assert len(gantt_html(plan)) < 4_000_000


def test_plan_without_a_row_is_a_chart_too() -> None:
    """Nothing to do is something to show."""
    assert len(_of_class(_svg(sheet()), "bar")) == 0
    assert b"0 jobs on 2 machines" in gantt_html(sheet())
