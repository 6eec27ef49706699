"""`python -m tests.system.auditing`: one audit; exit code 0 when the books balance."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from tests.system.auditing.audit import OnProgress, run_audit
from tests.system.auditing.report import Plan

_FAULTS_BETWEEN_LINES = 10


def main() -> int:
    """Parse, audit, print. SIGTERM ends the service and the database, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = _plan()
    print(f"seed {plan.seed}", flush=True)
    with _shown(plan) as on_progress:
        report = run_audit(plan, on_progress)
    print("\n".join(report.lines()))
    return 1 if report.failures else 0


def _plan() -> Plan:
    default = Plan()
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.auditing",
        description="Writes decisions while everything dies again and again; then compares answers with rows.",
        epilog="Example: python -m tests.system.auditing --decisions 500 --faults 16 --seconds 120 --seed 7",
    )
    parser.add_argument("--decisions", type=int, default=default.decisions, help="acknowledged decisions, at least")
    parser.add_argument("--faults", type=int, default=default.faults, help="faults, at least")
    parser.add_argument("--clients", type=int, default=default.clients)
    parser.add_argument("--backlog", type=int, default=default.backlog, help="decisions to catch up with at the end")
    parser.add_argument("--seconds", type=float, default=default.longest_seconds, help="end of writing, at the latest")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    options = parser.parse_args()
    return Plan(
        decisions=options.decisions,
        faults=options.faults,
        clients=options.clients,
        backlog=options.backlog,
        longest_seconds=options.seconds,
        seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
    )


@contextmanager
def _shown(plan: Plan) -> Iterator[OnProgress]:
    """Two bars on a terminal; elsewhere a line now and then."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        decisions_bar = bars.add_task("decisions", total=plan.decisions)
        faults_bar = bars.add_task("faults", total=plan.faults)

        def show(decisions: int, faults: int) -> None:
            bars.update(decisions_bar, completed=decisions)
            bars.update(faults_bar, completed=faults)
            if not console.is_terminal and faults % _FAULTS_BETWEEN_LINES == 0:
                print(f"{decisions:>7,} decisions, {faults:>4,} faults", flush=True)

        yield show


if __name__ == "__main__":
    sys.exit(main())
