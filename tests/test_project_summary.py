"""docs/PROJECT_SUMMARY.md: targets are the code's, all that it names exists, and it states no other figure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments import cli
from deployments.rollout.ramp.state import DAY_SECONDS, RAMP
from deployments.rollout.report.goals import Goal
from tests.deployments.shipped_policy import CONFIGURATION, GOALS, POLICY

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "PROJECT_SUMMARY.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table in one section, without its head."""
    section = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def asked_for(goal: Goal) -> str:
    """A target as the page writes it; where no more or no less is possible, the target itself."""
    sign = "" if goal.target in {0.0, 100.0} else ("> " if goal.is_more_better else "< ")
    return f"{sign}{goal.target:g} {goal.unit}".rstrip()


def test_targets_are_those_of_the_code() -> None:
    """Every goal is there with its default and its key in the policy file; each says where it is measured."""
    keys = {re.sub("(max|min)_", "", key): key for key in POLICY.values_by_key}
    wanted = [
        [goal.label, asked_for(goal), f"`{keys[f'goals.{goal.name}']}`" if f"goals.{goal.name}" in keys else "always"]
        for goal in GOALS
    ]
    found = rows("What is asked of it")
    assert [row[:3] for row in found] == wanted
    assert [row[0] for row in found if row[2] == "always"] == ["critical violations"]
    assert all(row[3] for row in found)


def test_stages_are_those_of_the_ramp() -> None:
    """Shares and days are the defaults."""
    wanted = []
    for stage in RAMP:
        step = CONFIGURATION.step(stage)
        minimum = f"{step.min_seconds / DAY_SECONDS:g} days, and evidence over windows"
        wanted.append([f"`{stage.value}`", f"{100 * step.share:g} %", minimum if step.share < 1.0 else ""])
    assert rows("How it takes over") == wanted


def test_nothing_else_is_a_figure() -> None:
    """What is measured stands where it is measured: no digit outside the two tables, names and links."""
    checked = {"What is asked of it", "How it takes over"}
    sections = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    for heading, body in zip(["", *sections[1::2]], sections[::2], strict=True):
        lines = (line for line in body.splitlines() if heading not in checked or not line.startswith("|"))
        plain = re.sub(r"`[^`]*`|\]\([^)]*\)", "", "\n".join(lines))
        assert re.findall(r".*\d.*", plain) == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_every_link_leads_somewhere(target: str) -> None:
    """To a file that is there, and to a heading in it."""
    path, _, anchor = target.partition("#")
    found = PAGE.parent / path
    assert found.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("row", rows("What is proved, and by what"), ids=lambda row: row[0][:40])
def test_every_claim_names_a_proof_that_exists(row: list[str]) -> None:
    """Tests, make targets and commands; each claim has at least one."""
    proofs = re.findall(r"`([^`]+)`", row[1])
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert proofs
    for proof in proofs:
        first, *words = proof.split()
        if first == "make":
            assert words[0] in targets
        elif first == "gantry":
            assert CliRunner().invoke(cli.app, [*words, "--help"]).exit_code == 0
        else:
            assert (ROOT / proof).is_file()
