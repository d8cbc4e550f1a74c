"""Cron lines in a time zone: when they were due last, when they are due next.

When clocks change, a line that names an hour (`30 2 * * *`) is due once a day all the same: on the
day without that hour as soon as it is over, on the day that has it twice the first time. A line
for every hour follows the time that passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import croniter

from metricwatch.anomalies.policy import MaintenanceWindow

_MINUTE = 60
_LONGEST_MAINTENANCE_SECONDS = 31 * 86400


def latest_due(line: str, time_zone: str, now: float) -> int:
    """The newest time, at `now` or before, at which a line is due; unix seconds.

    >>> latest_due("0 3 * * *", "UTC", 1_772_366_400)  # 2026-03-01T12:00:00Z
    1772334000
    """
    return _latest(line, time_zone, int(now) // _MINUTE)


def next_due(line: str, time_zone: str, now: float) -> int:
    """The first time after `now` at which a line is due; unix seconds.

    >>> next_due("0 3 * * *", "UTC", 1_772_366_400)
    1772420400
    """
    return _next(line, time_zone, int(now) // _MINUTE)


# Looked up with every reconcile of every model; the answer is the same for a whole minute.
@lru_cache(maxsize=4096)
def _latest(line: str, time_zone: str, minute: int) -> int:
    # croniter looks strictly before its starting point.
    times = croniter(line, _local(minute * _MINUTE + 1, time_zone))
    time: datetime = times.get_prev(datetime)
    while _is_repeated(line, time):
        time = times.get_prev(datetime)
    return int(time.timestamp())


@lru_cache(maxsize=4096)
def _next(line: str, time_zone: str, minute: int) -> int:
    times = croniter(line, _local(minute * _MINUTE, time_zone))
    time: datetime = times.get_next(datetime)
    while _is_repeated(line, time):
        time = times.get_next(datetime)
    return int(time.timestamp())


def _local(unix_seconds: int, time_zone: str) -> datetime:
    return datetime.fromtimestamp(unix_seconds, ZoneInfo(time_zone))


def _is_repeated(line: str, time: datetime) -> bool:
    """Whether a line that names an hour was due at this time of day an hour ago already."""
    hours = line.split()[1]
    # A fold says nothing of a time that clocks show once: the offsets do.
    is_second = time.utcoffset() != time.replace(fold=0).utcoffset()
    return is_second and not hours.startswith("*")


def maintenance_end(windows: Iterable[MaintenanceWindow], now: float) -> int | None:
    """When maintenance that covers `now` is over, unix seconds; None when none covers it.

    Windows that follow each other without a gap are one; after a month of them the search ends.
    """
    known = tuple(windows)
    end = now = int(now)
    while end < now + _LONGEST_MAINTENANCE_SECONDS:
        latest = max((window.end(end) for window in known), default=end)
        if latest <= end:
            break
        end = latest
    return end if end > now else None
