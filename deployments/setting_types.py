"""Types that several settings share: numbers that may be switched off."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

OFF = "off"


def none_when_off(value: object) -> object:
    """None for the word `off`, else the value itself."""
    return None if value == OFF else value


Threshold = Annotated[float | None, Field(ge=0, allow_inf_nan=False), BeforeValidator(none_when_off)]
PercentThreshold = Annotated[float | None, Field(ge=0, le=100, allow_inf_nan=False), BeforeValidator(none_when_off)]
