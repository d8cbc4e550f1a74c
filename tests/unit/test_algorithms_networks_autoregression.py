"""Ridge autoregression: that its shortcuts solve what they say, and what its state does."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import autoregressive
from metricwatch.algorithms.autoregressive import fit_ridge
from metricwatch.algorithms.autoregressive_fit import _HUBER, solve_ridge
from metricwatch.algorithms.base import FitStopped
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

Values = NDArray[np.float64]


def walk(series: int, ticks: int, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    steady = np.zeros((series, ticks))
    for at in range(1, ticks):
        steady[:, at] = 0.8 * steady[:, at - 1] + rng.standard_normal(series)
    return steady


def by_design_matrix(scaled: Values, lags: int, ridge: float, ordinary: float) -> Values:
    """Returns the weights of one series by the textbook, given the size of residuals."""
    held = scaled.copy()
    for at in range(1, len(held)):
        if np.isnan(held[at]):
            held[at] = held[at - 1]
    design = np.array([[*held[at : at + lags], 1.0] for at in range(len(held) - lags)])
    target = scaled[lags:] - held[lags - 1 : -1]
    penalty = ridge * np.diag([1.0] * lags + [1e-3])
    importance = np.where(np.isnan(target), 0.0, 1.0)
    change = np.nan_to_num(target)
    weights = np.zeros(lags + 1)
    for _ in range(3):
        weighted = design.T * importance
        weights = np.linalg.solve(weighted @ design + penalty, weighted @ change)
        excess = np.abs(change - design @ weights) / (_HUBER * ordinary)
        importance = np.where(np.isnan(target), 0.0, 1.0 / np.maximum(excess, 1.0))
    weights[lags - 1] += 1.0
    return weights


def test_sums_of_products_of_windows_give_what_a_design_matrix_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ordinary = 0.3
    monkeypatch.setattr(
        "metricwatch.algorithms.autoregressive_fit._spread",
        lambda residual: np.full(len(residual), ordinary),
    )
    scaled = walk(3, 200)
    scaled[0, 50] = 40.0
    scaled[1, 60:70] = np.nan
    weights, _ = solve_ridge(scaled, 5, 2.0)
    for row, own in zip(scaled, weights, strict=True):
        np.testing.assert_allclose(own, by_design_matrix(row, 5, 2.0, ordinary), rtol=1e-5)


def test_the_size_of_ordinary_residuals_is_that_of_the_noise() -> None:
    values = walk(2, 4000)
    values[:, ::1000] += 50.0
    _, ordinary = solve_ridge(values, 4, 1.0)
    np.testing.assert_allclose(ordinary, 1.0, rtol=0.35)


def test_without_enough_history_the_last_sample_is_expected_again() -> None:
    weights, ordinary = solve_ridge(np.zeros((2, 3)), 3, 1.0)
    np.testing.assert_array_equal(weights, [[0, 0, 1, 0]] * 2)
    assert (ordinary > 0).all()


@pytest.mark.parametrize("ticks", [0, 1, 2, 9])
def test_a_history_of_hardly_any_samples_is_fitted(ticks: int) -> None:
    bank = fit_ridge(np.ones((2, ticks)), lags=32, ridge=1.0)
    said = bank.backtest(Grid(0, 60, 80), np.full((2, 80), 1.0)).expected
    np.testing.assert_allclose(said[:, -1], 1.0, atol=1e-6)


@pytest.mark.parametrize("scaling", list(Scaling))
def test_one_large_sample_does_not_rule_the_fit(scaling: Scaling) -> None:
    values = walk(1, 1000)
    spoiled = values.copy()
    spoiled[0, 500] = 60.0
    own, other = (fit_ridge(one, lags=4, ridge=1.0, scaling=scaling) for one in (values, spoiled))
    live = walk(1, 300, seed=5)
    errors = [
        np.nanmean(bank.backtest(Grid(0, 60, 300), live).residual ** 2) for bank in (own, other)
    ]
    assert errors[1] < 1.5 * errors[0]


def test_a_spike_leaves_no_large_echo_and_a_new_level_is_accepted() -> None:
    wandering = np.cumsum(walk(1, 1000), axis=1)
    bank = fit_ridge(wandering, lags=8, ridge=1.0)
    live = np.zeros((1, 200))
    live[0, 100] = 1000.0
    live[0, 150:] = 1000.0
    residual = np.abs(bank.backtest(Grid(0, 60, 200), live).residual[0])
    assert residual[100] > 900
    assert residual[101:150].max() < 60
    assert residual[165:].max() < 60


def test_after_a_gap_as_long_as_the_lags_a_series_is_cold_until_they_are_filled() -> None:
    bank = fit_ridge(walk(1, 500), lags=6, ridge=1.0)
    live = walk(1, 60, seed=1)
    live[0, 20:26] = np.nan
    expected = bank.backtest(Grid(0, 60, 60), live).expected[0]
    assert np.isfinite(expected[6:26]).all()
    assert np.isnan(expected[26:32]).all()
    assert np.isfinite(expected[32:]).all()


def test_a_history_of_one_series_takes_microseconds_a_sample() -> None:
    from time import process_time

    values = walk(1, 400)
    bank = fit_ridge(values, lags=32, ridge=1.0)
    live = np.random.default_rng(0).standard_normal((1, 100_000))
    live[0, ::500] += 100.0
    bank.backtest(Grid(0, 60, 1000), live[:, :1000])
    began = process_time()
    bank.backtest(Grid(0, 60, 100_000), live)
    assert process_time() - began < 2.0


def test_a_fit_stops_between_blocks_of_series() -> None:
    with pytest.raises(FitStopped):
        fit_ridge(np.zeros((3, 100)), lags=2, ridge=1.0, should_stop=lambda: True)


@pytest.mark.parametrize(
    ("header", "spoil", "message"),
    [
        ({"lags": 0}, {}, "lags is 0"),
        ({"lags": 3}, {}, "weights is"),
        ({"lags": 4}, {"scale": np.zeros(2)}, "above zero"),
        ({"lags": 4}, {"bias": np.full(2, np.nan, dtype=np.float32)}, "no numbers"),
    ],
)
def test_a_stored_autoregression_that_does_not_fit_is_refused(
    header: dict[str, int], spoil: dict[str, Values], message: str
) -> None:
    tensors = fit_ridge(walk(2, 100), lags=4, ridge=1.0).tensors() | spoil
    with pytest.raises(ValueError, match=message):
        autoregressive.restore(header, tensors)
