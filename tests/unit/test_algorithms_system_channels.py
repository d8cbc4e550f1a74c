"""What channels of a system carry along: levels, quantiles, rarities."""

import numpy as np
import pytest

from metricwatch.algorithms.system_channels import ChannelTracker, _log_quantiles, learn_channels
from metricwatch.algorithms.system_layout import Layout
from metricwatch.algorithms.system_rarity import capped, evidence_of, log_size, rarity
from metricwatch.algorithms.system_subspace import distance, learn_subspace, split

HALF_LIFE = 200.0


def noise(series: int, ticks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((series, ticks))


def test_one_in_a_hundred_is_two_decades_rare() -> None:
    channels, _ = learn_channels(noise(4, 4000), half_life=HALF_LIFE)
    tracker = ChannelTracker(channels, half_life=HALF_LIFE)
    seen = np.stack([tracker.advance(row).rarity for row in noise(4, 4000, seed=1).T])
    share = (seen[1:] > 2).mean(axis=(0, 2))
    np.testing.assert_allclose(share, 0.01, atol=0.004)


def test_a_normal_tail_is_extrapolated_with_caution() -> None:
    quantiles = np.log(np.array([[1.96], [2.576]]))
    at = {size: float(rarity(np.log([size]), quantiles)[0]) for size in (2.576, 3.29, 3.89, 4.42)}
    # One in 100, 1000, 10 000 and 100 000 of a normal distribution.
    assert at[2.576] == pytest.approx(2)
    assert 2.2 < at[3.29] < 3
    assert 2.5 < at[3.89] < 4
    assert 2.8 < at[4.42] < 5


def test_ordinary_evidence_has_the_quantiles_of_a_normal_deviate() -> None:
    q95, q99 = evidence_of(np.array([-np.log10(0.05), -np.log10(0.01)]))
    assert q99 / q95 == pytest.approx(2.576 / 1.96, rel=0.1)


def test_a_cap_holds_and_nothing_known_is_nothing_rare() -> None:
    assert capped(np.array([np.nan, 3.0, np.inf]), 6.0).tolist() == [0.0, 3.0, 6.0]


def test_a_channel_that_has_become_noisy_for_good_is_no_longer_rare() -> None:
    channels, _ = learn_channels(noise(1, 2000), half_life=HALF_LIFE)
    tracker = ChannelTracker(channels, half_life=HALF_LIFE)
    wild = 30 * noise(1, 4000, seed=1)
    seen = [tracker.advance(row) for row in wild.T]
    assert np.mean([one.rarity[0, 0] > 2 for one in seen[:100]]) > 0.8
    assert np.mean([one.rarity[0, 0] > 2 for one in seen[-500:]]) < 0.1
    assert np.std([one.deviation[0] for one in seen[-500:]]) < 15


def test_an_hour_of_noise_leaves_the_quantiles_where_they_were() -> None:
    channels, _ = learn_channels(noise(1, 2000), half_life=HALF_LIFE)
    tracker = ChannelTracker(channels, half_life=HALF_LIFE)
    values = noise(1, 400, seed=1)
    values[0, 100:130] *= 50
    values[0, 200] = 6.0
    seen = [tracker.advance(row).rarity[0, 0] for row in values.T]
    assert seen[200] > 2.5


def test_one_absurd_sample_widens_no_scale() -> None:
    values = (np.random.default_rng(0).random((1, 1000)) < 0.02).astype(float)
    clean, _ = learn_channels(values, half_life=HALF_LIFE)
    values[0, 500] = 1e12
    spoiled, _ = learn_channels(values, half_life=HALF_LIFE)
    np.testing.assert_allclose(spoiled.scale, clean.scale)
    np.testing.assert_allclose(spoiled.quantiles, clean.quantiles, atol=0.3)


def test_a_count_that_rests_at_zero_is_not_alarmed_by_its_first_event() -> None:
    values = np.zeros((1, 1000))
    values[0, ::300] = 1.0
    channels, _ = learn_channels(values, half_life=HALF_LIFE)
    tracker = ChannelTracker(channels, half_life=HALF_LIFE)
    for _ in range(10):
        tracker.advance(np.zeros(1))
    assert tracker.advance(np.ones(1)).rarity[0, 0] < 3.5


def test_what_is_known_of_a_gap_is_nothing() -> None:
    channels, _ = learn_channels(noise(2, 500), half_life=HALF_LIFE)
    tracker = ChannelTracker(channels, half_life=HALF_LIFE)
    tracker.advance(np.zeros(2))
    seen = tracker.advance(np.array([np.nan, 0.0]))
    assert np.isnan(seen.deviation[0])
    assert np.isnan(seen.rarity[:, 0]).all()
    assert np.isfinite(seen.rarity[:, 1]).all()
    after = tracker.advance(np.zeros(2))
    assert np.isfinite(after.rarity[0]).all()
    assert np.isnan(after.rarity[1, 0])


def test_sizes_have_a_logarithm_even_at_nothing() -> None:
    assert np.isfinite(log_size(np.zeros(1))).all()
    assert np.isnan(log_size(np.array([np.nan]))).all()


def test_directions_hold_what_moves_together_and_the_rest_what_does_not() -> None:
    layout = Layout.of(np.array([0, 0, 0]))
    load = noise(1, 2000)[0]
    values = np.stack([load, load, noise(1, 2000, seed=1)[0]])
    values[:2] += 0.1 * noise(2, 2000, seed=2)
    subspace = learn_subspace(values, layout, directions=2)
    along = np.array([[3.0], [3.0], [0.0]])
    apart = np.array([[1.5], [-1.5], [0.0]])
    within, left = split(along, subspace, layout)
    assert within[0, 0] > 2
    assert np.abs(left[:2]).max() < 2
    within, left = split(apart, subspace, layout)
    assert within[0, 0] < 1
    assert np.abs(left[:2]).min() > 8


def test_ordinary_ticks_go_one_far() -> None:
    layout = Layout.of(np.repeat([0, 1], 5))
    mixing = np.random.default_rng(3).standard_normal((10, 3))
    values = mixing @ noise(3, 3000) / 2 + 0.3 * noise(10, 3000, seed=1)
    subspace = learn_subspace(values, layout, directions=4)
    within, left = split(values, subspace, layout)
    np.testing.assert_allclose((within**2).mean(axis=1), 1.0, atol=0.1)
    np.testing.assert_allclose(np.quantile(np.abs(left), 0.95, axis=1), 1.96, rtol=0.06)


def test_short_histories_give_few_directions() -> None:
    values = noise(20, 120)
    subspace = learn_subspace(values, Layout.of(np.zeros(20, dtype=np.int64)), directions=8)
    assert np.count_nonzero(np.abs(subspace.axes).sum(axis=0)) == 2


def test_distance_is_over_the_channels_that_are_there() -> None:
    layout = Layout.of(np.array([0, 0, 1]))
    deviations = np.array([[3.0, np.nan], [4.0, 2.0], [np.nan, 1e9]])
    found = distance(deviations, layout)
    np.testing.assert_allclose(found, [[np.sqrt(12.5), 2.0], [0.0, 20.0]])


def test_quantiles_of_equal_sizes_do_not_fall_by_rounding() -> None:
    sizes = np.tile(np.random.default_rng(0).uniform(0.1, 2.0, size=(300, 1)), 67)
    low, high = _log_quantiles(sizes, floor=np.full(300, -np.inf))
    assert (high >= low).all()
