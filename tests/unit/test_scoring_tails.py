"""How rare a size is: on distributions that are known, and over time."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.scoring.tails import BODY, CLUSTER_GAP, Tails, count_clusters

Values = NDArray[np.float64]


def normal(*scales: float, ticks: int = 5_000, seed: int = 0) -> Values:
    """Evidence [1, S, T] of one stream."""
    noise = np.random.default_rng(seed).standard_normal((1, len(scales), ticks))
    return np.asarray(noise * np.array(scales)[None, :, None])


def fitted(evidence: Values, *, floor: float = 1e-9, weight: float = 1.0) -> Tails:
    streams, series, _ = evidence.shape
    return Tails.fit(
        evidence, floor=np.full((streams, series), floor), weight=np.full(streams, weight)
    )


def live(tails: Tails, evidence: Values, *, taught: bool = True, every: int = 20) -> Values:
    """Rarities of evidence [K, S, T], learned from tick by tick and made to count now and then."""
    rarities = np.empty(evidence.shape)
    for tick in range(evidence.shape[2]):
        if tick % every == 0:
            tails.refresh()
        size = np.abs(evidence[..., tick : tick + 1]).astype(np.float32)
        rarities[..., tick] = tails.rarity(size)[..., 0]
        tails.learn(size, size, taught=np.full(size.shape[1:], taught))
    tails.refresh()
    return rarities


def reach(tails: Tails, rarity: float) -> Values:
    return tails.reach(0, np.full(tails.series, rarity))


def rarity_of(tails: Tails, size: float) -> Values:
    shape = (tails.streams, tails.series, 1)
    return np.asarray(tails.rarity(np.full(shape, size, dtype=np.float32))[..., 0])


def test_the_tail_begins_where_one_sample_in_a_hundred_lies() -> None:
    np.testing.assert_allclose(reach(fitted(normal(1.0, 10.0)), BODY), [2.58, 25.8], rtol=0.06)


def test_normal_samples_are_as_rare_as_they_are() -> None:
    tails = fitted(normal(*[1.0] * 10, ticks=8_000))
    size = np.abs(normal(*[1.0] * 10, ticks=8_000, seed=1)).astype(np.float32)
    share = (tails.rarity(size) > 3.0).mean()
    assert 0 < share <= 1.2e-3


def test_heavy_tails_widen_the_band() -> None:
    rng = np.random.default_rng(0)
    light, heavy = rng.standard_normal(5_000), rng.standard_t(2.0, 5_000)
    wide = reach(fitted(np.stack([light, heavy])[None]), 5.0)
    assert wide[1] > 2 * wide[0]


def test_a_short_history_is_more_cautious() -> None:
    long, short = fitted(normal(1.0, ticks=20_000)), fitted(normal(1.0, ticks=500))
    assert reach(short, 5.0)[0] > 1.2 * reach(long, 5.0)[0]


def test_a_history_that_counts_for_more_is_less_cautious() -> None:
    history = normal(1.0, ticks=2_000)
    assert reach(fitted(history, weight=30.0), 5.0) < 0.9 * reach(fitted(history), 5.0)


def test_a_few_large_samples_of_the_history_do_not_blind_it() -> None:
    spoiled = normal(1.0)
    spoiled[..., 1000:1020] = 500.0
    assert reach(fitted(spoiled), 4.0)[0] < 2 * reach(fitted(normal(1.0)), 4.0)[0]


def test_a_series_that_never_changed_takes_its_floor_as_normal() -> None:
    tails = fitted(np.zeros((1, 1, 1000)), floor=1.5)
    assert rarity_of(tails, 1.0)[0, 0] < BODY
    assert rarity_of(tails, 20.0)[0, 0] > 3.0


def test_streams_have_tails_of_their_own() -> None:
    evidence = np.concatenate([normal(1.0), normal(100.0, seed=1)])
    tails = fitted(evidence)
    rarity = rarity_of(tails, 10.0)
    assert rarity[0, 0] > 4.0
    assert rarity[1, 0] < 0.2


def test_no_evidence_has_no_rarity_and_teaches_nothing() -> None:
    tails = fitted(normal(1.0))
    before = tails.tensors()["counts"].copy()
    assert np.isnan(live(tails, np.full((1, 1, 50), np.nan))).all()
    np.testing.assert_array_equal(tails.tensors()["counts"], before)


def test_what_is_not_taught_leaves_the_body_as_it_is() -> None:
    tails = fitted(normal(1.0))
    before = tails.tensors()["counts"].copy()
    body = reach(tails, 1.9)[0]
    live(tails, normal(50.0, ticks=300, seed=1), taught=False)
    np.testing.assert_array_equal(tails.tensors()["counts"], before)
    assert reach(tails, 1.9)[0] == body


def test_a_wider_body_is_learned() -> None:
    tails = fitted(normal(1.0, ticks=1440))
    before = reach(tails, 4.0)[0]
    live(tails, normal(20.0, ticks=3 * 1440, seed=1))
    assert reach(tails, 4.0)[0] > 8 * before


def test_clusters_of_large_sizes_seen_live_widen_the_tail() -> None:
    tails = fitted(normal(1.0, ticks=2_000))
    before = reach(tails, 4.3)[0]
    evidence = normal(1.0, ticks=4_000, seed=1)
    evidence[..., ::200] = 6.0
    live(tails, evidence)
    assert tails.tensors()["excess_count"][0, 0] > 15
    assert reach(tails, 4.3)[0] > 1.05 * before


def test_one_cluster_counts_once_however_long_and_large_it_is() -> None:
    tails = fitted(normal(1.0))
    evidence = np.zeros((1, 1, 100))
    evidence[..., 10:50:3] = 1e6
    live(tails, evidence)
    assert tails.tensors()["excess_count"][0, 0] == 1
    assert tails.tensors()["excess_sum"][0, 0] < 3.0  # ln(1e6) is 14


def test_what_recurs_is_no_cluster() -> None:
    tails = fitted(normal(1.0))
    size = np.zeros((1, 1, 40), dtype=np.float32)
    size[..., 10] = 50.0
    tails.learn(size, size / 50.0, taught=np.ones((1, 40), np.bool_))
    assert tails.tensors()["excess_count"][0, 0] == 0


def test_nothing_that_was_learned_counts_before_a_refresh() -> None:
    tails = fitted(normal(1.0))
    before = reach(tails, 4.0)[0]
    size = np.full((1, 1, 500), 30.0, dtype=np.float32)
    tails.learn(size, size, taught=np.ones((1, 500), np.bool_))
    assert reach(tails, 4.0)[0] == before
    tails.refresh()
    assert reach(tails, 4.0)[0] > 5 * before


def test_an_unknown_stream_is_judged_after_seven_samples_and_a_refresh() -> None:
    tails = Tails.fresh(1, floor=np.array([1e-9]))
    rarities = live(tails, normal(3.0, ticks=60), every=10)
    assert np.isnan(rarities[..., :10]).all()
    assert np.isfinite(rarities[..., 10:]).all()
    assert tails.unit(0)[0] == pytest.approx(3.0, rel=0.5)
    assert rarity_of(tails, 1000.0)[0, 0] > 4.0


def test_what_is_not_taught_is_no_first_sample() -> None:
    tails = Tails.fresh(1, floor=np.array([1e-9]))
    assert np.isnan(live(tails, normal(3.0, ticks=60), taught=False)).all()
    assert np.isnan(tails.unit(0)[0])


def test_series_that_join_later_leave_the_others_as_they_are() -> None:
    tails = fitted(normal(1.0))
    before = reach(tails, 4.0)[0]
    tails.grow(2)
    assert tails.series == 3
    assert reach(tails, 4.0)[0] == before
    assert np.isnan(reach(tails, 4.0)[1:]).all()
    assert np.isfinite(live(tails, normal(1.0, 2.0, 3.0, ticks=40))[..., -1]).all()


def test_series_may_join_where_there_are_none() -> None:
    tails = Tails.fresh(0, floor=np.array([1e-9]))
    tails.grow(1)
    live(tails, normal(3.0, ticks=60))
    assert rarity_of(tails, 1000.0)[0, 0] > 4.0


def test_a_series_without_evidence_begins_as_an_unknown_one() -> None:
    evidence = normal(1.0, 1.0)
    evidence[:, 0] = np.nan
    tails = fitted(evidence)
    assert np.isnan(rarity_of(tails, 1.0)).tolist() == [[True, False]]
    assert np.isfinite(live(tails, normal(1.0, 1.0, ticks=60))[..., -1]).all()
    fresh = Tails.fresh(2, floor=np.array([1e-9]))
    assert tails.tensors()["prior"][0] == fresh.tensors()["prior"][0]


def test_a_full_histogram_is_halved_and_says_the_same() -> None:
    tensors = fitted(normal(1.0)).tensors()
    counts = tensors["counts"]
    full = (counts * (60_000 // counts.max() + 1)).astype(np.uint16)
    tails = Tails.restore(1, tensors | {"counts": full})
    halved = tails.tensors()["counts"]
    assert halved.max() <= 60_000 < full.max()
    assert reach(tails, BODY)[0] == pytest.approx(reach(fitted(normal(1.0)), BODY)[0], rel=0.05)


def test_stored_tails_come_back_the_same() -> None:
    tails = fitted(normal(1.0, 5.0))
    live(tails, normal(1.0, 5.0, ticks=500, seed=1))
    again = Tails.restore(1, tails.tensors())
    for one in (1.0, 4.0, 6.0):
        np.testing.assert_array_equal(reach(again, one), reach(tails, one))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.zeros((2, 1, 7), dtype=np.uint16)}, "counts is uint16"),
        ({"unit": np.array([[1.0], [-1.0]], np.float32)}, "must be above zero"),
        ({"floor": np.array([[0.0], [1.0]], np.float32)}, "must be above zero"),
        ({"excess_sum": np.array([[0.0], [-1.0]], np.float32)}, "cannot be negative"),
        ({"excess_count": np.array([[0.0], [-1.0]], np.float32)}, "cannot be negative"),
        ({"prior": np.array([[1.0], [np.inf]], np.float32)}, "no numbers"),
        ({"prior": np.array([[1.0], [1.0]])}, "prior is float64"),
    ],
)
def test_damaged_tails_are_refused(change: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tails.restore(1, fitted(normal(1.0, 5.0)).tensors() | change)


def test_tails_that_lack_a_part_are_refused() -> None:
    tensors = fitted(normal(1.0)).tensors()
    del tensors["counts"]
    with pytest.raises(ValueError, match="counts is missing"):
        Tails.restore(1, tensors)


def test_clusters_are_apart_by_more_than_the_gap() -> None:
    beyond = np.zeros((3, 100), np.bool_)
    beyond[0, [3, 3 + CLUSTER_GAP]] = True
    beyond[1, [3, 4 + CLUSTER_GAP]] = True
    assert count_clusters(beyond).tolist() == [1, 2, 0]
    assert count_clusters(np.zeros((2, 0), np.bool_)).tolist() == [0, 0]
