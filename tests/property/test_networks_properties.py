"""State of autoregressions and networks: a history gives to the bit what steps give."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms import autoregressive_state
from metricwatch.algorithms.autoregressive_state import MOST, LaggedState
from metricwatch.algorithms.lstm_cells import Cells, Recurrence
from metricwatch.algorithms.tcn_layers import Convolution, Layers

Floats = NDArray[np.float32]
LAGS, SERIES, TICKS = 4, 3, 60

kinds = st.sampled_from(["ordinary"] * 6 + ["missing", "spike", "huge", "gap", "shift"])
events = st.lists(
    st.lists(kinds, min_size=TICKS, max_size=TICKS), min_size=SERIES, max_size=SERIES
)


def history(chosen: list[list[str]], seed: int) -> Floats:
    """Samples float32[S, T] with events; a gap is longer than the lags, a shift stays."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((SERIES, TICKS))
    for row, kinds_of_row in enumerate(chosen):
        for at, kind in enumerate(kinds_of_row):
            if kind == "spike":
                values[row, at] += 50.0 * rng.standard_normal()
            elif kind == "huge":
                values[row, at] = MOST
            elif kind == "shift":
                values[row, at:] += 30.0
    for row, kinds_of_row in enumerate(chosen):
        for at, kind in enumerate(kinds_of_row):
            if kind == "missing":
                values[row, at] = np.nan
            elif kind == "gap":
                values[row, at : at + LAGS + 2] = np.nan
    return values.astype(np.float32)


def lagged() -> LaggedState:
    weights = np.array([[0.0, 0.1, -0.2, 1.0], [0.5, 0.1, 0.1, 0.3], [0.0, 0.0, 0.0, 0.0]])
    bias = np.array([0.0, 0.1, 2.0])
    return LaggedState(
        weights.astype(np.float32), bias.astype(np.float32), np.array([0.5, 1.0, 1e-6])
    )


@settings(max_examples=80, deadline=None)
@given(chosen=events, seed=st.integers(0, 1000), cuts=st.sets(st.integers(0, TICKS), max_size=3))
def test_lags_after_a_history_are_those_after_as_many_ticks(
    chosen: list[list[str]], seed: int, cuts: set[int]
) -> None:
    scaled = history(chosen, seed)
    stepped, run = lagged(), lagged()
    ticks = [stepped.step(scaled[:, at]) for at in range(TICKS)]
    places = [0, *sorted(cuts), TICKS]
    parts = [run.run(scaled[:, a:b]) for a, b in pairwise(places)]
    for which, name in enumerate(("forecast", "taken")):
        one_by_one = np.stack([tick[which] for tick in ticks], axis=1)
        at_once = np.concatenate([part[which] for part in parts], axis=1)
        np.testing.assert_array_equal(at_once, one_by_one, err_msg=name)
    after = history(chosen, seed + 1)
    for at in range(TICKS):
        np.testing.assert_array_equal(run.step(after[:, at])[1], stepped.step(after[:, at])[1])


@settings(max_examples=25, deadline=None)
@given(chosen=events, seed=st.integers(0, 1000), length=st.integers(1, TICKS))
def test_the_length_of_a_block_makes_no_difference(
    chosen: list[list[str]], seed: int, length: int
) -> None:
    scaled = history(chosen, seed)
    whole = lagged().run(scaled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoregressive_state, "_LONGEST_BLOCK", length)
        patch.setattr(autoregressive_state, "_SHORTEST_BLOCK", 1)
        parts = lagged().run(scaled)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=50, deadline=None)
@given(chosen=events, seed=st.integers(0, 1000))
def test_what_enters_the_lags_is_always_a_number_within_bounds(
    chosen: list[list[str]], seed: int
) -> None:
    _, taken = lagged().run(history(chosen, seed))
    assert np.isfinite(taken).all()
    assert np.abs(taken).max() <= MOST


def draw(rng: np.random.Generator, *shape: int) -> Floats:
    return (0.5 * rng.standard_normal(shape)).astype(np.float32)


def recurrence(shared: bool) -> Recurrence:
    rng = np.random.default_rng(0)
    weights = draw(rng, SERIES, 7, 20)
    if shared:
        weights[:, :5] = weights[0, :5]
    return Recurrence(
        Cells.of_weights(weights, draw(rng, SERIES, 5), draw(rng, SERIES), shared=shared)
    )


def convolution(shared: bool) -> Convolution:
    rng = np.random.default_rng(0)
    mixing = draw(rng, SERIES, 3, 8, 4)
    if shared:
        mixing[:] = mixing[0]
    parts = [draw(rng, SERIES, *shape) for shape in ((3, 4), (2, 4), (4,), ())]
    return Convolution(Layers.of_weights(mixing, *parts, shared=shared))


@pytest.mark.parametrize("make", [recurrence, convolution])
@pytest.mark.parametrize("shared", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(0, TICKS), ahead=st.integers(0, 9))
def test_networks_say_the_same_of_a_history_as_tick_by_tick(
    make: Callable[[bool], Any], shared: bool, seed: int, cut: int, ahead: int
) -> None:
    taken = np.random.default_rng(seed).standard_normal((SERIES, TICKS)).astype(np.float32)
    stepped, run = make(shared), make(shared)
    for at in range(ahead):
        run.step(taken[:, at])
        stepped.step(taken[:, at])
    one_by_one = np.stack([stepped.step(taken[:, at]) for at in range(TICKS)], axis=1)
    at_once = np.concatenate([run.run(taken[:, :cut]), run.run(taken[:, cut:])], axis=1)
    np.testing.assert_array_equal(at_once, one_by_one)
    np.testing.assert_array_equal(run.step(taken[:, 0]), stepped.step(taken[:, 0]))


@pytest.mark.parametrize("make", [recurrence, convolution])
@settings(max_examples=25, deadline=None)
@given(size=st.sampled_from([1e3, 1e10, float(MOST)]), seed=st.integers(0, 100))
def test_no_sample_makes_a_network_say_more_than_its_clip(
    make: Callable[[bool], Any], size: float, seed: int
) -> None:
    taken = (size * np.random.default_rng(seed).standard_normal((SERIES, 40))).clip(-MOST, MOST)
    said = make(False).run(taken.astype(np.float32))
    assert np.abs(said).max() <= 8.0
