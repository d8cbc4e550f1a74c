"""Cron lines in time zones, on days when clocks change and on days when they do not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from metricwatch.anomalies.policy import MaintenanceWindow
from metricwatch_operator.planning.schedules import latest_due, maintenance_end, next_due

BERLIN = "Europe/Berlin"


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _text(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")


@pytest.mark.parametrize(
    ("line", "zone", "latest", "following"),
    [
        ("0 3 * * *", "UTC", "2026-06-10T03:00Z", "2026-06-11T03:00Z"),
        ("0 3 * * *", BERLIN, "2026-06-10T01:00Z", "2026-06-11T01:00Z"),
        ("0 12 * * *", "UTC", "2026-06-10T12:00Z", "2026-06-11T12:00Z"),
        ("0 3 * * 0", "America/New_York", "2026-06-07T07:00Z", "2026-06-14T07:00Z"),
        ("0 3 * * 7", "America/New_York", "2026-06-07T07:00Z", "2026-06-14T07:00Z"),
        ("*/15 * * * *", "UTC", "2026-06-10T12:00Z", "2026-06-10T12:15Z"),
        ("0 0 29 2 *", "UTC", "2024-02-29T00:00Z", "2028-02-29T00:00Z"),
        ("30 5 1 1 *", "Asia/Kolkata", "2026-01-01T00:00Z", "2027-01-01T00:00Z"),
        # A day of the month or a day of the week, as cron has it.
        ("0 0 1 * 1", "UTC", "2026-06-08T00:00Z", "2026-06-15T00:00Z"),
    ],
)
def test_a_line_is_due_by_the_clock_of_its_time_zone(
    line: str, zone: str, latest: str, following: str
) -> None:
    now = _seconds("2026-06-10T12:00:00+00:00")
    assert _text(latest_due(line, zone, now)) == latest
    assert _text(next_due(line, zone, now)) == following


def _due(line: str, zone: str, start: str, end: str) -> list[str]:
    """All times after `start` up to `end`, found forwards; backwards they must be the same."""
    first, last = _seconds(start), _seconds(end)
    forwards, time = [], first
    while (time := next_due(line, zone, time)) <= last:
        forwards.append(_text(time))
    backwards, time = [], last
    while (time := latest_due(line, zone, time)) > first:
        backwards.append(_text(time))
        time -= 1
    assert forwards == backwards[::-1]
    return forwards


def test_an_hour_that_is_left_out_is_made_up_for_as_soon_as_it_is_over() -> None:
    # On 2026-03-29 clocks in Berlin go from 02:00 to 03:00, which is 01:00 UTC.
    assert _due("30 2 * * *", BERLIN, "2026-03-28T12:00Z", "2026-03-30T12:00Z") == [
        "2026-03-29T01:00Z",
        "2026-03-30T00:30Z",
    ]


def test_an_hour_that_comes_twice_counts_once() -> None:
    # On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00, which is 01:00 UTC.
    assert _due("30 2 * * *", BERLIN, "2026-10-24T12:00Z", "2026-10-26T12:00Z") == [
        "2026-10-25T00:30Z",
        "2026-10-26T01:30Z",
    ]


@pytest.mark.parametrize("start", ["2026-03-29T00:00Z", "2026-10-25T00:00Z"])
def test_a_line_for_every_hour_follows_the_time_that_passes(start: str) -> None:
    end = start.replace("T00", "T04")
    date = start[:10]
    assert _due("0 * * * *", BERLIN, start, end) == [f"{date}T0{hour}:00Z" for hour in range(1, 5)]


def test_seconds_after_a_minute_change_nothing() -> None:
    at = _seconds("2026-06-10T03:00:00+00:00")
    for late in (0, 1, 59.9):
        assert latest_due("0 3 * * *", "UTC", at + late) == at
        assert next_due("0 3 * * *", "UTC", at + late) == at + 86400
    assert latest_due("0 3 * * *", "UTC", at - 0.1) == at - 86400
    assert next_due("0 3 * * *", "UTC", at - 0.1) == at


def test_no_maintenance_has_no_end() -> None:
    assert maintenance_end((), 0) is None
    assert maintenance_end((MaintenanceWindow("0 3 * * *", "UTC", 60),), 0) is None


def test_maintenance_ends_when_the_last_of_those_that_follow_each_other_does() -> None:
    windows = (
        MaintenanceWindow("0 3 * * *", "UTC", 3600),
        MaintenanceWindow("0 4 * * *", "UTC", 1800),
        MaintenanceWindow("0 5 * * *", "UTC", 1800),
    )
    at = _seconds("2026-06-10T03:10:00+00:00")
    end = maintenance_end(windows, at)
    assert end is not None
    assert _text(end) == "2026-06-10T04:30Z"
    assert maintenance_end(windows, end) is None
