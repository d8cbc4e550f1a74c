"""Windows and levels are the same to the last bit however the ticks are cut into calls."""

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms import subspace_pca
from metricwatch.algorithms.level import TrailingLevel
from metricwatch.algorithms.subspace_pca import SubspacePcaBank
from metricwatch.algorithms.subspace_windows import five_medians
from metricwatch.series import Grid

STEP = 300
TRAIN = Grid(0, STEP, 400)
TICKS = 60
values_of = st.one_of(
    st.just(np.nan), st.floats(-3, 3), st.floats(-1e12, 1e12), st.sampled_from([1e300, -1e300])
)
samples = st.lists(st.tuples(values_of, values_of), min_size=TICKS, max_size=TICKS)
cuts = st.lists(st.integers(0, TICKS), max_size=5).map(lambda inner: [0, *sorted(inner), TICKS])


@cache
def parts() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    history = np.random.default_rng(0).standard_normal((2, TRAIN.count)).cumsum(axis=1)
    bank = subspace_pca.fit(history, TRAIN)
    return bank.header(), bank.tensors()


def bank_of() -> SubspacePcaBank:
    header, tensors = parts()
    return subspace_pca.restore(header, tensors)


@settings(max_examples=60, deadline=None)
@given(samples=samples, cuts=cuts, start=st.integers(0, 10**6))
def test_evidence_is_the_same_to_the_last_bit_however_it_is_cut(
    samples: list[tuple[float, float]], cuts: list[int], start: int
) -> None:
    values, live = np.array(samples).T, Grid(start * 60, STEP, TICKS)
    bank, whole = bank_of(), bank_of().backtest(live, values)
    pieces = [
        bank.backtest(live.part(first, end - first), values[:, first:end])
        for first, end in pairwise(cuts)
    ]
    evidence = np.concatenate([piece.evidence for piece in pieces], axis=2)
    np.testing.assert_array_equal(evidence, whole.evidence)
    bank = bank_of()
    for index, time in enumerate(live.timestamps().tolist()):
        prediction = bank.step(time, values[:, index])
        np.testing.assert_array_equal(prediction.evidence, whole.evidence[..., index])
        np.testing.assert_array_equal(prediction.expected, whole.expected[:, index])


@settings(max_examples=60, deadline=None)
@given(samples=samples)
def test_a_distance_is_a_number_above_zero_or_nothing(samples: list[tuple[float, float]]) -> None:
    values = np.array(samples).T
    distance = bank_of().backtest(Grid(0, STEP, TICKS), values).evidence[1]
    assert np.isnan(distance[np.isnan(values)]).all()
    assert (distance[~np.isnan(distance)] >= 0).all()
    assert not np.isinf(distance).any()


@settings(max_examples=60, deadline=None)
@given(
    samples=samples,
    step=st.sampled_from([1, 7, 60, 900, 3600, 86400]),
    start=st.integers(0, 10**6),
    pause=st.integers(1, 10**6),
)
def test_a_level_is_the_same_in_steps_and_stays_within_what_was_seen(
    samples: list[tuple[float, float]], step: int, start: int, pause: int
) -> None:
    values = np.clip(np.array(samples).T, -1e30, 1e30)
    first = Grid(start * step, step, TICKS)
    second = Grid(first.end + pause * step, step, TICKS)
    initial = np.array([0.5, -0.5])
    whole, single = TrailingLevel(initial, step), TrailingLevel(initial, step)
    for grid in (first, second):
        levels = whole.follow(grid, values)
        for index, time in enumerate(grid.timestamps().tolist()):
            np.testing.assert_array_equal(single.step(time, values[:, index]), levels[:, index])
        seen = np.concatenate([values, initial[:, None]], axis=1)
        low, high = np.nanmin(seen, axis=1), np.nanmax(seen, axis=1)
        slack = 1e-6 * np.maximum(np.abs(low), np.abs(high))[:, None]
        assert (levels >= low[:, None] - slack).all()
        assert (levels <= high[:, None] + slack).all()


@given(st.lists(st.floats(-10, 10, width=32), min_size=5, max_size=5))
def test_a_median_of_five_is_the_third_in_order(five: list[float]) -> None:
    assert five_medians(np.array([five], dtype=np.float32))[0, 0] == np.float32(sorted(five)[2])
