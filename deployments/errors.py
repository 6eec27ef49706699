"""Every error of the service, as one tree below the domain's root.

GantryError (env.errors)
└── ServiceError
    ├── InvalidSettings       the service must not start like this; carries every reason
    ├── InvalidRequest        the body does not follow the schema; carries every reason
    ├── MalformedBody         the body is not JSON
    ├── BodyTooLarge          the body exceeds its limit
    │   └── BodyTooDense          it is small enough, but what it says takes too much memory
    ├── DecisionTooLarge      the database could never take it
    ├── BodyTooSlow           the body did not arrive in time
    ├── UnknownEncoding       the body is compressed in a way that is not read here
    ├── Unauthenticated       no key, or one that nobody holds
    ├── Forbidden             the key lacks a scope
    ├── NotFound              nothing there that this client may see
    ├── KeyConflict           an idempotency key is used for another request
    ├── PlanConflict          another plan is in force than the caller believes
    ├── ProposalFailed        one arm has no schedule to offer; the next arm is asked
    │   └── ProposalShed          nobody of that arm began: no replica is there, or it refuses what replicas died of
    ├── NoSafeSchedule        every arm failed or was rejected; carries the rejections
    ├── RolloutError          what can be wrong with an order to the rollout
    │   ├── UnknownStage          no stage of that name; carries the known ones
    │   ├── StaleVersion          somebody else changed the stage first; carries both versions
    │   ├── TransitionRefused     the order makes no sense in this stage, or the gate is shut; carries the reasons
    │   └── UnreadableState       stored state is not what this version writes: serve manual
    └── TemporarilyUnavailable    ask again later; carries the seconds to wait
        ├── Stopping              the service is about to end and takes no newcomers
        ├── Overloaded            a bounded queue is full
        │   └── NoRoomForBody         the bodies under way take all the memory that there is for them
        ├── RateLimited           the key has used up what it may ask in a while
        ├── KeyInUse              the request with this idempotency key is still running
        ├── ClaimUnavailable      an idempotency key cannot be claimed now, or was lost on the way
        ├── RunUnavailable        a plan that nobody waits for cannot be taken, or asked for, without the database
        ├── JournalUnavailable    the decision could not be made durable
        ├── JudgeUnavailable      no verdict, therefore no schedule
        │   └── JudgeFailed           the judge raised, or its replicas were lost one after the other
        ├── KeysUnavailable       stored keys cannot be checked: no database and no fresh copy of them
        ├── RolloutUnavailable    the rollout's controller does not answer, or does not know the stage
        ├── PlantDataUnavailable  the request left machines or jobs to a database that does not answer
        └── TimedOut              the request took longer than its limit

All of them survive pickling, because they travel between processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from env.errors import GantryError
from env.judge.verdict import Violation

Reasons = tuple[tuple[str, str], ...]
MIN_LIKENESS = 0.8
"""Of a name to the one that it may have been meant for: a letter or two wrong, by difflib's ratio."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean job_id?" of "jobId"; empty where no name of `known` is nearly spelt like `name`."""
    guess = nearly_spelt(name, known)
    return "" if guess is None else f"; did you mean {guess}?"


def nearly_spelt(name: str, known: Iterable[str]) -> str | None:
    """The name of `known` that `name` is nearly spelt like, None where there is none."""
    spellings = {_letters(each): each for each in known}
    guesses = get_close_matches(_letters(name), spellings, n=1, cutoff=MIN_LIKENESS)
    return spellings[guesses[0]] if guesses else None


def requirement_of(kind: str, words: str, context: Mapping[str, Any]) -> str:
    """What a value must be, in the words of this service, from one fault that pydantic tells: its type, words, context.

    The words of our own validators stay as they are.
    """
    if kind in _OUR_OWN_KINDS:
        return words.removeprefix("Value error, ")
    if kind in {"string_too_short", "too_short"} and context.get("min_length") == 1:
        return "must not be empty"
    family = next((family for family in _FAMILIES if kind.startswith(family)), kind)
    template = _REQUIREMENTS.get(kind) or _REQUIREMENTS.get(family)
    # A kind that nobody has met yet still reads as a requirement.
    return re.sub(r"^\w+ should", "must", words) if template is None else template.format(**_plain(context))


