"""What of the stored rows counts in a report."""

from __future__ import annotations

import json
from typing import Any

from deployments.rollout_control.stored_report import last_words


def _said(author: str | None, decision_id: str, rating: int | None = None, **jobs: str) -> dict[str, Any]:
    completions = [{"job_id": job, "completed_at": at} for job, at in jobs.items()]
    return {
        "client": "default",
        "author": author,
        "decision_id": decision_id,
        "rating": rating,
        "actual_completions": json.dumps(completions),
    }


def _words(rows: list[dict[str, Any]]) -> list[tuple[int | None, dict[str, str]]]:
    return [
        (row["rating"], {each["job_id"]: each["completed_at"] for each in json.loads(row["actual_completions"])})
        for row in last_words(rows)
    ]


def test_what_is_said_again_counts_once() -> None:
    """A button that is pressed four times is one rating, and a job is done once: the last word of each author."""
    rows = [
        _said("foreman", "1", 1, CUT="12:00", BEND="13:00"),
        _said("foreman", "1", 1),
        _said("foreman", "1", 5, CUT="12:30"),
        _said("planner", "1", 2, CUT="12:45"),
        _said("foreman", "2", 3, CUT="12:00"),
        _said(None, "1", 4, CUT="14:00"),
        _said(None, "1", None, CUT="15:00"),
    ]
    assert _words(rows) == [
        (None, {"BEND": "13:00"}),
        (None, {}),
        (5, {"CUT": "12:30"}),
        (2, {"CUT": "12:45"}),
        (3, {"CUT": "12:00"}),
        (4, {}),
        (None, {"CUT": "15:00"}),
    ]
