"""The errors of the service: their texts, and their way between processes."""

from __future__ import annotations

import errno
import pickle

import pytest

from deployments.errors import (
    BodyTooDense,
    BodyTooLarge,
    InvalidRequest,
    InvalidSettings,
    JournalUnavailable,
    NoSafeSchedule,
    Overloaded,
    ProposalFailed,
    Rejection,
    ServiceError,
    StaleVersion,
    TemporarilyUnavailable,
    TransitionRefused,
    UnknownStage,
    reason_of,
)

ERRORS = [
    InvalidSettings((("GANTRY_API_KEY", "must be longer"),)),
    InvalidRequest((("jobs", "must be a list"),), omitted=3),
    BodyTooLarge(33_554_432),
    BodyTooDense(268_435_456),
    ProposalFailed("replica lost"),
    NoSafeSchedule((Rejection(arm="ppo", reason="no proposal"),)),
    Overloaded("the queue is full", 2),
    JournalUnavailable("disk full"),
    UnknownStage("half", ("shadow", "full")),
    StaleVersion(3, 4),
    TransitionRefused("promote", "shadow", ("too few windows",)),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_survives_pickling(error: ServiceError) -> None:
    """An error that crossed a process boundary says and carries the same."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_temporary_error_carries_its_waiting_time() -> None:
    """Whoever may ask again is told when."""
    assert isinstance(ERRORS[6], TemporarilyUnavailable)
    assert ERRORS[6].retry_after_seconds == 2


def test_body_too_large_names_the_limit() -> None:
    """The text says what would have been accepted."""
    assert str(BodyTooLarge(33_554_432)) == "the body must have at most 33,554,432 bytes (GANTRY_MAX_BODY_BYTES)"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.log"), "No such file or directory: a.log"),
        (OSError("timed out"), "timed out"),
        (ValueError("must be JSON"), "must be JSON"),
    ],
)
def test_reason_is_words_alone(error: Exception, reason: str) -> None:
    """Nobody should have to look up what "[Errno 5]" is."""
    assert reason_of(error) == reason
