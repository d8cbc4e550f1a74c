"""Rarity and reach, for any residuals."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.calibration import Calibration
from metricwatch.series import Grid

scales = st.floats(1e-6, 1e9)
seeds = st.integers(0, 2**32 - 1)


def fitted(scale: float, seed: int, *, tail: float = 5.0, ticks: int = 800) -> Calibration:
    rng = np.random.default_rng(seed)
    residuals = scale * rng.standard_t(tail, (2, ticks))
    residuals[rng.random(residuals.shape) < 0.05] = np.nan
    return Calibration.fit(residuals, Grid(0, 60, ticks))


@settings(max_examples=40, deadline=None)
@given(scale=scales, seed=seeds, rarity=st.floats(0.01, 7.0), tail=st.floats(1.5, 30))
def test_reach_is_the_inverse_of_rarity(
    scale: float, seed: int, rarity: float, tail: float
) -> None:
    calibration = fitted(scale, seed, tail=tail)
    reach = calibration.reach(rarity)
    assume((reach < 1e34 * calibration.reach(2.0)).all())  # beyond, reach has an end
    np.testing.assert_allclose(calibration.rarity(reach), rarity, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(scale=scales, seed=seeds, sizes=st.lists(st.floats(0, 1e12), min_size=2, max_size=30))
def test_what_is_further_out_is_never_less_rare(
    scale: float, seed: int, sizes: list[float]
) -> None:
    calibration = fitted(scale, seed)
    rarities = [calibration.rarity(np.full(2, size)) for size in sorted(sizes)]
    assert all((np.diff(rarities, axis=0) >= 0).ravel())
    assert np.isfinite(rarities).all()


@settings(max_examples=30, deadline=None)
@given(scale=scales, seed=seeds, size=st.floats(0, 1e6))
def test_above_and_below_are_alike(scale: float, seed: int, size: float) -> None:
    calibration = fitted(scale, seed)
    residual = np.full(2, size * scale)
    np.testing.assert_array_equal(calibration.rarity(residual), calibration.rarity(-residual))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, factor=st.floats(1e-3, 1e3))
def test_a_change_of_units_changes_no_rarity(seed: int, factor: float) -> None:
    one, other = fitted(1.0, seed), fitted(factor, seed)
    residual = np.array([3.0, 8.0])
    # Residuals at the edge of a histogram's bin may fall on either side of it.
    np.testing.assert_allclose(one.rarity(residual), other.rarity(factor * residual), rtol=0.05)


def adapted(calibration: Calibration, residuals: NDArray[np.float64]) -> Calibration:
    for residual in residuals.T:
        rarity = calibration.rarity(residual)
        calibration.adapt(residual, rarity, excluded=np.zeros(len(residual), dtype=np.bool_))
    return calibration


@settings(max_examples=15, deadline=None)
@given(seed=seeds, cut=st.integers(0, 100))
def test_series_learn_apart_from_each_other(seed: int, cut: int) -> None:
    residuals = np.random.default_rng(seed).standard_normal((2, 100))
    residuals[0, :cut] *= 20
    both = adapted(fitted(1.0, seed), residuals)
    residuals[0] = 0.0
    alone = adapted(fitted(1.0, seed), residuals)
    assert both.reach(4.0)[1] == alone.reach(4.0)[1]
