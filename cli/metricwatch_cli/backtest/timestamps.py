"""The time column of a file as unix seconds: numbers, or RFC 3339 text with or without a zone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metricwatch_cli.backtest.problems import WrongFile, WrongInput

Floats = NDArray[np.float64]
FIRST_LINE = 2
"""Line of the first row: line 1 has the names of the columns."""
_YEAR_3000 = 32_503_680_000
_HAS_ZONE = r"(?:[Zz]|[+-]\d{2}:?\d{2})\s*$"


@dataclass(frozen=True, slots=True)
class TimeReading:
    """How times are to be understood.

    Attributes:
        zone: of times that do not say theirs; None refuses them.
        unit: of numbers: s or ms.
    """

    zone: ZoneInfo | None = None
    unit: str = "s"


def find_zone(name: str | None) -> ZoneInfo | None:
    """Returns the zone of a name like Europe/Berlin.

    Raises:
        WrongInput: there is none of that name.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongInput(
            f"there is no time zone {name!r}: use a name like UTC, Europe/Berlin or "
            "America/New_York"
        ) from error


def read_times(path: Path, column: pd.Series, reading: TimeReading) -> Floats:
    """Returns float64[N], unix seconds.

    Args:
        path: for messages.
        column: as pandas read it, one entry for each row.
        reading: how to understand it.

    Raises:
        WrongFile: a row has no time, or one that cannot be understood.
    """
    missing = column.isna().to_numpy()
    if missing.any():
        raise WrongFile(
            path, "the row has no time: write one or remove the row", line=_line(missing)
        )
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return _from_text(path, column.astype(str), reading)
    return _from_numbers(path, column.to_numpy(np.float64), reading)


def _from_numbers(path: Path, numbers: Floats, reading: TimeReading) -> Floats:
    seconds = numbers / 1000.0 if reading.unit == "ms" else numbers
    outside = ~((seconds >= 0) & (seconds < _YEAR_3000))
    if outside.any():
        line = _line(outside)
        number = numbers[line - FIRST_LINE]
        advice = "pass --time-unit ms if it is milliseconds" if number > 0 else "correct it"
        raise WrongFile(path, f"{number:.15g} is no time in unix seconds: {advice}", line=line)
    return seconds


def _from_text(path: Path, text: pd.Series, reading: TimeReading) -> Floats:
    numbers = pd.to_numeric(text, errors="coerce")
    # A date such as 2026-01-02 ends like an offset.
    dates = text.str.len().to_numpy() <= len("2026-01-02")
    zoned = text.str.contains(_HAS_ZONE, regex=True).to_numpy() & ~dates
    times = pd.to_datetime(text.where(zoned), format="ISO8601", utc=True, errors="coerce")
    local = pd.to_datetime(text.where(~zoned), format="ISO8601", errors="coerce")
    bad = (times.isna() & local.isna()).to_numpy()
    if numbers.notna().mean() > 0.5:
        bad = numbers.isna().to_numpy()
    if bad.any():
        line = _line(bad)
        found = text.iloc[line - FIRST_LINE]
        raise WrongFile(
            path,
            f"{found!r} is no time like the others: write unix seconds like 1700000000 or RFC "
            "3339 like 2026-01-31T12:00:00Z, the same in every row",
            line=line,
        )
    if not zoned.all():
        times = times.fillna(_localised(path, text, local, zoned, reading))
    return times.dt.as_unit("ns").astype("int64").to_numpy(np.float64) / 1e9


def _localised(
    path: Path, text: pd.Series, local: pd.Series, zoned: NDArray[np.bool_], reading: TimeReading
) -> pd.Series:
    """Returns times in UTC of rows without a zone."""
    line = _line(~zoned)
    if reading.zone is None:
        raise WrongFile(
            path,
            f"{text.iloc[line - FIRST_LINE]!r} does not say in which time zone it is: write it "
            "like 2026-01-31T12:00:00Z or +01:00, or pass --time-zone, like --time-zone UTC",
            line=line,
        )
    there = local[~zoned]
    exists = there.dt.tz_localize(reading.zone, nonexistent="NaT", ambiguous=True)
    if exists.isna().any():
        line = int(there.index[exists.isna()][0]) + FIRST_LINE
        raise WrongFile(
            path,
            f"{text.iloc[line - FIRST_LINE]!r} never was in {reading.zone.key}, clocks went "
            "forward over it: is the data in another zone?",
            line=line,
        )
    second = there.dt.tz_localize(reading.zone, nonexistent="NaT", ambiguous=False)
    # In the hour that clocks show twice, the first time that would go back begins the second.
    twice = exists != second
    back = twice & (exists.diff().dt.total_seconds() <= 0)
    again = back.astype(int).groupby((~twice).cumsum()).cummax() > 0
    chosen: pd.Series = exists.where(~again, second).dt.tz_convert("UTC")
    return chosen


def _line(rows: NDArray[np.bool_]) -> int:
    """Returns the line of the first row of which it is true."""
    return int(rows.argmax()) + FIRST_LINE
