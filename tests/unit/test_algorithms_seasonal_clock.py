"""Phases by the clock on the wall: zones, switches of clocks, months."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import seasonal
from metricwatch.algorithms.profile import learn_profile
from metricwatch.algorithms.wall_clock import (
    DAY,
    MONTH_NODES,
    Rhythm,
    days_and_months,
    wall_seconds,
)
from metricwatch.resources.seasonal import SeasonalParameters
from metricwatch.series import Grid

HOUR = 3600
BERLIN = "Europe/Berlin"


def unix(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def at(*texts: str, zone: str = "UTC") -> NDArray[np.int64]:
    return np.array([unix(text, zone) for text in texts], dtype=np.int64)


@pytest.mark.parametrize(
    "zone", ["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
)
def test_the_wall_clock_is_what_the_standard_library_says(zone: str) -> None:
    times = np.arange(unix("2023-12-30"), unix("2025-02-01"), 5 * HOUR + 17, dtype=np.int64)
    clock = ZoneInfo(zone)
    shown = [
        round((local.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
        for local in (datetime.fromtimestamp(int(time), clock) for time in times)
    ]
    np.testing.assert_array_equal(wall_seconds(times, zone), shown)


def test_an_offset_changes_at_its_very_second() -> None:
    switch = unix("2025-03-30T01:00")
    offsets = wall_seconds(np.array([switch - 1, switch]), BERLIN) - [switch - 1, switch]
    assert offsets.tolist() == [HOUR, 2 * HOUR]


def test_times_out_of_reach_of_a_calendar_have_the_offset_of_the_nearest_year() -> None:
    times = np.array([-(10**11), 10**11])
    assert np.abs(wall_seconds(times, "Asia/Kolkata") - times).max() < DAY


def test_no_times_have_no_wall_clock() -> None:
    assert wall_seconds(np.empty(0, dtype=np.int64), BERLIN).shape == (0,)


def test_days_and_months_are_those_of_the_calendar() -> None:
    day, in_month, length, month = days_and_months(at("2024-02-29T23:59", "1969-12-31"))
    assert day.tolist() == [19782, -1]
    assert in_month.tolist() == [28, 30]
    assert length.tolist() == [29, 31]
    assert month.tolist() == [54 * 12 + 1, -1]


def test_a_day_of_the_wall_clock_begins_at_local_midnight_in_summer_and_winter() -> None:
    times = at("2025-01-15T00:00", "2025-07-15T00:00", zone=BERLIN)
    _, position = Rhythm(DAY, BERLIN).phase(times, 24)
    assert position.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("period", [5 * HOUR, 10 * DAY + 1])
def test_a_period_that_cannot_keep_to_the_wall_clock_is_counted_in_utc(period: int) -> None:
    times = at("2025-07-15T13:00")
    turn, position = Rhythm(period, BERLIN).phase(times, 10)
    assert (turn[0], position[0]) == (
        times[0] // period,
        pytest.approx(times[0] % period * 10 / period),
    )


def test_the_fifteenth_and_the_last_day_are_the_same_node_in_every_month() -> None:
    months = [f"{year}-{month:02}" for year in (2023, 2024) for month in range(1, 13)]
    rhythm = Rhythm(None)
    for day in (1, 15):
        _, node = rhythm.phase(at(*(f"{month}-{day:02}T12:00" for month in months)), MONTH_NODES)
        assert set(node) == {day - 1}
    firsts = at(*(f"{month}-01T00:00" for month in months))
    _, node = rhythm.phase(firsts[1:] - 1, MONTH_NODES)
    assert set(node) == {30}


def test_the_days_of_one_month_have_nodes_of_their_own() -> None:
    for start, days in (("2023-02-01", 28), ("2024-02-01", 29), ("2024-04-01", 30)):
        times = unix(start) + DAY * np.arange(days, dtype=np.int64)
        turn, node = Rhythm(None).phase(times, MONTH_NODES)
        assert len(set(turn.tolist())) == 1
        assert (np.diff(node) > 0).all()


def opening_hours(grid: Grid, zone: str) -> NDArray[np.float64]:
    """A shop open from nine to seventeen by its own clock."""
    hour = wall_seconds(grid.timestamps(), zone) % DAY // HOUR
    noise = np.random.default_rng(grid.start).standard_normal(grid.count)
    return (50.0 + 30.0 * ((hour >= 9) & (hour < 17)) + noise)[None]


def worst_hour(residual: NDArray[np.float64]) -> float:
    return float(np.abs(residual[0].reshape(-1, 12).mean(axis=1)).max())


@pytest.mark.parametrize("switch", ["2025-03-30", "2025-10-26"])
def test_a_rhythm_survives_the_switch_of_clocks(switch: str) -> None:
    start = unix(switch) - 16 * DAY
    history, live = Grid(start, 300, 14 * 288), Grid(start + 14 * DAY, 300, 5 * 288)
    values, later = opening_hours(history, BERLIN), opening_hours(live, BERLIN)
    local = seasonal.fit(values, history, SeasonalParameters(time_zone=BERLIN))
    assert worst_hour(local.backtest(live, later).residual) < 5
    plain = seasonal.fit(values, history)
    assert worst_hour(plain.backtest(live, later).residual) > 20


def test_a_history_with_a_switch_in_it_teaches_the_rhythm_all_the_same() -> None:
    for switch in ("2025-03-30", "2025-10-26"):
        start = unix(switch) - 6 * DAY
        history, live = Grid(start, 300, 14 * 288), Grid(start + 14 * DAY, 300, 288)
        values = opening_hours(history, BERLIN)
        bank = seasonal.fit(values, history, SeasonalParameters(time_zone=BERLIN))
        assert worst_hour(bank.backtest(live, opening_hours(live, BERLIN)).residual) < 5


def month_end(grid: Grid) -> NDArray[np.float64]:
    """Bookings: four times as many on the last day of a month."""
    _, in_month, length, _ = days_and_months(grid.timestamps())
    noise = np.random.default_rng(grid.start).standard_normal(grid.count)
    return (100.0 + 300.0 * (in_month == length - 1) + noise)[None]


def test_the_last_day_of_a_month_is_expected_where_months_are_asked_for() -> None:
    history = Grid(unix("2025-01-01"), HOUR, 24 * 120)
    live = Grid(history.end + HOUR, HOUR, 24 * 40)
    values, later = month_end(history), month_end(live)
    bank = seasonal.fit(values, history, SeasonalParameters(monthly=True))
    assert bank.header()["monthly"] is True
    assert np.abs(bank.backtest(live, later).residual).max() < 40
    plain = seasonal.fit(values, history).backtest(live, later).residual
    assert np.abs(plain).max() > 200


def test_noise_over_months_gives_a_flat_month() -> None:
    history = Grid(unix("2025-01-01"), HOUR, 24 * 100)
    noise = np.random.default_rng(0).standard_normal((20, history.count))
    wander = 0.05 * noise.cumsum(axis=1)
    bank = seasonal.fit(noise + wander, history, SeasonalParameters(monthly=True))
    month = bank.tensors()["profile_month"]
    assert np.count_nonzero(np.abs(month).max(axis=1) > 0.5) <= 4


def test_two_months_of_history_are_too_few_for_a_month() -> None:
    history = Grid(unix("2025-01-01"), HOUR, 24 * 70)
    bank = seasonal.fit(month_end(history), history, SeasonalParameters(monthly=True))
    assert bank.header()["monthly"] is False


def test_samples_half_way_between_two_phases_move_no_profile() -> None:
    # A week has 168 phases of an hour, and every other sample lies between two of them.
    grid = Grid(unix("2025-01-06"), HOUR // 2, 4 * 7 * 48)
    truth = 100 * np.sin(2 * np.pi * grid.timestamps() / (7 * DAY))
    profile = learn_profile(truth[None], grid, rhythm=Rhythm(7 * DAY), most_nodes=168)
    assert np.abs(profile.at(grid.timestamps())[:, 0] - truth).max() < 0.1


def test_one_hour_shown_twice_is_one_part_of_the_day() -> None:
    night = unix("2025-10-26T00:00")
    times = night + HOUR * np.arange(4, dtype=np.int64)
    _, position = Rhythm(DAY, BERLIN).phase(times, 24)
    assert position.tolist() == [2.0, 2.0, 3.0, 4.0]
    assert timedelta(seconds=int(wall_seconds(times, BERLIN)[1] - times[1])) == timedelta(hours=1)
