"""What the service counts and measures: every metric with its kind, its labels and what it tells.

A name here is `gantry_plans`; Ray's exporter prints `ray_gantry_plans_total`, with labels of the replica beside ours.
Whatever a label may hold is bounded: routes as templates, codes, names of stages; never what a client has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

# From a cached refusal to the longest synchronous request.
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
_COUNTS = (1.0, 10.0, 50.0, 100.0, 170.0, 300.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0)
_MILLISECONDS = (50.0, 100.0, 250.0, 500.0, 750.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 60_000.0)


class MetricKind(StrEnum):
    """How a metric behaves, in the words of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric. `buckets` are the upper bounds of a histogram, rising, above 0."""

    name: str
    kind: MetricKind
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"gantry_{name}", kind=MetricKind.COUNTER, text=text, labels=labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"gantry_{name}", kind=MetricKind.GAUGE, text=text, labels=labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name=f"gantry_{name}", kind=MetricKind.HISTOGRAM, text=text, labels=labels, buckets=buckets)


HTTP_REQUESTS = _counter("http_requests", "Answers, by the template of the route.", "method", "route", "status")
HTTP_SECONDS = _histogram("http_request_seconds", "From the first byte in to the last one out.", _SECONDS, "route")
IN_FLIGHT = _gauge("requests_in_flight", "Requests for a plan that this router has under way.")
SHED = _counter("requests_shed", "Requests for a plan that were refused because too many are under way.")
PLANS = _counter("plans", "Durable plans: the arm assigned, who made them, and why.", "arm", "by", "fallback")
PLAN_OPERATIONS = _histogram("plan_operations", "Operations of a planned list.", _COUNTS)
PLAN_BUDGET = _histogram("plan_budget_milliseconds", "Time budgets as they were granted.", _MILLISECONDS)
PLAN_SECONDS = _histogram("plan_stage_seconds", "Seconds of each stage of a plan.", _SECONDS, "stage")
PROPOSAL_SECONDS = _histogram("proposal_seconds", "A policy's pass and search.", _SECONDS)
SEARCH_GAIN = _counter("search_gain_seconds", "By how much stages of the search have lowered the objective.", "stage")
VERDICTS = _counter("verdicts", "Judged schedules.", "valid")
REJECTIONS = _counter("rejections", "Rules that judged schedules broke, once for each schedule and rule.", "code")
ANOMALIES = _counter("anomalies", "Suspicions about schedules that broke no rule.", "code")
SPOOL_RECORDS = _gauge("spool_records", "Records of this router that the database does not have yet.")
SPOOL_BYTES = _gauge("spool_bytes", "Bytes of its spool on disk.")
SPOOL_CAPACITY = _gauge("spool_capacity_bytes", "What its spool may take.")
SPOOL_AGE = _gauge("spool_oldest_seconds", "Age of the oldest record that waits; 0 when none does.")
SPOOL_DEAD_LETTERS = _gauge("spool_dead_letters", "Records that the database cannot take, as files.")
WRITES = _counter("records_written", "Records that this router has brought to the database.")
WRITE_FAILURES = _gauge("write_failures_in_a_row", "Attempts to write since the last one that succeeded.")
STATEMENT_SECONDS = _histogram("database_statement_seconds", "Statements of the writer.", _SECONDS, "statement")
ROLLOUT_STAGE = _gauge("rollout_stage", "1 for the stage in force, 0 for every other.", "stage")
ROLLOUT_SHARE = _gauge("rollout_ppo_share", "Share of requests that PPO is to serve.")
_RULE = ("guardrail", "rule", "baseline")
GUARDRAIL_VALUE = _gauge("guardrail_value", "What a rule of a guardrail sees; 0 while that is not known.", *_RULE)
GUARDRAIL_LIMIT = _gauge("guardrail_limit", "What the rule compares it with.", *_RULE)
GUARDRAIL_KNOWN = _gauge("guardrail_known", "1 while the rule has seen enough to tell a value.", *_RULE)
EVIDENCE_WINDOWS = _gauge("evidence_windows", "Closed windows, or days, that a question of the gate has.", "question")
EVIDENCE_ODDS = _gauge("evidence_log10_odds", "How many to 1 it has, as common logarithm.", "question")
EVIDENCE_NEEDED = _gauge("evidence_log10_odds_needed", "How many to 1 it needs, as common logarithm.", "question")
NOTICES = _counter("notices", "News of the rollout: delivered, given up, or dropped.", "target", "outcome")
HEALTH = _gauge("health", "1 for the status that /health tells, 0 for every other.", "status")
READY = _gauge("ready", "1 while /readyz says yes.")
ALARMS = _gauge("alarms", "What a person must look at: how many sentences /health has.")
KEYS_AGE = _gauge("keys_age_seconds", "Since the keys were read from the database.")
KEYS_EXPIRING = _gauge("keys_expiring", "Keys that are valid now and expire within that time.", "within")
MODEL_AGE = _gauge("model_age_seconds", "Since the published policy was written.")
UPTIME = _gauge("uptime_seconds", "Of this replica.")
CPU_SECONDS = _counter("process_cpu_seconds", "Processor time of this replica's process.")
MEMORY_BYTES = _gauge("process_resident_bytes", "Memory of this replica's process.")

METRICS: tuple[Metric, ...] = tuple(found for found in tuple(globals().values()) if isinstance(found, Metric))
"""All of them, in the order in which they stand above."""


class Meter(Protocol):
    """Takes what is counted and measured. Never raises, and never waits."""

    def count(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """So many more of a counter; nothing for an amount that is not above 0."""
        ...

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """What a gauge shows now."""
        ...

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """One more value of a histogram."""
        ...


class NoMeter:
    """The `Meter` of whoever has nobody to tell."""

    def count(self, metric: Metric, amount: float = 1.0, **labels: str) -> None:
        """See `Meter`."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Meter`."""

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Meter`."""


class BoundedLabels:
    """Keeps the series of a metric few: values beyond `max_series` of them are told as `OTHER`."""

    OTHER = "other"

    def __init__(self, max_series: int = 200) -> None:
        self._max_series = max_series
        self._known: dict[str, set[tuple[str, ...]]] = {}

    def of(self, metric: Metric, labels: dict[str, str]) -> dict[str, str]:
        """The labels to tell. Raises `ValueError` when they are not those of the metric."""
        if labels.keys() != set(metric.labels):
            raise ValueError(f"{metric.name} must have the labels {metric.labels}, had {tuple(labels)}")
        values = tuple(labels.values())
        known = self._known.setdefault(metric.name, set())
        if values in known:
            return labels
        if len(known) < self._max_series:
            known.add(values)
            return labels
        return dict.fromkeys(metric.labels, self.OTHER)


def reference() -> str:
    """docs/METRICS.md: every metric as Prometheus sees it."""
    rows = [
        f"| `ray_{each.name}{'_total' if each.kind is MetricKind.COUNTER else ''}` | {each.kind.value} "
        f"| {', '.join(f'`{label}`' for label in each.labels)} | {each.text} |"
        for each in METRICS
    ]
    return "\n".join(("| metric | kind | labels | what it tells |", "|---|---|---|---|", *rows, ""))
