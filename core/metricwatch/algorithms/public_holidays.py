"""Dates of public holidays, looked up while a model is fitted; scoring has them in its model."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, timedelta

from metricwatch.algorithms.calendar_effects import Holidays, nodes_for
from metricwatch.algorithms.wall_clock import DAY
from metricwatch.series import Grid

_YEARS_AHEAD = 3
"""A model that was not trained again for longer takes holidays for ordinary days."""
_MOST_YEARS_BACK = 20
_EPOCH = date(1970, 1, 1)


class UnknownCountryError(ValueError):
    """No holidays are known for a country or for its subdivision; the message says which."""


def public_holidays(code: str, grid: Grid) -> Holidays:
    """Returns the public holidays from the start of a history to three years after its end.

    Args:
        code: ISO 3166-1 country, such as DE, or ISO 3166-2 subdivision, such as DE-BY.
        grid: the ticks of the history.

    Raises:
        UnknownCountryError: the code is not known.
        ModuleNotFoundError: the package holidays is not installed here.
    """
    import holidays as source  # not in the detector's image

    country, _, part = code.partition("-")
    last = datetime.fromtimestamp(max(grid.end, 0), UTC).year + _YEARS_AHEAD
    first = datetime.fromtimestamp(max(grid.start, 0), UTC).year
    years = range(max(first, last - _MOST_YEARS_BACK), last + 1)
    try:
        with warnings.catch_warnings():
            # Dates that follow the moon are estimates for years to come, and it says so each time.
            warnings.simplefilter("ignore")
            known = source.country_holidays(country, subdiv=part or None, years=years)
    except NotImplementedError as error:
        raise UnknownCountryError(f"no public holidays are known for {code}: {error}") from None
    days = tuple(sorted((day - _EPOCH) // timedelta(days=1) for day in known))
    return Holidays(days=days, rest_day=_rest_day(known.weekend), nodes=nodes_for(DAY, grid.step))


def _rest_day(weekend: set[int]) -> int:
    """Returns the last day of a weekend, 0 for Monday: Sunday, or Saturday after Friday."""
    return max(weekend, key=lambda day: (day + 1) % 7 not in weekend, default=6)
