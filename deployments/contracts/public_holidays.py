"""Public holidays of a country, as far ahead as a schedule may reach."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

YEARS_AHEAD = 10


class UnknownCountry(ValueError):
    """Nobody has told us the public holidays of that country."""


@lru_cache(maxsize=64)
def public_holidays(country: str, first_year: int) -> frozenset[date]:
    """Days off of the whole country from the year before `first_year` to `YEARS_AHEAD` years after it.

    `country` is an ISO 3166 code of two letters. Days that are observed instead of a holiday on a
    weekend count too, days of single regions do not. Raises `UnknownCountry`.
    """
    # Few requests name a country, and every router would have to wait for the holidays of all of them.
    import holidays

    try:
        return frozenset(holidays.country_holidays(country, years=range(first_year - 1, first_year + YEARS_AHEAD + 1)))
    except NotImplementedError:
        raise UnknownCountry(f"must be a country whose public holidays are known, was {country}") from None
