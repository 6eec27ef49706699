"""The policy: goals, anomaly limits and the numbers of the rollout, in one validated file.

`policy.toml` beside this module is shipped, and the one place of every default. The file of GANTRY_POLICY_FILE wins
over it key by key, and the environment variables that the keys were until 0.2.0 win over both.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from deployments.errors import Reasons, requirement_of
from env.judge.anomalies import AnomalyLimits

if TYPE_CHECKING:
    from deployments.rollout.analysis.margins import Margins
    from deployments.rollout.ramp.state import RampConfiguration, StageStep
    from deployments.rollout.report.goals import Goal

OFF = "off"
SHIPPED = Path(__file__).with_name("policy.toml")
POLICY_VARIABLE = "GANTRY_POLICY_FILE"
MIN_LIKENESS = 0.85
"""Of a name to the one that it may have been meant for: a letter or two wrong, by difflib's ratio."""
SECONDS_PER_HOUR = 3600.0
KEY_OF = {
    "GANTRY_GOAL_MAKESPAN_HOURS": "goals.max_makespan_hours",
    "GANTRY_GOAL_COMPLETION_PERCENT": "goals.min_completion_percent",
    "GANTRY_GOAL_UTILISATION_PERCENT": "goals.min_utilisation_percent",
    "GANTRY_GOAL_ON_TIME_PERCENT": "goals.min_on_time_percent",
    "GANTRY_GOAL_ERROR_PERCENT": "goals.max_error_percent",
    "GANTRY_GOAL_RESPONSE_SECONDS": "goals.max_response_seconds",
    "GANTRY_GOAL_THROUGHPUT_PERCENT": "goals.min_throughput_percent",
    "GANTRY_GOAL_SATISFACTION_PERCENT": "goals.min_satisfaction_percent",
    "GANTRY_GOAL_UPTIME_PERCENT": "goals.min_uptime_percent",
    "GANTRY_ANOMALY_MAKESPAN_HOURS": "anomalies.max_makespan_hours",
    "GANTRY_ANOMALY_MAKESPAN_OVER_BASELINE_PERCENT": "anomalies.max_makespan_over_baseline_percent",
    "GANTRY_ANOMALY_MAKESPAN_FROM_HISTORY_PERCENT": "anomalies.max_makespan_from_history_percent",
    "GANTRY_ANOMALY_MIN_UTILISATION_PERCENT": "anomalies.min_utilisation_percent",
    "GANTRY_ANOMALY_MIN_COMPLETION_PERCENT": "anomalies.min_completion_percent",
    "GANTRY_ANOMALY_LOAD_OVER_MEAN": "anomalies.max_load_over_mean_ratio",
    "GANTRY_ROLLOUT_LIMITED_PERCENT": "ramp.limited_share_percent",
    "GANTRY_ROLLOUT_EXPANDED_PERCENT": "ramp.expanded_share_percent",
    "GANTRY_ROLLOUT_SHADOW_MIN_HOURS": "ramp.min_shadow_hours",
    "GANTRY_ROLLOUT_LIMITED_MIN_HOURS": "ramp.min_limited_hours",
    "GANTRY_ROLLOUT_EXPANDED_MIN_HOURS": "ramp.min_expanded_hours",
    "GANTRY_ROLLOUT_MIN_COMPLETION_PERCENT": "guardrails.min_completion_percent",
    "GANTRY_ROLLOUT_MAX_CRASH_PERCENT": "guardrails.max_crash_percent",
    "GANTRY_ROLLOUT_MAX_MAKESPAN_INCREASE_PERCENT": "guardrails.max_makespan_increase_percent",
    # What some of them were called in 0.1.0.
    "GANTRY_ANOMALY_LOWEST_UTILISATION_PERCENT": "anomalies.min_utilisation_percent",
    "GANTRY_ANOMALY_LOWEST_COMPLETION_PERCENT": "anomalies.min_completion_percent",
    "GANTRY_ROLLOUT_SHADOW_MINIMUM_HOURS": "ramp.min_shadow_hours",
    "GANTRY_ROLLOUT_LIMITED_MINIMUM_HOURS": "ramp.min_limited_hours",
    "GANTRY_ROLLOUT_EXPANDED_MINIMUM_HOURS": "ramp.min_expanded_hours",
    "GANTRY_ROLLOUT_LEAST_COMPLETION_PERCENT": "guardrails.min_completion_percent",
    "GANTRY_ROLLOUT_MOST_CRASH_PERCENT": "guardrails.max_crash_percent",
    "GANTRY_ROLLOUT_MOST_MAKESPAN_INCREASE_PERCENT": "guardrails.max_makespan_increase_percent",
}
"""Environment variables that still count -> their keys in the file; of each key the newest name comes first."""

