"""What the clock on the wall shows: a rhythm of people keeps to it, whatever it is in UTC.

Everything is an array over T ticks. The offsets of a zone come from the IANA database through
`zoneinfo`, once for each zone and year, as the times at which they change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.int64]

DAY = 86400
MONTH_NODES = 31
_FROM_THE_END = 13
"""Days of a month that are counted from its end: 28 days are 15 from the start and these."""
_EARLIEST_YEAR, _LATEST_YEAR = 1900, 2200
"""Beyond them the offset of the nearest year stands: no metric is from there."""


def wall_seconds(times: Seconds, zone: str) -> Seconds:
    """Returns what a clock in `zone` shows, as seconds since it showed the start of 1970.

    Where clocks are put back an hour is shown twice, so the result need not rise.

    Args:
        times: int64[T], unix seconds.
        zone: IANA name.

    >>> summer, winter = 1_750_000_000, 1_765_000_000
    >>> (wall_seconds(np.array([summer, winter]), "Europe/Berlin") - [summer, winter]).tolist()
    [7200, 3600]
    """
    if zone == "UTC" or not len(times):
        return times
    years = times.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    first, last = np.clip([years.min(), years.max()], _EARLIEST_YEAR, _LATEST_YEAR)
    known = [_offsets(zone, year) for year in range(int(first), int(last) + 1)]
    since = np.concatenate([since for since, _ in known])
    offset = np.concatenate([offset for _, offset in known])
    at = np.searchsorted(since, times, side="right") - 1
    return np.asarray(times + offset[np.maximum(at, 0)])


@lru_cache(maxsize=1024)
def _offsets(zone: str, year: int) -> tuple[Seconds, Seconds]:
    """Returns since when, unix seconds, clocks in `zone` are how many seconds ahead of UTC."""
    clock = ZoneInfo(zone)

    def ahead(time: int) -> int:
        offset = datetime.fromtimestamp(time, UTC).astimezone(clock).utcoffset() or timedelta()
        return round(offset.total_seconds())

    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    days = range(start, int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()) + 1, DAY)
    offsets = [ahead(day) for day in days]
    since, shown = [start], [offsets[0]]
    for index in range(1, len(days)):
        if offsets[index] == offsets[index - 1]:
            continue
        before, after = days[index - 1], days[index]
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if ahead(middle) == shown[-1] else (before, middle)
        since.append(after)
        shown.append(offsets[index])
    return np.array(since, dtype=np.int64), np.array(shown, dtype=np.int64)


def days_and_months(wall: Seconds) -> tuple[Seconds, Seconds, Seconds, Seconds]:
    """Returns day and month of wall-clock times, all int64[T].

    Returns:
        the day since the start of 1970, the day in its month from 0, the number of days that the
        month has, and the month since the start of 1970.
    """
    day = wall // DAY
    month = day.astype("datetime64[D]").astype("datetime64[M]")
    first, length = month_bounds(month.astype(np.int64))
    return day, day - first, length, month.astype(np.int64)


def month_bounds(month: Seconds) -> tuple[Seconds, Seconds]:
    """Returns the first day of each month since 1970, in days since then, and its length."""
    names = month.astype("datetime64[M]")
    first = names.astype("datetime64[D]").astype(np.int64)
    return first, (names + 1).astype("datetime64[D]").astype(np.int64) - first


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Something that comes back: after a fixed time, or on the same day of every month.

    A period that is a whole number of days, or a whole part of one, is a rhythm of the wall clock;
    any other cannot keep to it and is counted in UTC.

    Attributes:
        period: seconds; None stands for the calendar month.
        zone: IANA name of the zone whose clock is meant.
    """

    period: int | None
    zone: str = "UTC"

    def phase(self, times: Seconds, nodes: int) -> tuple[Seconds, NDArray[np.float64]]:
        """Returns which turn each tick is in and where in it, in nodes.

        The calendar month has 31 nodes, a day each: its first days are counted from its start and
        its last thirteen from its end, so that both the 15th and the last day are the same node in
        every month; a short month lacks nodes in the middle.

        Args:
            times: int64[T], unix seconds.
            nodes: how many nodes one turn has.

        Returns:
            int64[T] and float64[T] in [0, nodes).
        """
        if self.period is None:
            _, in_month, length, month = days_and_months(wall_seconds(times, self.zone))
            from_end = in_month >= length - _FROM_THE_END
            node = np.where(from_end, MONTH_NODES - length + in_month, in_month)
            return month, node.astype(np.float64)
        of_the_wall = self.period % DAY == 0 or DAY % self.period == 0
        shown = wall_seconds(times, self.zone) if of_the_wall else times
        turn, within = np.divmod(shown, self.period)
        return turn, within * (nodes / self.period)
