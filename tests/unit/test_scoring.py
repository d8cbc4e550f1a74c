"""Evidence of a bank as rarity, over days of ticks."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms.base import RESIDUAL, Horizon, Stream
from metricwatch.scoring import Scored, Scoring, threshold
from metricwatch.series import Grid

STEP = 300
DAY = 288
STREAMS = (RESIDUAL,)
DISTANCE = Stream("distance", Horizon.LONG, signed=False)
Values = NDArray[np.float64]


def noise(series: int = 1, *, days: float = 7, seed: int = 0) -> Values:
    """Evidence [1, S, T]: a residual of standard deviation 1."""
    return np.random.default_rng(seed).standard_normal((1, series, round(days * DAY)))


def grid_of(evidence: Values, *, start: int = 0, step: int = STEP) -> Grid:
    return Grid(start, step, evidence.shape[2])


def fitted(
    evidence: Values, *, streams: tuple[Stream, ...] = STREAMS, step: int = STEP
) -> Scoring:
    return Scoring.fit(
        streams,
        evidence,
        grid_of(evidence, step=step),
        value_step=np.full(evidence.shape[1], 1e-6),
    )


def walk(scoring: Scoring, evidence: Values, *, day: int = 7, excluded: bool = False) -> Scored:
    """Everything said of evidence [K, S, T] that begins on a day, learning span by span."""
    grid = grid_of(evidence, start=day * 86_400)
    parts = []
    for part in scoring.spans(grid):
        parts.append(scoring.score(grid.start + part.start * STEP, evidence[..., part]))
        scoring.learn(np.full(parts[-1].long.shape, excluded))
    return Scored(
        *(
            np.concatenate([getattr(one, name) for one in parts], axis=1)
            for name in ("rarity", "severity", "side", "long")
        )
    )


def test_a_spike_is_rare_at_its_tick_and_noise_is_not() -> None:
    evidence = noise(days=1, seed=1)
    evidence[..., 100] = 30.0
    said = walk(fitted(noise()), evidence)
    limit = threshold(1.0, STEP)
    assert said.rarity[0, :100].max() < limit < said.rarity[0, 100]
    assert (said.side[0, 100], said.long[0, 100]) == (1, False)


def test_above_and_below_are_alike_but_for_the_side() -> None:
    evidence = noise(days=1, seed=1)
    evidence[..., 100] = 30.0
    above, below = walk(fitted(noise()), evidence), walk(fitted(noise()), -evidence)
    np.testing.assert_array_equal(above.rarity, below.rarity)
    np.testing.assert_array_equal(above.side, -below.side)


def test_a_shift_of_half_a_deviation_is_found_by_many_samples_together() -> None:
    evidence = noise(days=2, seed=1)
    evidence[..., DAY:] += 2.0
    small = noise(days=2, seed=1)
    small[..., DAY:] += 0.5
    for shifted in (evidence, small):
        said = walk(fitted(noise()), shifted)
        before, after = said.rarity[0, :DAY], said.rarity[0, DAY:]
        worst = int(after.argmax())
        assert after.max() > before.max() + 0.5
        assert said.long[0, DAY + worst]
        assert said.side[0, DAY + worst] == 1
        assert np.abs(shifted[0, 0, DAY + worst]) < 6.0


def test_many_samples_together_have_the_side_of_their_sum() -> None:
    evidence = noise(days=2, seed=1)
    evidence[..., DAY:] -= 2.0
    evidence[..., DAY + 60] = 0.5
    said = walk(fitted(noise()), evidence)
    assert said.long[0, DAY + 60]
    assert said.side[0, DAY + 60] == -1


def test_a_distance_is_odd_without_a_direction() -> None:
    history = np.abs(noise())
    later = np.abs(noise(days=1, seed=1))
    later[..., 100:110] = 20.0
    said = walk(fitted(history, streams=(DISTANCE,)), later)
    assert said.rarity[0, 105] > threshold(1.0, STEP)
    assert said.long[0, 105]
    assert said.side[0, 105] == 0


def nights(*, spikes: list[int], days: int) -> Values:
    """Noise with a spike on each of some ticks."""
    evidence = noise(days=days, seed=1)
    evidence[..., spikes] = 25.0
    return evidence


def test_what_comes_back_every_night_is_forgiven_and_at_another_hour_it_is_not() -> None:
    night, noon = 36, 144
    evidence = nights(spikes=[night + day * DAY for day in range(5)] + [4 * DAY + noon], days=5)
    said = walk(fitted(noise()), evidence).rarity[0]
    limit = threshold(0.5, STEP)
    assert said[night] > limit
    assert said[night + 2 * DAY] < limit
    assert said[night + 4 * DAY] < limit
    assert said[4 * DAY + noon] > limit


def test_a_nightly_job_of_the_history_is_known_from_the_first_night() -> None:
    night = 36
    history = nights(spikes=[night + day * DAY for day in range(7)], days=7)
    said = walk(fitted(history), nights(spikes=[night, 144], days=1)).rarity[0]
    assert said[night] < threshold(0.5, STEP) < said[144]


def test_no_evidence_has_no_rarity_not_even_in_the_wake_of_an_alert() -> None:
    evidence = noise(days=1, seed=1)
    evidence[..., 100] = 1e6
    evidence[..., 101:110] = np.nan
    said = walk(fitted(noise()), evidence)
    assert np.isnan(said.rarity[0, 101:110]).all()
    assert not said.long[0, 101:110].any()
    assert np.isfinite(said.rarity[0, 110:]).all()
    assert np.isfinite(said.severity).all()


def test_a_gap_teaches_nothing() -> None:
    scoring = fitted(noise())
    before = {name: value.copy() for name, value in scoring.tensors().items()}
    walk(scoring, np.full((1, 1, DAY), np.nan))
    for name, value in scoring.tensors().items():
        # What recurs is remembered day by day, and on a day without samples nothing recurred.
        if name != "remembered":
            np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_what_belongs_to_an_anomaly_does_not_become_normal() -> None:
    scoring, other = fitted(noise()), fitted(noise())
    odd = 40 * noise(days=0.5, seed=1)
    walk(scoring, odd, excluded=True)
    walk(other, odd)
    assert scoring.typical()[0] == pytest.approx(1.0, rel=0.1)
    assert other.typical()[0] > 5.0


def test_what_lasts_for_more_than_a_day_becomes_normal() -> None:
    scoring = fitted(noise(days=2))
    before = scoring.typical()[0]
    walk(scoring, 20 * noise(days=4, seed=1), excluded=True)
    assert scoring.typical()[0] > 8 * before


def test_a_day_of_anomalies_is_forgotten_after_calm_days() -> None:
    scoring = fitted(noise(days=2))
    walk(scoring, 20 * noise(days=0.9, seed=1), excluded=True)
    walk(scoring, noise(days=20, seed=2), day=8)
    before = scoring.typical()[0]
    walk(scoring, 20 * noise(days=0.5, seed=1), day=28, excluded=True)
    assert scoring.typical()[0] == pytest.approx(before, rel=0.1)


def test_a_series_that_rests_takes_a_step_and_a_half_of_its_values_as_normal() -> None:
    rest = np.zeros((1, 1, 7 * DAY))
    scoring = Scoring.fit(STREAMS, rest, grid_of(rest), value_step=np.array([1.0]))
    later = np.zeros((1, 1, 60))
    later[..., 20] = 1.0
    later[..., 50] = 30.0
    said = walk(scoring, later).rarity[0]
    assert said[:40].max() < threshold(1.0, STEP) < said[50]


def test_a_step_of_values_is_none_of_a_stream_in_a_unit_of_its_own() -> None:
    distance = Stream("distance", Horizon.SHORT, signed=False)
    history = np.abs(noise())
    scoring = Scoring.fit((distance,), history, grid_of(history), value_step=np.array([1e6]))
    later = np.abs(noise(days=1, seed=1))
    later[..., 100] = 40.0
    assert walk(scoring, later).rarity[0, 100] > threshold(1.0, STEP)


def test_reach_is_where_a_residual_alone_alerts() -> None:
    limit = threshold(0.5, STEP)
    scoring = fitted(noise())
    reach = float(scoring.reach(limit)[0, -1])
    for size, alerts in ((0.99 * reach, False), (1.01 * reach, True)):
        said = fitted(noise()).score(0, np.full((1, 1, 1), size))
        assert (said.rarity[0, 0] > limit) is np.bool_(alerts)


def test_reach_is_wider_where_something_recurs() -> None:
    night = 36
    history = nights(spikes=[night + day * DAY for day in range(7)], days=7)
    scoring = fitted(history)
    reach = []
    for tick in (night, 144):
        scoring.score(7 * 86_400 + tick * STEP, noise(days=1)[..., :1])
        reach.append(float(scoring.reach(4.0)[0, 0]))
    assert reach[0] > 4 * reach[1]


def test_a_family_of_distances_has_no_reach_and_nothing_typical() -> None:
    scoring = fitted(np.abs(noise(2)), streams=(DISTANCE,))
    assert np.isnan(scoring.reach(4.0)).all()
    assert np.isnan(scoring.typical()).all()


def test_an_unknown_series_is_judged_after_a_few_samples() -> None:
    scoring = Scoring.fresh((Stream("deviation", Horizon.SHORT, signed=True),), 1, step=STEP)
    later = noise(days=2, seed=1)
    later[..., -1] = 1e6
    said = walk(scoring, later)
    assert np.isnan(said.rarity[0, :7]).all()
    assert np.isfinite(said.rarity[0, 27:]).all()
    assert said.rarity[0, 27:-1].max() < said.rarity[0, -1]


def test_an_unknown_series_keeps_the_promise_from_its_second_day() -> None:
    scoring = Scoring.fresh(STREAMS, 20, step=STEP)
    said = walk(scoring, noise(20, days=8, seed=1))
    alarms = (said.rarity[:, DAY:] > threshold(1.0, STEP)).any(axis=1)
    assert alarms.mean() <= 0.63  # of series with one false alarm a week, so many have any


def test_series_join_one_that_is_empty_and_are_judged() -> None:
    scoring = Scoring.fresh(STREAMS, 0, step=STEP)
    scoring.grow(2)
    later = noise(2, days=7, seed=1)
    later[:, 0, -1] = 1e5
    said = walk(scoring, later)
    assert scoring.series == 2
    assert said.rarity[0, -1] > threshold(0.5, STEP) > said.rarity[1, -1]


def test_series_that_join_leave_the_others_as_they_are() -> None:
    alone, joined = fitted(noise()), fitted(noise())
    later = noise(3, days=1, seed=1)
    walk(alone, later[:, :1, :50])
    walk(joined, later[:, :1, :50])
    joined.grow(2)
    start = 7 * 86_400 + 50 * STEP
    for tick in range(50, DAY):
        at = start + (tick - 50) * STEP
        one = alone.score(at, later[:, :1, tick : tick + 1])
        all_ = joined.score(at, later[..., tick : tick + 1])
        alone.learn(np.zeros((1, 1), np.bool_))
        joined.learn(np.zeros((3, 1), np.bool_))
        np.testing.assert_allclose(all_.rarity[0], one.rarity[0], rtol=1e-5)
    assert np.isfinite(all_.rarity).all()


def test_a_series_without_evidence_in_its_history_begins_as_an_unknown_one() -> None:
    history = noise(2)
    history[:, 0] = np.nan
    scoring = fitted(history)
    said = walk(scoring, noise(2, days=1, seed=1))
    assert np.isnan(said.rarity[0, :7]).all()
    assert np.isfinite(said.rarity[1]).all()
    assert np.isfinite(said.rarity[0, -20:]).all()
    assert said.rarity[0, 27:].max() < threshold(0.5, STEP)


def test_windows_over_the_past_are_brought_up_to_date() -> None:
    cold, warm = fitted(noise()), fitted(noise())
    shift = np.full((1, 1, 48), 3.0)
    warm.warm(7 * 86_400 - 48 * STEP, shift)
    first = noise(days=1, seed=1)[..., :1]
    assert warm.score(7 * 86_400, first).rarity > cold.score(7 * 86_400, first).rarity + 1.0


def test_severity_ranks_what_has_been_odd_lately_and_fades() -> None:
    evidence = noise(2, days=2, seed=1)
    evidence[:, 0, 100] = 30.0
    said = walk(fitted(noise(2)), evidence).severity
    assert said[0, 100] > said[1].max()
    assert said[0, 100] > said[0, 110] > said[0, 140]


def test_spans_cut_a_grid_at_times_that_do_not_depend_on_where_it_begins() -> None:
    scoring = fitted(noise())
    whole = list(scoring.spans(Grid(0, STEP, 100)))
    assert whole == [slice(at, at + 20) for at in range(0, 100, 20)]
    later = list(scoring.spans(Grid(7 * STEP, STEP, 100)))
    assert [part.stop + 7 for part in later[:-1]] == [20, 40, 60, 80, 100]
    assert (later[0].start, later[-1].stop) == (0, 100)
    assert list(scoring.spans(Grid(0, STEP, 0))) == []


def test_a_stored_scoring_comes_back_the_same() -> None:
    scoring = fitted(nights(spikes=[36 + day * DAY for day in range(7)], days=7))
    again = Scoring.restore(STREAMS, scoring.header(), scoring.tensors())
    later = nights(spikes=[36, 144], days=1)
    one, other = walk(scoring, later), walk(again, later)
    for name in ("rarity", "severity", "side", "long"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize(
    ("header", "change", "message"),
    [
        ({}, {}, "step is None"),
        ({"step": 0}, {}, "step is 0"),
        ({"step": STEP}, {"ordinary": np.ones(3)}, "not of the same series"),
        ({"step": STEP}, {"ordinary": np.ones((2, 1))}, "ordinary is float64"),
        ({"step": STEP}, {"unit": np.ones((2, 3), np.float64)}, "unit is float64"),
        ({"step": 3600}, {}, "remembered is float16"),
    ],
)
def test_a_damaged_scoring_is_refused(
    header: dict[str, int], change: dict[str, NDArray[Any]], message: str
) -> None:
    tensors = fitted(noise(2, days=1)).tensors() | change
    with pytest.raises(ValueError, match=message):
        Scoring.restore(STREAMS, header, tensors)


def test_a_scoring_of_other_streams_is_refused() -> None:
    scoring = fitted(noise(2, days=1))
    with pytest.raises(ValueError, match="expected float32"):
        Scoring.restore((DISTANCE,), scoring.header(), scoring.tensors())
