"""Recorded answers as a file that is easy to compare: what fits on a line is one, and common headers stand once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.system.recording.normal_form import Answer

# Wide enough for one scheduled job.
_LONGEST_LINE = 260
_CONTEXT_LINES = 3


def write_answers(path: Path, answers: Mapping[str, Answer]) -> None:
    """Keeps the answers; `read_answers` is the inverse."""
    path.write_text(_text(_document(answers)) + "\n", encoding="utf-8")


def read_answers(path: Path) -> dict[str, Answer]:
    """The answers that `write_answers` kept."""
    document = json.loads(path.read_text(encoding="utf-8"))
    usual = document["usual_headers"]
    answers = {}
    for name, entry in document["answers"].items():
        headers = {header: value for header, value in (usual | entry["headers"]).items() if value is not None}
        answers[name] = Answer(asked=entry["asked"], status=entry["status"], headers=headers, body=entry["body"])
    return answers


def differences(before: Mapping[str, Answer], after: Mapping[str, Answer]) -> str:
    """A unified diff of all answers that differ, are missing or are new; empty when there are none."""
    names = [*before, *(name for name in after if name not in before)]
    return "\n".join(line for name in names for line in _difference(name, before.get(name), after.get(name)))


def _difference(name: str, before: Answer | None, after: Answer | None) -> Iterator[str]:
    old, new = ([] if each is None else _text(_entry(each, {})).splitlines() for each in (before, after))
    yield from difflib.unified_diff(old, new, f"{name} (recorded)", f"{name} (now)", n=_CONTEXT_LINES, lineterm="")


def _document(answers: Mapping[str, Answer]) -> dict[str, Any]:
    usual = dict(next(iter(answers.values())).headers)
    return {"usual_headers": usual, "answers": {name: _entry(answer, usual) for name, answer in answers.items()}}


def _entry(answer: Answer, usual: Mapping[str, str]) -> dict[str, Any]:
    """The answer with the headers that are not as usual; null for one that is not there."""
    own = {name: value for name, value in answer.headers.items() if usual.get(name) != value}
    absent = {name: None for name in usual if name not in answer.headers}
    headers = dict(sorted((own | absent).items()))
    return {"asked": answer.asked, "status": answer.status, "headers": headers, "body": answer.body}


def _text(value: Any, indent: str = "") -> str:
    """JSON in which every object and list that fits on a line is one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= _LONGEST_LINE or not isinstance(value, dict | list) or not value:
        return flat
    deeper = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name, ensure_ascii=False)}: {_text(each, deeper)}" for name, each in value.items()]
    else:
        parts = [_text(each, deeper) for each in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(parts) + f"\n{indent}{closing}"
