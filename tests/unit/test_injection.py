"""Anomalies that are put into series, each shape as it is meant."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.injection import LEAST_SAMPLES, Injection, Kind, in_turn, inject

Floats = NDArray[np.float64]


def rhythm(ticks: int = 600, series: int = 1, seed: int = 0) -> Floats:
    """A level of 100, a rhythm of 48 ticks and a little noise."""
    rng = np.random.default_rng(seed)
    wave = 10 * np.sin(2 * np.pi * np.arange(ticks) / 48)
    return 100 + wave + rng.normal(0, 0.5, size=(series, ticks))


def only(kind: Kind, values: Floats, **more: float) -> tuple[Injection, Floats, Floats]:
    """One anomaly of a kind, with the samples in its place before and after."""
    made = inject(values, count=1, seed=3, kinds=(kind,), **more)
    (event,) = made.events
    assert event.kind is kind
    place = slice(event.start, event.end)
    return made, values[event.series, place], made.values[event.series, place]


def test_a_spike_is_one_to_three_samples_far_from_all_others() -> None:
    values = rhythm()
    made, before, after = only(Kind.SPIKE, values)
    assert 1 <= len(after) <= 3
    assert (np.abs(after - before) > 15).all()
    assert made.events[0].size == pytest.approx(np.abs(after - before).max())


def test_a_level_shift_moves_every_sample_by_the_same() -> None:
    _, before, after = only(Kind.LEVEL_SHIFT, rhythm())
    assert len(after) > 10
    np.testing.assert_allclose(after - before, (after - before)[0])


def test_a_drift_leaves_slowly_and_goes_further_and_further() -> None:
    _, before, after = only(Kind.DRIFT, rhythm())
    away = np.abs(after - before)
    assert (np.diff(away) > 0).all()
    assert away[0] < away[-1] / 10


def test_a_flat_line_holds_the_first_value() -> None:
    _, before, after = only(Kind.FLAT_LINE, rhythm())
    assert (after == before[0]).all()


def test_a_changed_season_turns_the_rhythm_upside_down_within_known_bounds() -> None:
    values = rhythm(1200)
    _, before, after = only(Kind.CHANGED_SEASON, values)
    assert np.corrcoef(before, after)[0, 1] < -0.9
    assert values.min() <= after.min() <= after.max() <= values.max()


def test_a_dropout_falls_to_zero() -> None:
    _, _, after = only(Kind.DROPOUT, rhythm())
    assert (after == 0.0).all()


def test_a_dropout_falls_below_all_that_is_known_where_zero_is_ordinary() -> None:
    values = rhythm() - 100
    _, _, after = only(Kind.DROPOUT, values)
    assert (after < values.min()).all()


def test_every_kind_takes_its_turn() -> None:
    made = inject(rhythm(4000), count=12, seed=0)
    kinds = [event.kind for event in made.events]
    assert sorted(kinds) == sorted([*Kind, *Kind])


def test_a_flat_line_in_a_constant_series_is_no_anomaly() -> None:
    made = inject(np.full((1, 100), 7.0), count=1, seed=0, kinds=(Kind.FLAT_LINE,))
    assert made.events == ()
    assert not made.labels.any()
    assert (made.values == 7.0).all()


def test_what_must_not_be_touched_stays_as_it_is() -> None:
    values = rhythm(400)
    avoid = np.ones(values.shape, np.bool_)
    avoid[:, 140:260] = False
    made = inject(values, count=1, seed=0, kinds=(Kind.SPIKE,), avoid=avoid)
    assert len(made.events) == 1
    assert not (made.labels & avoid).any()
    nowhere = inject(values, count=4, seed=0, avoid=np.ones(values.shape, np.bool_))
    assert nowhere.events == ()


def test_missing_samples_stay_missing() -> None:
    values = rhythm(600)
    values[:, ::3] = np.nan
    made = inject(values, count=6, seed=1)
    assert made.events
    assert (np.isnan(made.values) == np.isnan(values)).all()


def test_a_series_without_samples_gets_no_anomaly() -> None:
    values = np.vstack([rhythm(200), np.full((1, 200), np.nan)])
    made = inject(values, count=3, seed=0)
    assert {event.series for event in made.events} == {0}


def test_the_history_says_what_is_usual() -> None:
    calm = np.random.default_rng(0).normal(0, 1, (1, 300))
    wild = 100 * calm
    small = inject(calm, count=1, seed=0, kinds=(Kind.SPIKE,)).events[0].size
    large = inject(calm, count=1, seed=0, kinds=(Kind.SPIKE,), reference=wild).events[0].size
    assert large == pytest.approx(100 * small, rel=0.01)


def test_more_strength_gives_larger_anomalies() -> None:
    weak = inject(rhythm(), count=1, seed=0, kinds=(Kind.SPIKE,), strength=4.0)
    strong = inject(rhythm(), count=1, seed=0, kinds=(Kind.SPIKE,), strength=8.0)
    assert strong.events[0].size == pytest.approx(2 * weak.events[0].size)


def test_too_many_for_the_length_are_refused() -> None:
    with pytest.raises(ValueError, match=f"need at least {2 * LEAST_SAMPLES} samples"):
        inject(np.zeros((1, 2 * LEAST_SAMPLES - 1)), count=2, seed=0)


def test_no_kind_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one kind"):
        inject(rhythm(), count=1, seed=0, kinds=())


def test_series_of_one_system_get_one_anomaly_at_a_time() -> None:
    values = rhythm(1200, series=4)
    made = inject(values, count=6, seed=0)
    alone = in_turn(made, values)
    assert alone.labels.sum(axis=0).max() == 1
    assert set(alone.events) < set(made.events)
    assert len(alone.events) >= 6
    np.testing.assert_array_equal(alone.values[~alone.labels], values[~alone.labels])
    np.testing.assert_array_equal(alone.values[alone.labels], made.values[alone.labels])
