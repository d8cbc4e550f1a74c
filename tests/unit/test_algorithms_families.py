"""What each family is good at, on series made to show it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, OnlineBank, autoregressive, lstm, seasonal, zscore
from metricwatch.algorithms.base import FitStopped, Progress
from metricwatch.resources.algorithm import (
    AutoregressiveParameters,
    LstmParameters,
    SeasonalParameters,
)
from metricwatch.resources.family_names import AlgorithmType
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

DAY = 86400
START = 19_700 * DAY
SMALL = LstmParameters(hidden=8, epochs=12, segments=8, chunk_length=16, ridge_lags=8)
Values = NDArray[np.float64]


def grid_of(days: float, *, step: int = 300, start: int = START) -> Grid:
    return Grid(start=start, step=step, count=round(days * DAY / step))


def following(grid: Grid, days: float) -> Grid:
    return grid_of(days, step=grid.step, start=grid.end + grid.step)


def rhythm(grid: Grid, *, noise: float = 0.1, seed: int = 0) -> Values:
    """A day of amplitude 10, a weekend 8 lower, a peak of 6 each midnight, around 100."""
    times = grid.timestamps()
    day = 10 * np.sin(2 * np.pi * times / DAY)
    weekend = np.where((times // DAY + 3) % 7 >= 5, -8.0, 0.0)
    peak = np.where(times % DAY < 300, 6.0, 0.0)
    generator = np.random.default_rng(seed)
    return (100 + day + weekend + peak + noise * generator.standard_normal(grid.count))[None]


def rmse(residual: Values) -> float:
    return float(np.sqrt(np.nanmean(residual**2)))


def test_every_supported_type_of_the_api_has_a_family_of_that_name() -> None:
    assert set(FAMILIES) <= {member.value for member in AlgorithmType}
    assert all(family.name == name for name, family in FAMILIES.items())


def test_daily_and_weekly_rhythm_are_learned_from_two_weeks() -> None:
    history = grid_of(14)
    bank = seasonal.fit(rhythm(history), history)
    week = following(history, 7)
    assert rmse(bank.backtest(week, rhythm(week, seed=1)).residual) < 0.8


def test_a_peak_that_comes_every_night_is_expected() -> None:
    history = grid_of(14)
    bank = seasonal.fit(rhythm(history), history)
    days = following(history, 2)
    second_midnight = bank.backtest(days, rhythm(days, seed=1)).residual[0, 288]
    assert abs(second_midnight) < 2.0


@pytest.mark.parametrize("days", [0.2, 0.9, 1.2, 3, 9])
def test_less_history_gives_fewer_profiles_but_always_a_level(days: float) -> None:
    history = grid_of(days)
    bank = seasonal.fit(rhythm(history), history)
    covered = [period for period in (DAY, 7 * DAY) if days * DAY >= 1.5 * period]
    assert bank.header()["periods"] == covered
    expected = bank.step(history.end + 300, np.array([np.nan])).expected
    assert 80 < expected[0] < 125


def test_noise_without_a_rhythm_gives_a_flat_profile() -> None:
    history = grid_of(14)
    noise = np.random.default_rng(0).standard_normal((20, history.count))
    profile = seasonal.fit(noise, history).tensors()["profile_0"]
    assert np.sqrt((profile**2).mean()) < 0.05


def test_an_incident_in_the_history_leaves_no_trace_in_the_profile() -> None:
    history = grid_of(7)
    values = rhythm(history)
    clean = seasonal.fit(values, history).tensors()["profile_0"]
    values[:, 3 * 288 + 100 : 3 * 288 + 130] += 500
    touched = seasonal.fit(values, history).tensors()["profile_0"]
    assert np.abs(touched - clean).max() < 1.0


def test_a_drifted_level_is_followed_within_a_day_and_an_incident_is_not() -> None:
    history = grid_of(7)
    bank = seasonal.fit(rhythm(history), history)
    later = following(history, 2)
    prediction = bank.backtest(later, rhythm(later, seed=1) + 50)
    assert prediction.residual[0, :36].mean() > 40
    assert abs(prediction.residual[0, -36:].mean()) < 3


def test_after_an_outage_of_days_the_last_level_stands() -> None:
    history = grid_of(7)
    bank = seasonal.fit(rhythm(history), history)
    outage = following(history, 3)
    bank.backtest(outage, np.full((1, outage.count), np.nan))
    after = following(outage, 1)
    assert rmse(bank.backtest(after, rhythm(after, seed=1)).residual) < 10


def test_other_periods_than_day_and_week_can_be_asked_for() -> None:
    history = grid_of(2, step=60)
    values = 10 * np.sin(2 * np.pi * history.timestamps() / 3600)[None]
    bank = seasonal.fit(values, history, SeasonalParameters(periods=("1h",)))
    hour = following(history, 1 / 24)
    later = 10 * np.sin(2 * np.pi * hour.timestamps() / 3600)[None]
    assert rmse(bank.backtest(hour, later).residual) < 0.5


def test_an_autoregression_recovers_the_process_it_was_given() -> None:
    rng = np.random.default_rng(0)
    values = np.zeros(5000)
    for tick in range(2, 5000):
        values[tick] = 1.5 * values[tick - 1] - 0.7 * values[tick - 2] + rng.standard_normal()
    grid = Grid(0, 60, 5000)
    bank = autoregressive.fit(values[None], grid, AutoregressiveParameters(lags=4))
    np.testing.assert_allclose(bank.weights[0, -2:], [-0.7, 1.5], atol=0.06)
    assert bank.innovation[0] * bank.scale[0] == pytest.approx(1.0, rel=0.1)


def test_incidents_in_the_history_hardly_bend_an_autoregression() -> None:
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.standard_normal(4000) * 0.1) + rng.standard_normal(4000)
    spoiled = values.copy()
    spoiled[rng.integers(0, 4000, 20)] += 20
    grid = Grid(0, 60, 4000)
    clean, bent = (autoregressive.fit(one[None], grid) for one in (values, spoiled))
    residuals = [bank.backtest(grid, values[None]).residual for bank in (clean, bent)]
    assert rmse(residuals[1]) < 1.15 * rmse(residuals[0])


@pytest.mark.parametrize("name", ["autoregressive", "lstm"])
def test_a_spike_leaves_no_echo(name: str) -> None:
    grid = Grid(0, 60, 2000)
    values = np.random.default_rng(0).standard_normal((1, 2000)).cumsum(axis=1)
    parameters = SMALL if name == "lstm" else None
    bank = FAMILIES[name].fit(values, grid, parameters)
    bank.backtest(grid, values)
    level = values[0, -1]
    after = Grid(grid.end + 60, 60, 20)
    spiked = np.full((1, 20), level)
    spiked[0, 5] += 1000
    residual = bank.backtest(after, spiked).residual[0]
    assert residual[5] > 900
    assert np.abs(residual[6:]).max() < 20


@pytest.mark.parametrize("name", ["autoregressive", "lstm", "zscore"])
def test_a_new_level_far_away_is_accepted(name: str) -> None:
    grid = Grid(0, 60, 2000)
    values = np.random.default_rng(0).standard_normal((1, 2000)).cumsum(axis=1)
    bank = FAMILIES[name].fit(values, grid, SMALL if name == "lstm" else None)
    bank.backtest(grid, values)
    later = Grid(grid.end + 60, 60, 2000)
    moved = values[:, ::-1] + 10_000
    residual = bank.backtest(later, moved).residual[0]
    assert residual[0] > 9_000
    assert abs(residual[-100:].mean()) < 400


def test_a_network_beats_its_autoregression_where_the_next_sample_is_no_weighted_sum() -> None:
    # The logistic map: no linear correlation at all between one value and the next.
    values = np.empty((1, 4000))
    values[0, 0] = 0.3
    for tick in range(1, 4000):
        values[0, tick] = 3.9 * values[0, tick - 1] * (1 - values[0, tick - 1])
    train, test = Grid(0, 60, 3400), Grid(204_000, 60, 600)
    parameters = SMALL.model_copy(update={"learning_rate": 0.02, "epochs": 40})
    base = autoregressive.fit(values[:, :3400], train).backtest(test, values[:, 3400:])
    network = lstm.fit(values[:, :3400], train, parameters).backtest(test, values[:, 3400:])
    assert rmse(network.residual) < 0.6 * rmse(base.residual)


def test_a_network_that_is_no_better_is_switched_off() -> None:
    grid = Grid(0, 60, 1500)
    noise = np.random.default_rng(0).standard_normal((3, 1500))
    tensors = lstm.fit(noise, grid, SMALL).tensors()
    assert (tensors["head"] == 0).all(axis=1).sum() >= 2


def test_a_moving_mean_scores_a_new_series_after_three_samples() -> None:
    bank = zscore.fresh(1, step=60)
    expected = [bank.step(60 * tick, np.array([5.0])).expected[0] for tick in range(5)]
    assert np.isnan(expected[:3]).all()
    assert expected[3:] == [5.0, 5.0]


def test_series_that_appear_later_join_a_moving_mean_without_moving_the_others() -> None:
    bank = zscore.fresh(1, step=60)
    for tick in range(20):
        bank.step(60 * tick, np.array([5.0]))
    assert isinstance(bank, OnlineBank)
    bank.grow(2)
    prediction = bank.step(1200, np.array([5.0, 1.0, np.nan]))
    assert bank.series == 3
    np.testing.assert_array_equal(prediction.expected, [5.0, np.nan, np.nan])


def test_only_online_families_offer_a_fresh_bank() -> None:
    assert [name for name, family in FAMILIES.items() if family.fresh] == ["zscore"]
    bank = seasonal.fit(np.zeros((1, 100)), Grid(0, 60, 100))
    assert not isinstance(bank, OnlineBank)


@pytest.mark.parametrize("scaling", Scaling)
def test_the_scaling_changes_a_forecast_of_ordinary_values_little(scaling: Scaling) -> None:
    grid = Grid(0, 60, 2000)
    rng = np.random.default_rng(0)
    values = 0.5 + 0.1 * np.sin(grid.timestamps() / 3600) + 0.01 * rng.standard_normal((1, 2000))
    bank = autoregressive.fit(values, grid, scaling=scaling)
    assert rmse(bank.backtest(grid, values).residual) < 0.02


@pytest.mark.parametrize("name", ["seasonal", "autoregressive", "lstm"])
def test_a_fit_that_is_to_stop_stops(name: str) -> None:
    grid = Grid(0, 60, 1000)
    with pytest.raises(FitStopped):
        FAMILIES[name].fit(np.zeros((2, 1000)), grid, should_stop=lambda: True)


@pytest.mark.parametrize("name", ["seasonal", "autoregressive", "lstm"])
def test_progress_ends_with_every_series_fitted(name: str) -> None:
    grid = Grid(0, 60, 1000)
    told: list[Progress] = []
    values = np.random.default_rng(0).standard_normal((3, 1000))
    parameters = SMALL if name == "lstm" else None
    FAMILIES[name].fit(values, grid, parameters, progress=told.append)
    assert (told[-1].family, told[-1].series, told[-1].of) == (name, 3, 3)


def test_a_block_of_another_family_is_refused() -> None:
    with pytest.raises(TypeError, match="expected SeasonalParameters, got LstmParameters"):
        seasonal.fit(np.zeros((1, 100)), Grid(0, 60, 100), SMALL)
