"""From evidence to a promise in episodes a week, and a budget as a threshold."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.scoring import threshold
from metricwatch.scoring.rates import BANDS, WIDTH, Rates
from metricwatch.scoring.tails import CLUSTER_GAP

STEP = 300
WEEK_OF_TICKS = 2016


def episodes(*peaks: float, gap: int = 30) -> NDArray[np.float32]:
    """Evidence [1, B] with a peak every `gap` ticks."""
    evidence = np.full((1, gap * len(peaks) + 1), 0.2, dtype=np.float32)
    evidence[0, gap - 1 : -1 : gap] = peaks
    return evidence


def follow(rates: Rates, evidence: NDArray[np.float32]) -> None:
    rates.learn(evidence)
    rates.settle()


def rarity(rates: Rates, evidence: float) -> float:
    return float(rates.rarity(np.full((rates.series, 1), evidence, dtype=np.float32))[0, 0])


@pytest.mark.parametrize(
    ("budget", "interval", "rare"), [(1.0, 60, 4.003), (0.5, 60, 4.305), (1.0, 15, 4.606)]
)
def test_a_budget_per_week_is_a_share_of_intervals(
    budget: float, interval: int, rare: float
) -> None:
    assert threshold(budget, interval) == pytest.approx(rare, abs=1e-3)


def test_a_budget_beyond_every_tenth_sample_still_gives_a_threshold() -> None:
    assert threshold(1e9, 60) == 1.0


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_of_nothing_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="cannot be kept"):
        threshold(budget, 60)


def test_more_evidence_is_rarer_and_no_rarity_is_below_zero() -> None:
    rates = Rates.blank(1, interval=STEP)
    rising = [rarity(rates, one) for one in (0.0, 2.0, 3.0, 4.0, 8.0)]
    assert rising == sorted(set(rising))
    assert rarity(rates, -9.0) == 0.0
    assert np.isnan(rarity(rates, np.nan))


def test_evidence_is_the_inverse_of_rarity() -> None:
    rates = Rates.blank(1, interval=STEP)
    follow(rates, episodes(*[2.0] * 12, *[2.5] * 3))
    assert rarity(rates, float(rates.evidence(np.array([4.0]))[0])) == pytest.approx(4.0, rel=1e-5)


def test_a_series_with_many_large_episodes_needs_more_evidence() -> None:
    loud, calm = (Rates.blank(1, interval=STEP) for _ in range(2))
    for _ in range(10):
        follow(loud, episodes(*[2.0] * 44, *[2.5] * 16, gap=16))
        follow(calm, episodes(*[0.5] * 60))
    assert rarity(loud, 4.0) + 0.25 < rarity(Rates.blank(1, interval=STEP), 4.0)
    assert rarity(calm, 4.0) > rarity(Rates.blank(1, interval=STEP), 4.0)


def test_a_line_that_is_steep_between_the_bands_is_taken_for_steep_beyond() -> None:
    steep, flat = (Rates.blank(1, interval=STEP) for _ in range(2))
    for _ in range(10):
        follow(steep, episodes(*[2.0] * 50, *[2.5] * 5))
        follow(flat, episodes(*[2.0] * 30, *[2.5] * 25))
    gain = [rarity(one, 6.0) - rarity(one, 5.0) for one in (steep, flat)]
    assert gain[0] > 1.5 * gain[1]


def test_rare_episodes_have_no_say() -> None:
    incidents, nothing = (Rates.blank(1, interval=STEP) for _ in range(2))
    most = BANDS[-1] + WIDTH
    follow(incidents, episodes(*[most + 0.1, 5.0, 50.0] * 10))
    follow(nothing, episodes(*[0.2] * 30))
    assert rarity(incidents, 4.0) == rarity(nothing, 4.0)


def test_an_episode_counts_once_by_its_peak() -> None:
    evidence = np.zeros((1, 100), dtype=np.float32)
    evidence[0, 10:60:5] = 1.9
    evidence[0, 30] = 2.5
    rates = Rates.blank(1, interval=STEP)
    follow(rates, evidence)
    assert rates.tensors()["episodes"].tolist() == [[0.0, 1.0]]


def test_an_episode_counts_when_it_is_over() -> None:
    rates = Rates.blank(1, interval=STEP)
    evidence = np.zeros((1, CLUSTER_GAP), dtype=np.float32)
    evidence[0, 0] = 2.0
    rates.learn(evidence)
    assert rates.tensors()["episodes"].sum() == 0
    rates.learn(np.zeros((1, 1), dtype=np.float32))
    assert rates.tensors()["episodes"].tolist() == [[1.0, 0.0]]


def test_what_was_learned_counts_when_it_is_settled() -> None:
    rates = Rates.blank(1, interval=STEP)
    before = rarity(rates, 4.0)
    rates.learn(episodes(*[2.5] * 60))
    assert rarity(rates, 4.0) == before
    rates.settle()
    assert rarity(rates, 4.0) < before


def test_missing_ticks_are_no_time_without_episodes() -> None:
    rates = Rates.blank(1, interval=STEP)
    before = rarity(rates, 4.0)
    follow(rates, np.full((1, WEEK_OF_TICKS), np.nan, dtype=np.float32))
    assert rarity(rates, 4.0) == before
    assert rates.tensors()["ticks"].tolist() == [0]


def test_time_is_counted_however_fast_samples_come() -> None:
    long_ago = {"ticks": np.array([10**9], np.int32)}
    rates = Rates.restore(Rates.blank(1, interval=1).tensors() | long_ago, interval=1)
    rates.learn(np.zeros((1, 1), dtype=np.float32))
    assert rates.tensors()["ticks"].tolist() == [10**9 + 1]


def test_an_open_episode_is_forgotten_when_all_begins_anew() -> None:
    rates = Rates.blank(1, interval=STEP)
    rates.learn(np.full((1, 1), 2.0, dtype=np.float32))
    rates.begin_anew()
    rates.learn(np.zeros((1, 2 * CLUSTER_GAP), dtype=np.float32))
    assert rates.tensors()["episodes"].sum() == 0


def test_series_that_join_are_like_new_ones() -> None:
    rates = Rates.blank(1, interval=STEP)
    follow(rates, episodes(*[2.0] * 60))
    own = rarity(rates, 4.0)
    rates.grow(1)
    both = rates.rarity(np.full((2, 1), 4.0, dtype=np.float32))[:, 0]
    assert both.tolist() == [own, rarity(Rates.blank(1, interval=STEP), 4.0)]


def test_rates_come_back_the_same() -> None:
    rates = Rates.blank(1, interval=STEP)
    follow(rates, episodes(*[2.0] * 20, *[2.5] * 4))
    again = Rates.restore(rates.tensors(), interval=STEP)
    assert rarity(again, 4.0) == rarity(rates, 4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes": np.full((1, 2), -1.0, np.float32)}, "cannot be negative"),
        ({"ticks": np.array([-1], np.int32)}, "cannot be negative"),
        ({"episodes": np.full((1, 2), np.inf, np.float32)}, "no numbers"),
        ({"episodes": np.zeros((2, 2), np.float32)}, "expected float32"),
        ({"ticks": np.array([1.0])}, "expected int32"),
    ],
)
def test_damaged_rates_are_refused(change: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rates.restore(Rates.blank(1, interval=STEP).tensors() | change, interval=STEP)


def test_a_system_of_many_channels_passes_the_same_evidence_less_often_than_a_series() -> None:
    rates = Rates.blank(3, interval=STEP, channels=np.array([1, 2, 40]))
    rarity = rates.rarity(np.full((3, 1), 3.0, dtype=np.float32))[:, 0]
    assert rarity[0] == rarity[1]
    assert rarity[2] > rarity[0] + 1.5


def test_channels_below_one_are_refused() -> None:
    none = {"channels": np.zeros(1, np.int32)}
    with pytest.raises(ValueError, match="channels"):
        Rates.restore(Rates.blank(1, interval=STEP).tensors() | none, interval=STEP)
