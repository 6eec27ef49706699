"""What an audit was to do, and what came of it, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.system.auditing.ledger import Balance


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to write and to break, at least, and for how long at most.

    `backlog` decisions are written while the database is down at the end, and as many keys are sent once more.
    """

    decisions: int = 10_000
    faults: int = 100
    clients: int = 8
    backlog: int = 1_000
    longest_seconds: float = 1_320.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened. `writing_seconds` is the time under faults, `seconds` all of it."""

    plan: Plan
    balance: Balance
    faults: Counter[str]
    writing_seconds: float
    seconds: float
    longest_outage_seconds: float
    backlog: int
    catch_up_seconds: float
    sent_again: int
    answered_otherwise: int
    dead_letters: int
    damaged: int

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the audit fails, empty when it passes."""
        wanted = (
            (self.balance.holds, "the books do not balance"),
            (self.balance.acknowledged >= self.plan.decisions, f"fewer than {self.plan.decisions:,} decisions"),
            (self.faults.total() >= self.plan.faults, f"fewer than {self.plan.faults:,} faults"),
            (not self.answered_otherwise, "a key was answered otherwise the second time"),
            (not self.dead_letters, "dead letters"),
            (not self.damaged, "damaged segments"),
        )
        return tuple(reason for holds, reason in wanted if not holds)

    def lines(self) -> Iterator[str]:
        """The report for people."""
        balance, plan = self.balance, self.plan
        yield f"seed                     {plan.seed}"
        yield f"written and acknowledged {balance.acknowledged:,} decisions by {plan.clients} clients"
        yield f"attempts                 {balance.attempts:,}, of which {balance.replayed:,} were answered by a replay"
        yield f"faults                   {self.faults.total():,} in {self.writing_seconds:,.0f} s"
        for kind, number in sorted(self.faults.items()):
            yield f"  {kind:<38} {number:,}"
        yield f"longest outage           {self.longest_outage_seconds:.1f} s without any acknowledged decision"
        rate = self.backlog / max(self.catch_up_seconds, 1e-9)
        caught_up = f"{self.backlog:,} decisions in {self.catch_up_seconds:.1f} s"
        yield f"catch-up                 {caught_up} after the database was back ({rate:,.0f} a second)"
        yield f"keys sent once more      {self.sent_again:,}, answered otherwise {self.answered_otherwise:,}"
        yield f"rows                     {balance.rows:,}"
        yield f"lost                     {len(balance.lost):,}"
        yield f"duplicated               {len(balance.duplicated):,}"
        yield f"hash mismatches          {len(balance.mismatched):,}"
        yield f"unexplained rows         {len(balance.unexplained):,}"
        yield f"dead letters, damage     {self.dead_letters:,}, {self.damaged:,}"
        yield f"took                     {self.seconds:,.0f} s"
        for name in ("lost", "duplicated", "mismatched", "unexplained"):
            for which in getattr(balance, name)[:10]:
                yield f"  {name}: {which}"
        yield f"verdict                  {'; '.join(self.failures) or 'the books balance'}"
