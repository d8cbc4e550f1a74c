"""How streams vote: short ones agree, of long ones the largest three count."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms.base import RESIDUAL, Horizon, Stream
from metricwatch.scoring.combining import Votes, evidence_of
from metricwatch.scoring.derived import SUMS, WIDTHS, Derived, all_streams

NAN = float("nan")


def stream(horizon: Horizon, weight: float = 1.0) -> Stream:
    return Stream("any", horizon, signed=False, weight=weight)


def votes(short: int = 0, long: int = 0, weights: tuple[float, ...] = ()) -> Votes:
    horizons = [Horizon.SHORT] * short + [Horizon.LONG] * long
    weight = weights or (1.0,) * len(horizons)
    return Votes.of([stream(one, by) for one, by in zip(horizons, weight, strict=True)])


def column(*rarities: float) -> NDArray[np.float32]:
    """Rarities [K, 1, 1]."""
    return np.array(rarities, dtype=np.float32)[:, None, None]


def scales(who: Votes, *rarities: float) -> tuple[float, float]:
    short, long = who.scales(column(*rarities))
    return float(short[0, 0]), float(long[0, 0])


def test_short_evidence_is_the_mean_of_all() -> None:
    assert scales(votes(short=3), 6.0, 1.0, 2.0)[0] == 3.0


def test_long_evidence_is_the_mean_of_the_largest_three() -> None:
    assert scales(votes(long=5), 1.0, 9.0, 3.0, 0.0, 6.0)[1] == 6.0


def test_up_to_three_long_streams_all_count() -> None:
    assert scales(votes(long=2), 1.0, 4.0)[1] == 2.5


def test_a_scale_without_streams_has_nothing_to_say() -> None:
    short, long = scales(votes(short=1), 2.0)
    assert (short, np.isnan(long)) == (2.0, True)
    short, long = scales(votes(long=1), 2.0)
    assert (np.isnan(short), long) == (True, 2.0)


def test_streams_with_nothing_to_say_do_not_vote() -> None:
    assert scales(votes(short=3), NAN, 1.0, 2.0)[0] == 1.5
    assert scales(votes(long=5), NAN, 9.0, 3.0, NAN, 6.0)[1] == 6.0
    assert scales(votes(long=5), NAN, 9.0, NAN, NAN, 6.0)[1] == 7.5
    assert np.isnan(scales(votes(short=2, long=4), *[NAN] * 6)).all()


def test_weights_weigh_votes() -> None:
    assert scales(votes(short=2, weights=(3.0, 1.0)), 2.0, 6.0)[0] == 3.0
    assert scales(votes(long=2, weights=(3.0, 1.0)), 2.0, 6.0)[1] == 3.0
    four = votes(long=4, weights=(1.0, 1.0, 2.0, 1.0))
    assert scales(four, 1.0, 4.0, 8.0, 4.0)[1] == pytest.approx(24 / 4)


def test_a_stream_of_weight_zero_has_no_vote() -> None:
    who = votes(short=2, long=2, weights=(0.0, 1.0, 1.0, 0.0))
    assert (who.short, who.long) == ((1,), (2,))
    assert scales(who, 9.0, 1.0, 2.0, 9.0) == (1.0, 2.0)


def test_one_gap_of_one_series_does_not_change_what_others_say() -> None:
    rarity = np.random.default_rng(0).random((7, 3, 4)).astype(np.float32)
    gap = rarity.copy()
    gap[2, 0, 1] = NAN
    who = votes(short=3, long=4)
    for whole, other in zip(who.scales(rarity), who.scales(gap), strict=True):
        np.testing.assert_allclose(whole[1:], other[1:], rtol=1e-6)


def decided(short: float, long: float, both: float, interval: int = 300) -> tuple[float, bool]:
    numbers = [np.full((1, 1), one, dtype=np.float32) for one in (short, long, both)]
    evidence, by_long = evidence_of(*numbers, interval=interval)
    return float(evidence[0, 0]), bool(by_long[0, 0])


def test_either_scale_may_decide_alone() -> None:
    assert decided(5.0, 1.0, 1.0) == (5.0, False)
    evidence, long = decided(1.0, 4.0, 1.0)
    assert (evidence, long) == (pytest.approx(4.8), True)


def test_both_together_decide_where_neither_would() -> None:
    evidence, long = decided(2.0, 2.0, 3.5)
    assert (evidence, long) == (pytest.approx(4.1), True)


def test_what_is_over_says_little_of_samples_that_are_ordinary() -> None:
    # A spike of 11 within the last ticks; both would have 6, and the long windows hardly see it.
    evidence, _ = decided(0.1, 1.0, 6.0)
    assert evidence == pytest.approx(2.6)


def test_where_only_one_scale_speaks_it_decides() -> None:
    assert decided(3.0, NAN, 0.0) == (3.0, False)
    assert decided(NAN, 3.0, 0.0) == (pytest.approx(3.8), True)


def test_without_a_word_on_either_scale_there_is_no_evidence_whatever_was_before() -> None:
    evidence, long = decided(NAN, NAN, 9.0)
    assert np.isnan(evidence)
    assert not long


def test_long_windows_of_fast_series_have_more_chances_and_count_for_less() -> None:
    assert decided(0.0, 4.0, 0.0, interval=10)[0] < decided(0.0, 4.0, 0.0, interval=300)[0]
    assert decided(0.0, 4.0, 0.0, interval=3600) == decided(0.0, 4.0, 0.0, interval=300)


# --- sums of residuals


def test_a_family_with_a_residual_has_sums_of_it_and_others_have_not() -> None:
    distance = Stream("distance", Horizon.LONG, signed=False)
    assert all_streams([RESIDUAL]) == (RESIDUAL, *SUMS)
    assert all_streams([distance]) == (distance,)


def test_sums_of_a_small_shift_grow_with_their_width() -> None:
    evidence = np.full((1, 1, 100), 0.5)
    made = Derived(0, np.ones(1)).extended(evidence)
    np.testing.assert_array_equal(made[0], evidence[0])
    np.testing.assert_allclose(made[1:, 0, -1], 0.5 * np.sqrt(WIDTHS), rtol=1e-6)


def test_a_spike_is_no_shift() -> None:
    evidence = np.zeros((1, 1, 60))
    evidence[..., 30] = 1e9
    made = Derived(0, np.ones(1)).extended(evidence)
    assert made[1].max() == pytest.approx(20 / np.sqrt(WIDTHS[0]))
    assert made[1, 0, -1] == pytest.approx(0, abs=1e-9)


def test_sums_say_nothing_where_there_is_no_residual_or_its_size_is_unknown() -> None:
    evidence = np.ones((1, 2, 5))
    evidence[0, 0, 2] = NAN
    derived = Derived(0, np.array([1.0, NAN]))
    made = derived.extended(evidence)
    assert np.isnan(made[1:, 0]).tolist() == [[False, False, True, False, False]] * 2
    assert np.isnan(made[1:, 1]).all()
    derived.learn_ordinary(np.array([7.0, 1.0]))
    assert np.isfinite(derived.extended(np.ones((1, 2, 1)))[1:]).all()


def test_sums_of_series_that_join_begin_empty() -> None:
    derived = Derived(0, np.ones(1))
    derived.extended(np.ones((1, 1, 50)))
    derived.grow(1)
    derived.learn_ordinary(np.ones(2))
    made = derived.extended(np.ones((1, 2, 1)))
    np.testing.assert_allclose(made[1, :, 0], [np.sqrt(12), 1 / np.sqrt(12)], rtol=1e-6)
