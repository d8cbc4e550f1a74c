"""What every family must do for any series: steps equal a backtest, and nobody looks ahead."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank
from metricwatch.resources.algorithm import (
    LstmParameters,
    RandomForestParameters,
    TcnParameters,
    XgboostParameters,
)
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid

SERIES = 3
STEP = 600
TRAIN = Grid(start=1_700_000_400 // STEP * STEP, step=STEP, count=3 * 144)
LIVE = Grid(start=TRAIN.end + STEP, step=STEP, count=80)
PARAMETERS: dict[str, ApiModel] = {
    "tcn": TcnParameters(channels=3, layers=3, epochs=2, segments=4, chunk_length=8, ridge_lags=6),
    "lstm": LstmParameters(hidden=4, epochs=2, segments=4, chunk_length=8, ridge_lags=6),
    "randomForest": RandomForestParameters(trees=8),
    "xgboost": XgboostParameters(rounds=8),
}
Make = Callable[[str], Bank]


def shop(grid: Grid) -> NDArray[np.float64]:
    rng = np.random.default_rng(7)
    day = np.sin(2 * np.pi * grid.timestamps() / 86400)
    level = np.array([[0.001], [50.0], [3e9]])
    noise = rng.standard_normal((SERIES, grid.count))
    return np.asarray(level * (1 + 0.3 * day + 0.02 * noise))


def learn(name: str, values: NDArray[np.float64], *, seed: int = 0) -> Bank:
    """Families that learn from labels get the same few of them in every series."""
    labels = np.zeros(values.shape, dtype=np.bool_)
    labels[:, 300:310] = True
    family = FAMILIES[name]
    return family.fit(
        values,
        TRAIN,
        PARAMETERS.get(name),
        seed=seed,
        labels=labels if family.learns_from_labels else None,
    )


@cache
def parts(name: str) -> tuple[Any, Any]:
    bank = learn(name, shop(TRAIN), seed=1)
    return bank.header(), bank.tensors()


def bank_of(name: str) -> Bank:
    header, tensors = parts(name)
    return FAMILIES[name].restore(header, {key: value.copy() for key, value in tensors.items()})


def steps(bank: Bank, grid: Grid, values: NDArray[np.float64]) -> NDArray[np.float64]:
    times = grid.timestamps().tolist()
    return np.stack([bank.step(at, values[:, i]).expected for i, at in enumerate(times)], axis=1)


samples = st.lists(
    st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([1e3, -1e3, 0.0])),
    min_size=LIVE.count,
    max_size=LIVE.count,
)


def live(offsets: list[float | None]) -> NDArray[np.float64]:
    """Ordinary samples with gaps, outliers and steps of many sizes."""
    change = np.array([np.nan if one is None else one for one in offsets])
    return np.asarray(shop(LIVE) * (1 + change))


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(offsets=samples, cut=st.integers(0, LIVE.count))
def test_a_backtest_gives_what_the_steps_give_wherever_it_is_cut(
    name: str, offsets: list[float | None], cut: int
) -> None:
    values = live(offsets)
    expected = steps(bank_of(name), LIVE, values)
    bank = bank_of(name)
    halves = [
        bank.backtest(LIVE.part(0, cut), values[:, :cut]).expected,
        bank.backtest(LIVE.part(cut, LIVE.count - cut), values[:, cut:]).expected,
    ]
    np.testing.assert_allclose(np.concatenate(halves, axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(offsets=samples, cut=st.integers(1, LIVE.count - 1), later=st.floats(-5, 5))
@example(offsets=[None] * 58 + [0.0] * 10 + [None] * 12, cut=68, later=0.0)  # half a window
def test_what_comes_later_changes_no_earlier_expectation(
    name: str, offsets: list[float | None], cut: int, later: float
) -> None:
    values = live(offsets)
    other = values.copy()
    other[:, cut:] = later
    first = bank_of(name).backtest(LIVE, values).expected
    second = bank_of(name).backtest(LIVE, other).expected
    # The expectation for the tick at the cut was made before its sample was seen.
    np.testing.assert_array_equal(first[:, : cut + 1], second[:, : cut + 1])


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=15, deadline=None)
@given(offsets=samples)
def test_a_missing_sample_has_no_residual_and_poisons_nothing(
    name: str, offsets: list[float | None]
) -> None:
    values = live(offsets)
    bank = bank_of(name)
    prediction = bank.backtest(LIVE, values)
    assert np.isnan(prediction.residual[np.isnan(values)]).all()
    # After as many ordinary samples as it asks for, every bank knows what to expect again.
    after = Grid(start=LIVE.end + STEP, step=STEP, count=bank.warmup + 1)
    last = bank.backtest(after, shop(after))
    assert np.isfinite(last.expected[:, -1]).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_series_does_not_feel_its_neighbours(name: str) -> None:
    values = shop(LIVE)
    quiet = bank_of(name).backtest(LIVE, values).expected[0]
    values[1:] = 1e6
    np.testing.assert_array_equal(bank_of(name).backtest(LIVE, values).expected[0], quiet)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_gives_the_same_bank(name: str) -> None:
    _, tensors = parts(name)
    again = learn(name, shop(TRAIN), seed=1).tensors()
    assert again.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_first_axis_of_every_tensor_is_the_series_or_one_for_what_they_share(
    name: str,
) -> None:
    shared = getattr(bank_of(name), "shared_tensors", frozenset())
    _, tensors = parts(name)
    assert {len(value) for key, value in tensors.items() if key not in shared} == {SERIES}
    assert {len(value) for key, value in tensors.items() if key in shared} <= {1}


@pytest.mark.parametrize("name", FAMILIES)
def test_history_of_another_length_than_its_grid_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the grid has"):
        FAMILIES[name].fit(shop(TRAIN)[:, 1:], TRAIN)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_series_without_any_sample_expects_something_finite_or_nothing(name: str) -> None:
    values = shop(TRAIN)
    values[0] = np.nan
    bank = learn(name, values)
    prediction = bank.backtest(LIVE, shop(LIVE))
    assert not np.isinf(prediction.expected).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_constant_series_is_expected_to_stay(name: str) -> None:
    values = np.full((2, TRAIN.count), [[0.0], [5.0]])
    bank = learn(name, values)
    live_values = np.full((2, LIVE.count), [[0.0], [5.0]])
    expected = bank.backtest(LIVE, live_values).expected[:, -1]
    np.testing.assert_allclose(expected, [0.0, 5.0], atol=1e-3)