def _plain(context: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds of floats without a decimal point where they need none."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in context.items()
    }


_OUR_OWN_KINDS = frozenset({"value_error", "datetime_text", "printable_text", "worded_text", "empty"})
_FAMILIES = ("int_", "float_", "bool_", "string_type", "list_", "dict_", "model_", "datetime_", "date_")
A_DATE, AN_INSTANT = "2026-12-13", "2026-12-13T14:00:00"
_REQUIREMENTS = {
    "missing": "must be given",
    "int_": "must be a whole number",
    "float_": "must be a number",
    "finite_number": "must be a finite number",
    "bool_": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "list_": "must be a list",
    "dict_": "must be an object",
    "model_": "must be an object",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "datetime_": f"must be an ISO 8601 date and time such as {AN_INSTANT}, or a date such as {A_DATE}",
    "date_": f"must be an ISO 8601 date such as {A_DATE}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "extra_forbidden": "must be a known field, was not",
}


def reason_of(error: Exception) -> str:
    """What went wrong; of the system's own errors without their number, which is for programs."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"


def _letters(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


class ServiceError(GantryError):
    """Root of the errors of this floor."""


class InvalidSettings(ServiceError):
    """The settings contradict themselves or are unsafe; `reasons` lists all (name, message) pairs."""

    def __init__(self, reasons: Reasons) -> None:
        super().__init__(reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return "; ".join(f"{name}: {message}" for name, message in self.reasons)


class InvalidRequest(ServiceError):
    """The body cannot be understood; `reasons` lists (field, message) pairs, `omitted` counts further ones."""

    def __init__(self, reasons: Reasons, omitted: int = 0) -> None:
        super().__init__(reasons, omitted)
        self.reasons = reasons
        self.omitted = omitted

    def __str__(self) -> str:
        return "; ".join(f"{field}: {message}" for field, message in self.reasons)


class MalformedBody(ServiceError):
    """The body is not a JSON document; the message says where it stops being one."""


class BodyTooLarge(ServiceError):
    """The body has more than `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"the body must have at most {self.limit_bytes:,} bytes (GANTRY_MAX_BODY_BYTES)"


class BodyTooDense(BodyTooLarge):
    """Read, the body would take more than `limit_bytes` of memory: it is all brackets, quotes and commas."""

    def __str__(self) -> str:
        return (
            f"the body must take at most {self.limit_bytes:,} bytes of memory once it is read, 14 times "
            "GANTRY_MAX_BODY_BYTES, of which objects, lists and texts take many: send fewer of them"
        )


class DecisionTooLarge(ServiceError):
    """Request or answer are larger than the database takes, so storing them must not be promised."""


class BodyTooSlow(ServiceError):
    """The body was not there in full after `limit_seconds`."""

    def __init__(self, limit_seconds: float) -> None:
        super().__init__(limit_seconds)
        self.limit_seconds = limit_seconds

    def __str__(self) -> str:
        return f"the body must arrive within {self.limit_seconds:g} s (GANTRY_BODY_TIMEOUT_SECONDS)"


class UnknownEncoding(ServiceError):
    """The body has a Content-Encoding that is not read here."""


class Unauthenticated(ServiceError):
    """The caller did not say who it is, or said it with a key that nobody holds."""


class Forbidden(ServiceError):
    """The caller is known and may not do this."""


class NotFound(ServiceError):
    """There is no such thing, or it belongs to somebody else; the answer does not tell which."""


class KeyConflict(ServiceError):
    """An idempotency key stands for one request only."""


class PlanConflict(ServiceError):
    """`in_force` is the plan in force (None: none that the caller may see), and not what he said it was.

    `wanted` is the schedule that he named, `differences` what it would change, as JSON; both may be unknown.
    """

    def __init__(
        self, message: str, in_force: str | None = None, wanted: str | None = None, differences: bytes | None = None
    ) -> None:
        super().__init__(message, in_force, wanted, differences)
        self.message = message
        self.in_force = in_force
        self.wanted = wanted
        self.differences = differences

    def __str__(self) -> str:
        return self.message


class ProposalFailed(ServiceError):
    """An arm has no schedule to offer, for the reason in the message; `source` names the replica that was lost."""

    def __init__(self, message: str, source: str | None = None) -> None:
        super().__init__(message, source)
        self.message = message
        self.source = source

    def __str__(self) -> str:
        return self.message


class ProposalShed(ProposalFailed):
    """Nobody of the arm began with the request, so it says nothing about the arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why one arm's proposal was not served; `violations` is empty when there was no proposal to judge."""

    arm: str
    reason: str
    violations: tuple[Violation, ...] = ()


class NoSafeSchedule(ServiceError):
    """No arm produced a schedule that the judge accepts; `rejections` holds one entry for each arm asked."""

    def __init__(self, rejections: tuple[Rejection, ...]) -> None:
        super().__init__(rejections)
        self.rejections = rejections

    @property
    def is_of_input(self) -> bool:
        """Whether the judge refused the plan of every arm, so that the request itself is at fault."""
        return all(rejection.violations for rejection in self.rejections)

    def __str__(self) -> str:
        return "; ".join(f"{rejection.arm}: {rejection.reason}" for rejection in self.rejections)


class TemporarilyUnavailable(ServiceError):
    """The same request may succeed after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message, retry_after_seconds)
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return self.message


class Stopping(TemporarilyUnavailable):
    """The service finishes what it has begun, and begins nothing more."""


ENDED = "the service ended before this request was done"
"""With this a request is called off when the grace of a stop is over; without, its client has hung up."""


class Overloaded(TemporarilyUnavailable):
    """A bounded queue is full."""


class NoRoomForBody(Overloaded):
    """The bodies of other requests take all the memory that a router has for bodies."""


class RateLimited(TemporarilyUnavailable):
    """The key has made as many requests as it may in a while."""


class KeyInUse(TemporarilyUnavailable):
    """Somebody is at the request with this idempotency key; its answer can be had once there is one."""


class ClaimUnavailable(TemporarilyUnavailable):
    """Only requests with an idempotency key wait for the database, and it does not answer."""


class RunUnavailable(TemporarilyUnavailable):
    """Only plans that nobody waits for need the database, and it does not answer."""


class JournalUnavailable(TemporarilyUnavailable):
    """The decision could not be made durable, so it must not be promised."""


class JudgeUnavailable(TemporarilyUnavailable):
    """The judge gave no verdict, and without one no schedule is served."""


class JudgeFailed(JudgeUnavailable):
    """The judge was asked and failed on this plan; `source` names the replica that was lost last, if one was."""

    def __init__(self, message: str, retry_after_seconds: int = 1, source: str | None = None) -> None:
        super().__init__(message, retry_after_seconds)
        self.args = (message, retry_after_seconds, source)
        self.source = source


class KeysUnavailable(TemporarilyUnavailable):
    """Nobody can tell whether the key is valid: the database is away, and what was known of it is too old."""


class RolloutUnavailable(TemporarilyUnavailable):
    """The rollout's controller does not answer, or does not know the stage itself."""


class PlantDataUnavailable(TemporarilyUnavailable):
    """The request left its machines or its jobs to the database, and the database does not answer."""


class TimedOut(TemporarilyUnavailable):
    """The request was given up when its time limit had passed."""


class RolloutError(ServiceError):
    """Root of the errors of the rollout."""


class UnknownStage(RolloutError):
    """There is no stage called `name`; `known` lists those that there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        return f"stage must be one of {', '.join(self.known)}, was {self.name!r}"


class StaleVersion(RolloutError):
    """The order was made for version `expected`, but the rollout is at version `actual`."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"expected_version must be {self.actual}, was {self.expected}: somebody changed the rollout first"


class TransitionRefused(RolloutError):
    """The order is not carried out, for all of `reasons`; the state is as it was."""

    def __init__(self, action: str, stage: str, reasons: tuple[str, ...]) -> None:
        super().__init__(action, stage, reasons)
        self.action = action
        self.stage = stage
        self.reasons = reasons

    def __str__(self) -> str:
        return f"cannot {self.action} from {self.stage}: {'; '.join(self.reasons)}"


class UnreadableState(RolloutError):
    """A stored state, latch or snapshot cannot be understood; the message says what was required and found."""