RETIRED = {
    "ramp.min_shadow_pairs": ("GANTRY_ROLLOUT_SHADOW_MIN_PAIRS", "GANTRY_ROLLOUT_SHADOW_MINIMUM_PAIRS"),
    "ramp.min_limited_pairs": ("GANTRY_ROLLOUT_LIMITED_MIN_PAIRS", "GANTRY_ROLLOUT_LIMITED_MINIMUM_PAIRS"),
    "ramp.min_expanded_pairs": ("GANTRY_ROLLOUT_EXPANDED_MIN_PAIRS", "GANTRY_ROLLOUT_EXPANDED_MINIMUM_PAIRS"),
    "ramp.max_missing_pairs_percent": ("GANTRY_ROLLOUT_MAX_MISSING_PERCENT", "GANTRY_ROLLOUT_MOST_MISSING_PERCENT"),
}
"""Keys that no longer act, and the variables that they were: evidence over windows has taken the place of pairs."""


def none_when_off(value: object) -> object:
    """None for the word `off`, else the value itself."""
    return None if value == OFF else value


Threshold = Annotated[float | None, Field(ge=0), BeforeValidator(none_when_off)]
PercentThreshold = Annotated[float | None, Field(ge=0, le=100), BeforeValidator(none_when_off)]
PositiveThreshold = Annotated[float | None, Field(gt=0), BeforeValidator(none_when_off)]
Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=100)]
Hours = Annotated[float, Field(ge=0, le=87_600)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class GoalsSection(_Section):
    """The target of each goal of the rollout's report; None leaves the goal out."""

    max_makespan_hours: Threshold
    min_completion_percent: PercentThreshold
    min_utilisation_percent: PercentThreshold
    min_on_time_percent: PercentThreshold
    max_error_percent: PercentThreshold
    max_response_seconds: Threshold
    min_throughput_percent: Threshold
    min_satisfaction_percent: PercentThreshold
    min_uptime_percent: PercentThreshold


class AnomaliesSection(_Section):
    """The thresholds of `AnomalyLimits`; None switches one off."""

    max_makespan_hours: Threshold
    max_makespan_over_baseline_percent: Threshold
    max_makespan_from_history_percent: Threshold
    min_utilisation_percent: Threshold
    min_completion_percent: Threshold
    max_load_over_mean_ratio: Threshold


class RampSection(_Section):
    """PPO's share of the units in the stages between shadow and full, and how long a stage lasts before the next."""

    limited_share_percent: Share
    expanded_share_percent: Share
    min_shadow_hours: Hours
    min_limited_hours: Hours
    min_expanded_hours: Hours

    @field_validator("expanded_share_percent")
    @classmethod
    def _rises(cls, value: float, info: ValidationInfo) -> float:
        if value < (limited := info.data.get("limited_share_percent", 0.0)):
            raise ValueError(f"must be at least limited_share_percent {limited:g}")
        return value


class GuardrailsSection(_Section):
    """What rolls back when the statistics are sure of it."""

    min_completion_percent: Annotated[float, Field(ge=70, lt=100)]
    max_crash_percent: Annotated[float, Field(gt=0, le=50)]
    max_makespan_increase_percent: Annotated[float, Field(gt=0, le=1000)]


class MarginsSection(_Section):
    """By how much key figures may be worse on the way to full; None: not asked."""

    max_on_time_loss_points: PositiveThreshold
    max_utilisation_loss_points: PositiveThreshold
    max_tardiness_increase_percent: PositiveThreshold
    max_tardiness_increase_minutes: PositiveThreshold
    max_cost_increase_percent: PositiveThreshold

    @field_validator("max_tardiness_increase_minutes")
    @classmethod
    def _stands_below_a_share(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and info.data.get("max_tardiness_increase_percent") is not None:
            raise ValueError('may be "off" only where max_tardiness_increase_percent is')
        return value


class CostsSection(_Section):
    """What an hour, and a job that moves, costs: in any currency, since costs are compared by ratio."""

    per_makespan_hour: Rate
    per_tardiness_hour: Rate
    per_setup_hour: Rate
    per_changed_job: Rate


class OperatingPolicy(_Section):
    """What a plant asks of its schedules and of the rollout; every key has a value. Percentages run from 0 to 100."""

    goals: GoalsSection
    anomalies: AnomaliesSection
    ramp: RampSection
    guardrails: GuardrailsSection
    margins: MarginsSection
    costs: CostsSection

    @property
    def report_goals(self) -> tuple[Goal, ...]:
        """The goals with these targets."""
        # Imported here: of all replicas only the routers report.
        from deployments.rollout.report.goals import goals_at

        return goals_at({re.sub("^(max|min)_", "", name): target for name, target in self.goals})

    @property
    def anomaly_limits(self) -> AnomalyLimits:
        """The thresholds of the judge."""
        return AnomalyLimits(**dict(self.anomalies))

    @property
    def ramp_configuration(self) -> RampConfiguration:
        """What each stage of the ramp demands."""
        # Only the controller asks; the statistics behind it are 40 MB that no other replica needs.
        from deployments.rollout.analysis.triggers import limits_at
        from deployments.rollout.ramp.state import RampConfiguration

        ramp, guardrails = self.ramp, self.guardrails
        return RampConfiguration(
            shadow=_step(0.0, ramp.min_shadow_hours),
            limited=_step(ramp.limited_share_percent, ramp.min_limited_hours),
            expanded=_step(ramp.expanded_share_percent, ramp.min_expanded_hours),
            limits=limits_at(
                completion=guardrails.min_completion_percent / 100.0,
                crash_rate=guardrails.max_crash_percent / 100.0,
                makespan_increase=guardrails.max_makespan_increase_percent / 100.0,
                margins=self._margins,
            ),
        )

    @property
    def _margins(self) -> Margins:
        from deployments.rollout.analysis.margins import CostRates, Margins

        margins, costs = self.margins, self.costs
        return Margins(
            on_time_points=margins.max_on_time_loss_points,
            utilisation_points=margins.max_utilisation_loss_points,
            tardiness_share=_scaled(margins.max_tardiness_increase_percent, 0.01),
            tardiness_seconds=_scaled(margins.max_tardiness_increase_minutes, 60.0),
            cost_share=_scaled(margins.max_cost_increase_percent, 0.01),
            rates=CostRates(
                makespan_hour=costs.per_makespan_hour,
                tardiness_hour=costs.per_tardiness_hour,
                setup_hour=costs.per_setup_hour,
                change=costs.per_changed_job,
            ),
        )

    @property
    def values_by_key(self) -> dict[str, Any]:
        """Each value by `section.name`; None for what is off."""
        return _flat(self.model_dump())

    def as_toml(self) -> str:
        """The shipped file with these values: its comments and its order stay. Can be used as a file."""
        values = self.values_by_key
        return "".join(
            f"{key.partition('.')[2]} = {toml_value(values[key])}\n" if key in values else line
            for key, line in _keys_of_lines(SHIPPED.read_text(encoding="utf-8"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReading:
    """The policy in force. `origins` names the file or the variable of each key that is not at its default.

    `notice` is what to tell whoever set it in the old way, in one line; empty when nobody did.
    """

    policy: OperatingPolicy
    origins: Mapping[str, str]
    notice: str


def shipped_policy() -> OperatingPolicy:
    """The defaults."""
    return OperatingPolicy.model_validate(_nested(_shipped_values()))


def read_policy(path: Path | None, variables: Mapping[str, str]) -> tuple[PolicyReading, Reasons]:
    """The policy of the file and the variables, by their names; and all that is wrong with it.

    Where something is wrong the reading is that of the shipped file.
    """
    given, retired, faults = _values_in(path)
    retired += [name for names in RETIRED.values() for name in names if name in variables]
    named, contradictions = _named_keys(variables)
    faults += contradictions
    origins = dict.fromkeys(given, str(path)) | named
    set_by_name = {key: _number(variables[name]) for key, name in named.items()}
    values = _shipped_values() | given | set_by_name
    try:
        policy = OperatingPolicy.model_validate(_nested(values))
    except ValidationError as error:
        faults += [
            _reason(".".join(map(str, each["loc"])), _requirement(each), values, origins) for each in error.errors()
        ]
    if faults:
        return PolicyReading(policy=shipped_policy(), origins={}, notice=""), tuple(faults)
    notices = (_notice(named, set_by_name, given, path), _notice_of_retired(retired))
    return PolicyReading(policy=policy, origins=origins, notice="; ".join(filter(None, notices))), ()


def did_you_mean(name: str, known: Collection[str], prefix: str = "") -> str:
    """A hint at the known name that is nearly the same; empty where there is none. `prefix` stands before each."""
    guess = get_close_matches(name, known, n=1, cutoff=MIN_LIKENESS)
    return f"; did you mean {prefix}{guess[0]}?" if guess else ""


def toml_value(value: float | None) -> str:
    """As it stands in the file."""
    if value is None:
        return f'"{OFF}"'
    return str(int(value)) if float(value).is_integer() else repr(value)


@cache
def _shipped_values() -> dict[str, Any]:
    return _flat(tomllib.loads(SHIPPED.read_text(encoding="utf-8")))


def _values_in(path: Path | None) -> tuple[dict[str, Any], list[str], list[tuple[str, str]]]:
    """What the file sets, which keys of it no longer act, and what in it is no key."""
    if path is None:
        return {}, [], []
    try:
        # Some editors put a byte order mark in front, which TOML does not know.
        values = _flat(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        return {}, [], [(POLICY_VARIABLE, f"{path} cannot be read: {error.strerror}")]
    except ValueError as error:
        return {}, [], [(POLICY_VARIABLE, f"{path} must be a TOML file: {error}")]
    known = _shipped_values()
    unknown = [key for key in values if key not in known and key not in RETIRED]
    faults = [(f"{path}: {key}", f"is no key of the policy{did_you_mean(key, known)}") for key in unknown]
    retired = [f"{key} in {path}" for key in values if key in RETIRED]
    return {key: value for key, value in values.items() if key in known}, retired, faults


def _named_keys(variables: Mapping[str, str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Key -> the variable that sets it; and where two of them set one key differently."""
    found: dict[str, str] = {}
    faults = []
    for name, key in KEY_OF.items():
        if name in variables:
            newer = found.setdefault(key, name)
            if variables[newer] != variables[name]:
                faults.append((name, f"must agree with {newer} {variables[newer]!r}, was {variables[name]!r}"))
    return found, faults


def _requirement(fault: ErrorDetails) -> str:
    return requirement_of(fault["type"], fault["msg"], fault.get("ctx", {}))


def _reason(key: str, message: str, values: Mapping[str, Any], origins: Mapping[str, str]) -> tuple[str, str]:
    origin = origins.get(key)
    if origin not in KEY_OF:
        return f"{origin}: {key}" if origin else key, f"{message}, was {values[key]!r}"
    # What a variable holds may be a secret in the wrong place, unless it is a number.
    return origin, message if isinstance(values[key], str) else f"{message}, was {values[key]!r}"


def _notice(
    named: Mapping[str, str], set_by_name: Mapping[str, object], given: Mapping[str, object], path: Path | None
) -> str:
    told = [
        f"{name} is {key}, and its {set_by_name[key]} wins over {given[key]} in {path}"
        if key in given and given[key] != set_by_name[key]
        else f"{name} is {key}"
        for key, name in named.items()
    ]
    moved = f"these belong in the file of {POLICY_VARIABLE} now and will not be known for ever"
    return f"{moved}: {', '.join(told)}" if told else ""


def _notice_of_retired(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f"these no longer act, because evidence over windows decides and not a number of pairs: {', '.join(names)}"


def _number(text: str) -> float | str:
    """The number that a variable spells, else its text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Values by `section.name`. What stands outside of every section keeps its name."""
    flat: dict[str, Any] = {}
    for section, inner in document.items():
        is_table = isinstance(inner, dict)
        flat |= {f"{section}.{name}": value for name, value in inner.items()} if is_table else {section: inner}
    return flat


def _nested(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested


def _keys_of_lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line with the key that it sets; a key without a name where it sets none."""
    section = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            section = line.strip().strip("[]")
        name = line.partition(" = ")[0] if re.match(r"\w+ = ", line) else ""
        yield f"{section}.{name}", line


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _step(percent: float, hours: float) -> StageStep:
    from deployments.rollout.ramp.state import StageStep

    return StageStep(share=percent / 100.0, min_seconds=hours * SECONDS_PER_HOUR)
