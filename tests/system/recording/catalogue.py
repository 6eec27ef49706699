"""Every recorded request, in the order in which they are sent: later ones name the answers of earlier ones."""

from __future__ import annotations

from tests.system.recording.decisions import feedbacks, plans, readings, validations
from tests.system.recording.operations import (
    access_checks,
    faults,
    final_state,
    initial_state,
    limits,
    orders,
    probes,
)
from tests.system.recording.refusals import refusals
from tests.system.recording.request import Request
from tests.system.recording.schedules import idempotent_requests, schedules, unattended_requests

ASKED_PER_DAY = 1200
"""How often a key may ask the service of the recording: more than the requests and their repetitions need."""

REQUESTS: tuple[Request, ...] = (
    *probes(),
    *initial_state(),
    *schedules(),
    *refusals(),
    *idempotent_requests(),
    *unattended_requests(),
    *validations(),
    *access_checks(),
    *readings(),
    *feedbacks(),
    *plans(),
    *faults(),
    *orders(),
    *final_state(),
    *limits(ASKED_PER_DAY),
)
