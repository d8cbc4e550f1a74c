"""Trend with changepoints, the level followed, and the spread by hour of the day."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import seasonal
from metricwatch.algorithms.phase_spread import learn_phase_spread
from metricwatch.algorithms.seasonal_level import DayLevel, blocks_of_day, follow
from metricwatch.algorithms.trend import MOST_KNOTS, Trend, learn_trend
from metricwatch.resources.seasonal import SeasonalParameters, SeasonalTrend
from metricwatch.series import Grid

HOUR, DAY = 3600, 86400
START = 19_700 * DAY
Values = NDArray[np.float64]


def hourly(days: int, *, start: int = START) -> Grid:
    return Grid(start, HOUR, 24 * days)


def days_since(grid: Grid) -> Values:
    return np.asarray((grid.timestamps() - START) / DAY)


def noise(grid: Grid, *, seed: int = 0, series: int = 1) -> Values:
    return np.random.default_rng(seed).standard_normal((series, grid.count))


def learned(values: Values, grid: Grid, *, bends: bool = True) -> Trend:
    trend = learn_trend(values, grid, bends=bends)
    assert trend is not None
    return trend


def slope_a_day(trend: Trend) -> Values:
    return np.asarray(trend.slope * DAY / trend.spacing, dtype=np.float64)


def test_a_straight_line_is_found_with_its_slope() -> None:
    grid = hourly(28)
    values = 2.0 * days_since(grid) + noise(grid)
    trend = learned(values, grid)
    assert slope_a_day(trend)[0] == pytest.approx(2.0, abs=0.05)
    np.testing.assert_allclose(trend.at(grid.timestamps())[:, 0], 2 * days_since(grid), atol=0.8)


def test_a_line_bends_where_the_history_does() -> None:
    grid = hourly(40)
    day = days_since(grid)
    truth = 3.0 * np.minimum(day, 16) - 1.0 * np.maximum(day - 28, 0)
    trend = learned(truth + noise(grid), grid)
    assert np.abs(trend.at(grid.timestamps())[:, 0] - truth).max() < 2.5
    assert slope_a_day(trend)[0] == pytest.approx(-1.0, abs=0.2)


def test_one_straight_line_is_what_linear_means() -> None:
    grid = hourly(40)
    trend = learned(2.0 * days_since(grid) + noise(grid), grid, bends=False)
    assert len(trend.knots) == 2


def test_noise_and_a_wandering_level_have_no_slope() -> None:
    grid = hourly(28)
    flat = noise(grid, series=30)
    wandering = 0.3 * noise(grid, seed=1, series=30).cumsum(axis=1)
    assert np.count_nonzero(slope_a_day(learned(flat, grid))) == 0
    assert np.count_nonzero(slope_a_day(learned(wandering, grid))) <= 6


def test_an_incident_of_days_bends_no_line() -> None:
    grid = hourly(28)
    values = 2.0 * days_since(grid) + noise(grid)
    values[:, 24 * 20 : 24 * 22] += 500
    trend = learned(values, grid)
    np.testing.assert_allclose(trend.at(grid.timestamps())[:, 0], 2 * days_since(grid), atol=3)


def test_gaps_and_series_without_samples_have_a_finite_trend() -> None:
    grid = hourly(28)
    values = 2.0 * days_since(grid) + noise(grid, series=3)
    values[0, 24 * 8 : 24 * 14] = np.nan
    values[1] = np.nan
    trend = learned(values, grid)
    assert slope_a_day(trend)[[0, 2]] == pytest.approx([2.0, 2.0], abs=0.1)
    assert slope_a_day(trend)[1] == 0
    assert np.isfinite(trend.knots).all()


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e15])
def test_a_trend_is_the_same_in_any_unit(size: float) -> None:
    grid = hourly(28)
    trend = learned(size * (2.0 * days_since(grid) + noise(grid)), grid)
    assert slope_a_day(trend)[0] / size == pytest.approx(2.0, abs=0.05)


def test_a_series_that_rests_and_jumps_does_not_break_the_fit() -> None:
    grid = hourly(28)
    values = np.zeros((2, grid.count))
    values[0, 24 * 14 :] = 1e15
    values[1, 100] = 1e15
    assert np.isfinite(learned(values, grid).knots).all()


def test_a_week_is_what_a_trend_takes() -> None:
    assert learn_trend(noise(hourly(6)), hourly(6), bends=True) is None
    assert learn_trend(noise(hourly(7)), hourly(7), bends=True) is not None


def test_a_history_of_years_has_knots_a_few_and_no_more() -> None:
    grid = Grid(START, DAY, 800)
    trend = learned(0.1 * days_since(grid) + noise(grid), grid)
    assert len(trend.knots) <= MOST_KNOTS
    assert slope_a_day(trend)[0] == pytest.approx(0.1, abs=0.01)


def test_a_slope_goes_on_and_fades() -> None:
    grid = hourly(28)
    trend = learned(2.0 * days_since(grid) + noise(grid), grid)
    ends = grid.end + HOUR
    after = trend.at(np.array([ends, ends + DAY, ends + 7 * DAY, ends + 365 * DAY]))[:, 0]
    rise = np.diff(after)
    assert rise[0] == pytest.approx(2.0 * 0.93, abs=0.1)
    assert after[-1] - after[0] == pytest.approx(14.0, abs=0.5)


def test_before_its_history_a_trend_is_level() -> None:
    grid = hourly(28)
    trend = learned(2.0 * days_since(grid) + noise(grid), grid)
    before = trend.at(np.array([START - 100 * DAY, START]))
    assert before[0] == before[1]


@pytest.mark.parametrize("kind", SeasonalTrend)
def test_a_growing_series_is_expected_to_grow_unless_it_is_told_not_to(
    kind: SeasonalTrend,
) -> None:
    history, live = hourly(28), hourly(2, start=START + 28 * DAY)
    values = 100 + 10 * days_since(history) + noise(history)
    bank = seasonal.fit(values, history, SeasonalParameters(trend=kind))
    bank.backtest(history.part(24 * 26, 48), values[:, -48:])
    later = 100 + 10 * days_since(live) + noise(live, seed=1)
    behind = bank.backtest(live, later).residual.mean()
    # What the level follows is on average half a day old.
    expected = 5.0 if kind is SeasonalTrend.NONE else 0.0
    assert behind == pytest.approx(expected, abs=1.5)


def blocks(values: list[float | None], level: float = 0.0) -> list[float]:
    """The level that holds in each half hour, one sample in each."""
    samples = np.array([[np.nan if value is None else value] for value in values])
    times = START + 1800 * np.arange(len(values), dtype=np.int64)
    held = follow(DayLevel(np.array([level]), step=1800), times, samples)
    return [float(value) for value in held[:, 0]]


def test_a_level_is_the_median_of_a_day_of_half_hours() -> None:
    held = blocks([10.0] * 49)
    assert held[:24] == [0.0] * 24
    assert held[24:] == [5.0] + [10.0] * 24


def test_a_level_is_what_a_plain_median_says_whatever_comes() -> None:
    rng = np.random.default_rng(3)
    samples = rng.choice([np.nan, 0.0, 0.0, 1.0, -1.0, 1e9], (300, 5)) + 0.0
    times = START + 1800 * np.arange(300, dtype=np.int64)
    held = follow(DayLevel(np.zeros(5), step=1800), times, samples)
    for series in range(5):
        seen = [0.0] * 48
        for tick in range(300):
            assert held[tick, series] == np.median(seen[-48:])
            seen += [samples[tick, series]] * int(np.isfinite(samples[tick, series]))


def test_after_days_of_silence_the_last_level_stands_and_one_sample_moves_it_not() -> None:
    held = blocks([3.0] * 60 + [None] * 100 + [1000.0] + [None] * 2)
    assert held[60:] == [3.0] * 103


def test_a_new_level_after_an_outage_is_accepted_within_a_day() -> None:
    held = blocks([3.0] * 60 + [None] * 100 + [1000.0] * 26)
    assert held[160 + 23] == 3.0
    assert held[160 + 25] == 1000.0


def test_no_ticks_move_no_level() -> None:
    level = DayLevel(np.ones(2), step=60)
    assert follow(level, np.empty(0, dtype=np.int64), np.empty((0, 2))).shape == (0, 2)
    assert level.value.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("step", "count"), [(1, 48), (300, 48), (HOUR, 24), (DAY, 8)])
def test_a_day_has_as_many_blocks_as_the_step_allows(step: int, count: int) -> None:
    assert blocks_of_day(step) == count


def test_a_history_that_ends_in_silence_ends_at_the_level_before_it() -> None:
    grid = hourly(30)
    values = 100.0 + noise(grid, series=3)
    values[:, 24 * 20 :] += 50
    values[0, 24 * 26 :] = np.nan
    values[2] = np.nan
    bank = seasonal.fit(values, grid, SeasonalParameters(trend=SeasonalTrend.NONE))
    expected = bank.step(grid.end + HOUR, np.full(3, np.nan)).expected
    assert expected == pytest.approx([150, 150, 0], abs=2)


def rough_at_noon(grid: Grid, *, seed: int = 0, series: int = 1) -> Values:
    """Ten times as rough from ten to fourteen as at other times."""
    hour = grid.timestamps() % DAY // HOUR
    return np.asarray(
        noise(grid, seed=seed, series=series) * np.where((hour >= 10) & (hour < 14), 10.0, 1.0)
    )


def test_the_spread_of_an_hour_is_learned_where_hours_differ() -> None:
    grid = Grid(START, 300, 288 * 14)
    overall, ratio = learn_phase_spread(rough_at_noon(grid), grid, "UTC")
    at = ratio.at(np.array([START + 12 * HOUR, START + 2 * HOUR]))[:, 0] * overall[0]
    assert at[0] / at[1] > 5


def test_one_deviation_is_odd_at_night_and_nothing_at_noon() -> None:
    history = Grid(START, 300, 288 * 14)
    bank = seasonal.fit(rough_at_noon(history), history)
    live = Grid(history.end + 300, 300, 288)
    values = np.full((1, 288), 8.0)
    evidence = bank.backtest(live, values).evidence[1, 0]
    assert evidence[24] > 4 * evidence[144]
    assert [stream.name for stream in bank.streams] == ["residual", "phase_residual"]


def test_hours_that_differ_by_chance_have_one_spread() -> None:
    grid = Grid(START, 300, 288 * 14)
    _, ratio = learn_phase_spread(noise(grid, series=30), grid, "UTC")
    far = np.abs(np.log(ratio.nodes.astype(np.float64))).max(axis=0)
    assert np.count_nonzero(far > 0.05) <= 8
    assert far.max() < 0.25


def test_three_days_are_too_few_for_a_spread_by_hour() -> None:
    grid = Grid(START, 300, 288 * 3)
    _, ratio = learn_phase_spread(rough_at_noon(grid), grid, "UTC")
    assert set(ratio.nodes.ravel().tolist()) == {1.0}


def test_a_step_of_a_day_has_one_spread() -> None:
    grid = Grid(START, DAY, 100)
    _, ratio = learn_phase_spread(noise(grid), grid, "UTC")
    assert ratio.nodes.shape == (1, 1)


def test_a_constant_series_has_a_spread_above_nothing() -> None:
    grid = hourly(10)
    bank = seasonal.fit(np.full((2, grid.count), [[0.0], [500.0]]), grid)
    assert bank.tensors()["spread"].tolist() == [1e-9, 5.0]


def test_spreads_follow_the_wall_clock() -> None:
    grid = Grid(START, 300, 288 * 14)
    values = rough_at_noon(grid)
    bank = seasonal.fit(values, grid, SeasonalParameters(time_zone="Asia/Tokyo"))
    nodes = bank.tensors()["spread_ratio"][0]
    assert abs(int(np.argmax(nodes)) - 21) <= 1
