"""docs/WHAT_THE_JUDGE_CHECKS.md, from the judge's codes: `python -m tests.env.judge.rules_page`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from env.judge.anomalies import MIN_HISTORY, SIMILAR_SIZE
from env.judge.verdict import DEDUCTION_POINTS, MIN_VALID_SCORE, AnomalyCode, ViolationCode

LIMIT_OF = {
    AnomalyCode.MAKESPAN_ABOVE_LIMIT: "max_makespan_hours",
    AnomalyCode.MAKESPAN_ABOVE_BASELINE: "max_makespan_over_baseline_percent",
    AnomalyCode.MAKESPAN_UNLIKE_HISTORY: "max_makespan_from_history_percent",
    AnomalyCode.LOW_UTILISATION: "min_utilisation_percent",
    AnomalyCode.INCOMPLETE: "min_completion_percent",
    AnomalyCode.LOAD_IMBALANCE: "max_load_over_mean_ratio",
}
"""The field of `AnomalyLimits` that each anomaly is held against."""


def page() -> str:
    """The page in Markdown."""
    critical = (_row(code) for code in ViolationCode if code.is_critical)
    reported = (_row(code) for code in ViolationCode if not code.is_critical)
    suspicious = ((f"`{code}`", code.description, f"`{LIMIT_OF[code]}`") for code in AnomalyCode)
    violation_head = ("code", "what is wrong", "what the amount counts")
    return "\n".join(
        (
            _BEGINNING,
            "## Never served\n",
            *_table(violation_head, critical),
            "\n## Reported\n",
            *_table(violation_head, reported),
            _RULES,
            "## Suspicious\n",
            _SUSPICIOUS,
            *_table(("code", "what is strange", "limit"), suspicious),
            _SCORE,
        )
    )


def _row(code: ViolationCode) -> tuple[str, ...]:
    return f"`{code}`", code.description, code.counted or "-"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    lines = (head, ("---",) * len(head), *rows)
    return [f"| {' | '.join(line)} |" for line in lines]


_BEGINNING = """\
# What the judge checks

No schedule is served unless the judge finds nothing critical in it, whoever proposed it: the policy, a rule, the
search or a planner. The judge shares no code with them. It expands the calendar by its own arithmetic and looks
only at the request and at the finished schedule. Every amount is exact to the second.

This page is generated from the codes: `python -m tests.env.judge.rules_page > docs/WHAT_THE_JUDGE_CHECKS.md`.
`make mutation` spoils valid schedules in every one of these ways, most by one second, and shows that each is caught.
"""

_RULES = """
## How the rules are meant

- **Working time** is setup and processing, counted in open time only. Work may pause while a machine is closed,
  unless it must not be interrupted; its first and its last second are always open.
- **Setup** is the operation's own on that machine. With a setup matrix, and when both the operation and the last
  work that ended before it on the machine have a setup group, it is what the matrix lists for the two groups; when
  it lists nothing, none within a group and its own otherwise. The first work on a machine and pinned work take
  their own.
- **Several machines**: work that holds several machines works only while all of them are open, waits for the
  earlier load of each, overlaps with nobody on any of them, and takes the longest of their setups.
- **Work that takes no time** ends where it starts, in open time, and in the midst of no other work on its machine.
  Requests have none, since each of their operations takes a second at least; benchmark files do.
- **Earlier load** of a machine is counted in open time from the start of the schedule.
- **Pinned work** must start exactly where it is pinned, and is held to every other rule besides.
- **Work that has begun** before the schedule does must start and end exactly where it does. While it runs, its setup
  and processing are the open time from its start to its end: it pauses where its machine is closed now, also if it
  must not be interrupted, and waits neither for material nor for earlier load. It holds its machines until it ends.
- **Finished work** ended at or before the start of the schedule. It needs no machine any more, so neither its
  duration nor the calendar nor what else its machines do is judged; it counts as the last work on them.
- **Sequence**: of a repeated operation the latest end and the first start count; a missing one is passed over, and
  so are two that have both begun.
"""

_SUSPICIOUS = f"""\
A schedule beyond one of these limits is served, with the anomaly in the answer. A measure exactly at its limit is
none, and a limit can be switched off. They are the keys of `[anomalies]` in the policy file, whose defaults are in
[policy.toml](../deployments/settings/policy.toml).

Like is compared with like. The **lower bound** of the makespan is what no plan for the request can beat: each job
alone on an empty plant, and each group of machines with the work that only they can do, by the calendar. **History**
compares makespan over lower bound with the median of the plant's recent schedules whose bound is at most
{SIMILAR_SIZE:g} times larger or smaller, and needs at least {MIN_HISTORY} of them. **Utilisation** counts machines that
some job may use, and is held to a share of what the same work could reach if it ended as early as its bound.
**Imbalance** looks at work that waited for a machine while others, no slower and open, could have taken it; where so
few could that none can be so far above an even share, two thirds of the way there are the limit. The baseline is
another plan for the same request.
"""

_SCORE = f"""
## Safety score

0 with anything critical. Otherwise 100 less {DEDUCTION_POINTS:g} for each reported violation and each anomaly, but
not below {MIN_VALID_SCORE:g}: 0 always means that the schedule must not be served.
"""


if __name__ == "__main__":
    sys.stdout.write(page())
