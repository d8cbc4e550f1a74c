"""What a residual is worth: on distributions that are known, and over time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.calibration import Calibration, threshold
from metricwatch.series import Grid

Values = NDArray[np.float64]
WEEK_OF_MINUTES = 10_080


def normal(*scales: float, ticks: int = 5_000, seed: int = 0) -> Values:
    noise = np.random.default_rng(seed).standard_normal((len(scales), ticks))
    return np.asarray(noise * np.array(scales)[:, None])


def fitted(residuals: Values, **options: Values) -> Calibration:
    return Calibration.fit(residuals, Grid(0, 60, residuals.shape[1]), **options)


def live(calibration: Calibration, residuals: Values, *, excluded: bool = False) -> Values:
    """Rarities of residuals [S, T], adapting after each."""
    rarities = np.empty_like(residuals)
    mask = np.full(len(residuals), excluded)
    for tick, residual in enumerate(residuals.T):
        rarities[:, tick] = calibration.rarity(residual)
        calibration.adapt(residual, rarities[:, tick], excluded=mask)
    return rarities


@pytest.mark.parametrize(
    ("budget", "interval", "rarity"), [(1.0, 60, 4.003), (0.5, 60, 4.305), (1.0, 15, 4.606)]
)
def test_a_budget_per_week_is_a_probability_per_sample(
    budget: float, interval: int, rarity: float
) -> None:
    assert threshold(budget, interval) == pytest.approx(rarity, abs=1e-3)


def test_a_budget_beyond_every_tenth_sample_still_gives_a_threshold() -> None:
    assert threshold(1e9, 60) == 1.0


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        threshold(budget, 60)


def test_the_tail_begins_where_one_sample_in_a_hundred_lies() -> None:
    reach = fitted(normal(1.0, 10.0)).reach(2.0)
    np.testing.assert_allclose(reach, [2.58, 25.8], rtol=0.06)


def test_false_alarms_on_normal_residuals_stay_within_the_budget() -> None:
    series = 20
    calibration = fitted(normal(*[1.0] * series, ticks=4_000))
    rarities = live(calibration, normal(*[1.0] * series, ticks=WEEK_OF_MINUTES, seed=1))
    alarms = np.count_nonzero(rarities > threshold(5.0, 60)) / series
    assert alarms <= 5.0


def test_heavy_tails_widen_the_band() -> None:
    rng = np.random.default_rng(0)
    light, heavy = rng.standard_normal(5_000), rng.standard_t(2.0, 5_000)
    reach = fitted(np.stack([light, heavy])).reach(5.0) / np.array([1.0, 1.0])
    assert reach[1] > 2 * reach[0]


def test_a_short_history_is_more_cautious() -> None:
    long, short = fitted(normal(1.0, ticks=20_000)), fitted(normal(1.0, ticks=500))
    assert short.reach(5.0)[0] > 1.2 * long.reach(5.0)[0]


def test_a_few_large_residuals_in_the_tail_do_not_blind_it() -> None:
    spoiled = normal(1.0)
    spoiled[0, 1000:1020] = 500.0
    assert fitted(spoiled).reach(4.0)[0] < 2 * fitted(normal(1.0)).reach(4.0)[0]


def test_a_series_that_never_changed_takes_one_step_of_its_values_as_normal() -> None:
    calibration = fitted(np.zeros((1, 1000)), floor=np.array([1.0]))
    rarity = live(calibration, np.array([[1.0, 20.0]]))
    assert rarity[0, 0] < 2.0
    assert rarity[0, 1] > 3.0


def test_no_residual_has_no_rarity_and_teaches_nothing() -> None:
    calibration = fitted(normal(1.0))
    before = calibration.tensors()["counts"].copy()
    assert np.isnan(live(calibration, np.full((1, 50), np.nan))).all()
    np.testing.assert_array_equal(calibration.tensors()["counts"], before)


def test_excluded_samples_teach_nothing() -> None:
    calibration = fitted(normal(1.0))
    before = {name: value.copy() for name, value in calibration.tensors().items()}
    live(calibration, normal(50.0, ticks=300, seed=1), excluded=True)
    live(calibration, np.full((1, 40), np.nan))
    for name, value in calibration.tensors().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_lasts_for_more_than_a_day_becomes_normal() -> None:
    calibration = fitted(normal(1.0, ticks=1440))
    before = calibration.reach(4.0)[0]
    live(calibration, normal(20.0, ticks=3 * 1440, seed=1), excluded=True)
    assert calibration.reach(4.0)[0] > 8 * before


def test_clusters_of_excesses_seen_live_widen_the_tail() -> None:
    calibration = fitted(normal(1.0, ticks=2_000))
    before = calibration.reach(4.3)[0]
    residuals = normal(1.0, ticks=4_000, seed=1)
    residuals[0, ::200] = 6.0
    live(calibration, residuals)
    assert calibration.tensors()["excess_count"][0] > 15
    assert calibration.reach(4.3)[0] > 1.1 * before


def test_one_cluster_counts_once_however_long_it_is() -> None:
    calibration = fitted(normal(1.0))
    residuals = np.zeros((1, 100))
    residuals[0, 10:50:3] = 5.0
    live(calibration, residuals)
    assert calibration.tensors()["excess_count"][0] == 1


def test_an_unknown_series_is_judged_after_seven_residuals() -> None:
    calibration = Calibration.fresh(1, step=60)
    rarities = live(calibration, normal(3.0, ticks=60))
    assert np.isnan(rarities[0, :7]).all()
    assert np.isfinite(rarities[0, 7:]).all()
    assert calibration.rarity(np.array([1000.0]))[0] > threshold(0.5, 60)


def test_series_that_join_later_leave_the_others_as_they_are() -> None:
    calibration = fitted(normal(1.0))
    before = calibration.reach(4.0)[0]
    calibration.grow(2)
    assert calibration.series == 3
    reach = calibration.reach(4.0)
    assert reach[0] == before
    assert np.isnan(reach[1:]).all()
    assert np.isfinite(live(calibration, normal(1.0, 2.0, 3.0, ticks=40))[:, -1]).all()


def test_a_series_without_residuals_starts_as_an_unknown_one() -> None:
    calibration = fitted(np.full((1, 100), np.nan))
    assert np.isnan(calibration.rarity(np.array([1.0])))


def test_a_stored_calibration_comes_back_the_same() -> None:
    calibration = fitted(normal(1.0, 5.0))
    live(calibration, normal(1.0, 5.0, ticks=500, seed=1))
    again = Calibration.restore(calibration.header(), calibration.tensors())
    rarity = np.array([1.0, 4.0, 6.0])
    for one in rarity:
        np.testing.assert_allclose(again.reach(one), calibration.reach(one), rtol=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.zeros((2, 7), dtype=np.float32)}, "counts is float32"),
        ({"unit": np.array([1.0, -1.0])}, "must be above zero"),
        ({"excess_sum": np.array([0.0, -1.0])}, "cannot be negative"),
        ({"prior": np.array([1.0, np.inf])}, "no numbers"),
    ],
)
def test_a_damaged_calibration_is_refused(change: dict[str, Values], message: str) -> None:
    tensors = fitted(normal(1.0, 5.0)).tensors() | change
    with pytest.raises(ValueError, match=message):
        Calibration.restore({"step": 60}, tensors)


def test_a_calibration_without_its_step_is_refused() -> None:
    with pytest.raises(ValueError, match="step is None"):
        Calibration.restore({}, fitted(normal(1.0)).tensors())
