"""Whether samples are still as they were learned: on evidence that is known, and over time."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms.base import RESIDUAL, FloatArray, Horizon, Stream
from metricwatch.scoring import Scoring
from metricwatch.scoring.combining import Votes
from metricwatch.scoring.drift import DRIFTED, Drift
from metricwatch.series import Grid

STEP = 300
DAY = 288
SHAPE = Stream("shape", Horizon.LONG, signed=False)
BOTH = Votes.of((RESIDUAL, SHAPE))
EDGES = (1.645, 1.645)
"""Of a normal distribution."""


def normal(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape)


def made(*edges: tuple[float, float], votes: Votes = BOTH, step: int = STEP) -> Drift:
    """Of series with these edges."""
    return Drift(np.array(edges, np.float32).T, votes, step=step)


def seasoned(series: int = 1, *, days: int = 3) -> Drift:
    """What has seen samples as they were learned, and told so."""
    drift = made(*[EDGES] * series)
    drift.follow(normal(2, series, days * DAY, seed=1))
    assert drift.told.all()
    assert not drift.drifted.any()
    return drift


def ticks_until_drifted(drift: Drift, evidence: FloatArray) -> int | None:
    for tick in range(evidence.shape[2]):
        drift.follow(evidence[..., tick : tick + 1])
        if drift.drifted.all():
            return tick + 1
    return None


def test_samples_as_they_were_learned_are_no_drift_for_a_month() -> None:
    drift = seasoned(20)
    for day in range(30):
        drift.follow(normal(2, 20, DAY, seed=100 + day))
        assert not drift.drifted.any()


def test_a_doubled_noise_is_seen_within_a_day_and_a_half() -> None:
    found = ticks_until_drifted(seasoned(), 2.0 * normal(2, 1, 2 * DAY))
    assert found is not None
    assert DAY // 2 < found < 1.5 * DAY


def test_a_change_of_the_long_scale_alone_is_seen() -> None:
    evidence = normal(2, 1, 2 * DAY)
    evidence[1] *= 4.0
    assert ticks_until_drifted(seasoned(), evidence) is not None


def test_evidence_that_became_smaller_is_no_drift() -> None:
    assert ticks_until_drifted(seasoned(), 0.1 * normal(2, 1, 3 * DAY)) is None


@pytest.mark.parametrize("size", [5.0, 1e6])
def test_an_incident_of_half_a_day_is_no_drift_however_large_it_is(size: float) -> None:
    drift = seasoned()
    drift.follow(np.full((2, 1, DAY // 2), size))
    assert not drift.drifted.any()
    drift.follow(normal(2, 1, DAY))
    assert not drift.drifted.any()


def test_a_series_that_comes_back_has_drifted_no_more() -> None:
    drift = seasoned()
    drift.follow(3.0 * normal(2, 1, 3 * DAY))
    assert drift.drifted.all()
    drift.follow(normal(2, 1, DAY))
    assert not drift.drifted.any()


def test_nothing_is_told_before_a_day_was_seen() -> None:
    drift = made(EDGES)
    assert not drift.seen.any()
    drift.follow(9.0 + normal(2, 1, DAY))
    assert drift.seen.all()
    assert not drift.told.any()
    assert not drift.drifted.any()
    drift.follow(9.0 + normal(2, 1, 25))
    assert drift.told.all()
    assert drift.drifted.all()


@pytest.mark.parametrize(("step", "ticks"), [(1, 93_600), (60, 1560), (300, 312), (3600, 168)])
def test_a_day_has_enough_ticks_to_judge_by_whatever_the_interval(step: int, ticks: int) -> None:
    drift = made(EDGES, step=step)
    drift.follow(np.zeros((2, 1, ticks - 1)))
    assert not drift.told.any()
    drift.follow(np.zeros((2, 1, 1)))
    assert drift.told.all()


def test_missing_samples_are_no_time_that_passes() -> None:
    drift, same = seasoned(), seasoned()
    drift.follow(np.full((2, 1, 5 * DAY), np.nan))
    later = 3.0 * normal(2, 1, 2 * DAY)
    assert ticks_until_drifted(drift, later) == ticks_until_drifted(same, later)


def test_a_scale_with_nothing_to_say_leaves_it_to_the_other() -> None:
    evidence = 3.0 * normal(2, 1, 3 * DAY)
    evidence[1] = np.nan
    drift = made(EDGES)
    drift.follow(evidence)
    assert drift.drifted.all()


def test_a_family_of_one_scale_has_a_say() -> None:
    drift = Drift(np.array([[1.645]], np.float32), Votes.of((SHAPE,)), step=STEP)
    drift.follow(3.0 * normal(1, 1, 3 * DAY))
    assert drift.drifted.all()


def test_a_series_of_which_too_little_was_learned_is_never_told() -> None:
    drift = made(EDGES, (np.nan, np.nan))
    drift.follow(9.0 + normal(2, 2, 3 * DAY))
    assert drift.drifted.tolist() == [True, False]
    assert drift.seen.tolist() == [True, False]


def test_series_do_not_touch_each_other() -> None:
    evidence = normal(2, 3, 3 * DAY)
    evidence[:, 1] *= 3.0
    drift = made(EDGES, EDGES, EDGES)
    drift.follow(evidence)
    assert drift.drifted.tolist() == [False, True, False]


def test_its_memory_is_all_that_matters() -> None:
    drift = made(EDGES)
    before = 9.0 + normal(2, 1, 10 * DAY)
    drift.follow(np.concatenate([before, normal(2, 1, drift.memory)], axis=2))
    assert drift.told.all()
    assert not drift.drifted.any()


def test_most_of_the_time_is_clearly_more_than_half_of_it() -> None:
    """Noise that differs between day and night is no drift."""
    assert DRIFTED > 0.6
    rhythm = np.where(np.arange(10 * DAY) % DAY < DAY // 2, 1.5, 0.1)
    drift = seasoned()
    for day in range(10):
        drift.follow(normal(2, 1, DAY, seed=day) * rhythm[:DAY])
        assert not drift.drifted.any()


# --- what the scoring knows


def scoring(noise: FloatArray) -> Scoring:
    grid = Grid(0, STEP, noise.shape[2])
    return Scoring.fit((RESIDUAL,), noise, grid, value_step=np.zeros(noise.shape[1]))


def walk(own: Scoring, evidence: FloatArray, *, start: int) -> Drift:
    """Scores and learns as a detector does."""
    drift = own.drift()
    grid = Grid(start, STEP, evidence.shape[2])
    for span in own.spans(grid):
        own.score(start + span.start * STEP, evidence[..., span])
        drift.follow(own.sizes())
        own.learn(np.zeros((own.series, span.stop - span.start), np.bool_))
    return drift


def scaled(days: int, *scales: float, seed: int) -> NDArray[np.float64]:
    noise = normal(1, len(scales), days * DAY, seed=seed)
    return np.asarray(noise * np.array(scales)[None, :, None])


def test_the_edges_are_those_of_the_history_in_the_unit_of_each_series() -> None:
    own = scoring(scaled(14, 1.0, 1000.0, seed=2))
    drift = walk(own, scaled(5, 2.5, 1000.0, seed=3), start=14 * DAY * STEP)
    assert drift.drifted.tolist() == [True, False]


def test_a_scoring_that_adapts_hides_no_drift() -> None:
    own = scoring(scaled(7, 1.0, seed=2))
    drift = walk(own, scaled(60, 2.5, seed=3), start=7 * DAY * STEP)
    assert drift.drifted.all()


def test_a_history_of_a_few_samples_has_no_edges() -> None:
    own = scoring(scaled(14, 1.0, seed=2)[..., :200])
    drift = walk(own, scaled(3, 9.0, seed=3), start=200 * STEP)
    assert not drift.seen.any()


def test_a_series_that_never_moved_has_drifted_when_it_moves() -> None:
    own = scoring(np.zeros((1, 1, 7 * DAY)))
    assert not walk(own, np.zeros((1, 1, 3 * DAY)), start=7 * DAY * STEP).drifted.any()
    own = scoring(np.zeros((1, 1, 7 * DAY)))
    assert walk(own, scaled(3, 1.0, seed=3), start=7 * DAY * STEP).drifted.all()
