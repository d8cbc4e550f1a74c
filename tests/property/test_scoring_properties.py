"""What holds of scores, for any evidence, wherever time is cut."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import RESIDUAL, FloatArray, Horizon, Stream
from metricwatch.scoring import Scoring, threshold
from metricwatch.scoring.tails import Tails
from metricwatch.series import Grid

STEP = 300
DAY = 288
DISTANCE = Stream("distance", Horizon.LONG, signed=False)
SHAPE = Stream("shape", Horizon.SHORT, signed=False)
KINDS = {
    "residual": (RESIDUAL,),
    "deviation": (Stream("deviation", Horizon.SHORT, signed=True),),
    "many": (RESIDUAL, SHAPE, DISTANCE, DISTANCE, DISTANCE),
}
# Shrinking an example takes minutes; what failed is told by the numbers anyway.
PATIENT = settings(
    max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
THOROUGH = settings(PATIENT, max_examples=30)
seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(sorted(KINDS))


@dataclass(frozen=True, eq=False)
class Said:
    """What was said of evidence, [S, T]."""

    rarity: FloatArray
    severity: FloatArray
    side: FloatArray
    long: FloatArray


def evidence(kind: str, seed: int, *, series: int = 2, ticks: int = 200) -> FloatArray:
    """Noise with gaps, spikes, shifts, all in units of its own."""
    rng = np.random.default_rng(seed)
    streams = KINDS[kind]
    made = rng.standard_t(5, (len(streams), series, ticks))
    made[:, rng.integers(series), rng.integers(ticks) :] += rng.choice([0, 3])
    spikes = rng.random((series, ticks)) < 0.02
    made[:, spikes] += rng.choice([-20.0, 20.0], spikes.sum())
    made[:, rng.random((series, ticks)) < 0.05] = np.nan
    made *= 10.0 ** rng.integers(-6, 6, (len(streams), 1, 1))
    unsigned = [row for row, one in enumerate(streams) if not one.signed]
    made[unsigned] = np.abs(made[unsigned])
    return np.asarray(made)


def fitted(kind: str, seed: int, *, series: int = 2, ticks: int = 500) -> Scoring:
    rng = np.random.default_rng([seed, 1])
    later = evidence(kind, seed, series=series)
    scale = np.nanstd(later, axis=(1, 2))[:, None, None] / 3
    history = np.abs(scale) * rng.standard_normal((len(scale), series, ticks))
    return Scoring.fit(
        KINDS[kind], history, Grid(0, STEP, ticks), value_step=np.full(series, 1e-12)
    )


def walk(
    scoring: Scoring,
    said: FloatArray,
    *,
    start: int,
    cuts: set[int] | None = None,
    excluded: NDArray[np.bool_] | None = None,
) -> Said:
    """Goes through evidence [K, S, T] in spans, cut again where `cuts` says; None for ticks."""
    ticks = said.shape[2]
    out = np.zeros(said.shape[1:], np.bool_) if excluded is None else excluded
    edges = set(range(ticks + 1)) if cuts is None else {0, ticks} | cuts
    parts = []
    grid = Grid(start, STEP, ticks)
    for span in scoring.spans(grid):
        inner = sorted({span.start, span.stop} | {e for e in edges if span.start < e < span.stop})
        for first, end in pairwise(inner):
            parts.append(scoring.score(start + first * STEP, said[..., first:end]))
            scoring.learn(out[:, first:end])
    return Said(
        *(
            np.concatenate([getattr(one, name) for one in parts], axis=1)
            for name in ("rarity", "severity", "side", "long")
        )
    )


def same(one: Said, other: Said) -> None:
    np.testing.assert_allclose(one.rarity, other.rarity, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.severity, other.severity, rtol=1e-4, atol=1e-4)
    close = np.abs(np.nan_to_num(one.rarity - other.rarity)) == 0
    np.testing.assert_array_equal(one.long[close], other.long[close])
    np.testing.assert_array_equal(one.side[close], other.side[close])


@PATIENT
@given(
    kind=kinds,
    seed=seeds,
    start=st.integers(0, 3 * DAY),
    cuts=st.sets(st.integers(1, 199), max_size=6),
    fresh=st.booleans(),
)
def test_ticks_spans_and_any_parts_of_spans_give_the_same(
    kind: str, seed: int, start: int, cuts: set[int], fresh: bool
) -> None:
    said = evidence(kind, seed)
    excluded = np.random.default_rng(seed).random(said.shape[1:]) < 0.1
    results, learned = [], []
    for where in (set[int](), cuts, None):
        scoring = Scoring.fresh(KINDS[kind], 2, step=STEP) if fresh else fitted(kind, seed)
        results.append(walk(scoring, said, start=start * STEP, cuts=where, excluded=excluded))
        learned.append(scoring.tensors())
    same(results[0], results[1])
    same(results[0], results[2])
    for name, tensor in learned[0].items():
        np.testing.assert_allclose(learned[2][name], tensor, rtol=2e-3, atol=1e-6, err_msg=name)


@PATIENT
@given(kind=kinds, seed=seeds, cut=st.integers(1, 199))
def test_the_future_changes_no_score_of_the_past(kind: str, seed: int, cut: int) -> None:
    said = evidence(kind, seed)
    other = said.copy()
    other[..., cut:] = 1e9 * np.random.default_rng(seed).random(other[..., cut:].shape)
    one = walk(fitted(kind, seed), said, start=500 * STEP)
    two = walk(fitted(kind, seed), other, start=500 * STEP)
    np.testing.assert_allclose(one.rarity[:, :cut], two.rarity[:, :cut], rtol=1e-6)
    np.testing.assert_allclose(one.severity[:, :cut], two.severity[:, :cut], rtol=1e-6)


@PATIENT
@given(kind=kinds, seed=seeds, what=st.sampled_from(["gone", "huge", "still"]))
def test_no_series_feels_its_neighbour(kind: str, seed: int, what: str) -> None:
    said = evidence(kind, seed)
    other = said.copy()
    other[:, 0] = {"gone": np.nan, "huge": 1e30, "still": 0.0}[what]
    one = walk(fitted(kind, seed), said, start=500 * STEP)
    two = walk(fitted(kind, seed), other, start=500 * STEP)
    np.testing.assert_allclose(one.rarity[1], two.rarity[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.severity[1], two.severity[1], rtol=1e-4, atol=1e-5)


@PATIENT
@given(kind=kinds, seed=seeds, first=st.integers(0, 100), length=st.integers(1, 150))
def test_a_gap_has_no_rarity_and_poisons_nothing(
    kind: str, seed: int, first: int, length: int
) -> None:
    said = np.nan_to_num(evidence(kind, seed, ticks=300), nan=0.0)
    said[:, 0, first : first + length] = np.nan
    scoring = fitted(kind, seed)
    whole = walk(scoring, said, start=500 * STEP)
    assert np.isnan(whole.rarity[0, first : first + length]).all()
    assert np.isfinite(np.delete(whole.rarity[0], np.s_[first : first + length])).all()
    assert np.isfinite(whole.rarity[1]).all()
    assert np.isfinite(whole.severity).all()
    assert all(np.isfinite(tensor).all() for tensor in scoring.tensors().values())
    assert np.isfinite(scoring.reach(4.0)).all() or kind == "distance"


@PATIENT
@given(kind=kinds, seed=seeds, blocks=st.integers(0, 10))
def test_a_stored_scoring_says_and_learns_the_same(kind: str, seed: int, blocks: int) -> None:
    scoring = fitted(kind, seed)
    start = 500 * STEP
    again = Scoring.restore(KINDS[kind], scoring.header(), scoring.tensors())
    said = evidence(kind, seed)[..., : 20 * blocks + 1]
    same(walk(scoring, said, start=start), walk(again, said, start=start))
    for name, tensor in scoring.tensors().items():
        np.testing.assert_array_equal(again.tensors()[name], tensor, err_msg=name)


@PATIENT
@given(seed=seeds, factor=st.floats(1e-6, 1e6))
def test_a_change_of_units_changes_no_rarity(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    history, later = rng.standard_normal((2, 1, 2, 300))
    rarities = []
    for unit in (1.0, factor):
        scoring = Scoring.fit(
            (RESIDUAL,), unit * history, Grid(0, STEP, 300), value_step=np.full(2, 1e-3 * unit)
        )
        rarities.append(walk(scoring, unit * later, start=300 * STEP).rarity)
    # Sizes at the edge of a histogram's bin may fall on either side of it.
    np.testing.assert_allclose(rarities[0], rarities[1], atol=0.1)


@PATIENT
@given(seed=seeds)
def test_above_and_below_are_as_rare_and_opposite(seed: int) -> None:
    said = evidence("residual", seed)
    one = walk(fitted("residual", seed), said, start=500 * STEP)
    other = walk(fitted("residual", seed), -said, start=500 * STEP)
    np.testing.assert_array_equal(one.rarity, other.rarity)
    np.testing.assert_array_equal(one.side, -other.side)


# --- tails


def tails_of(seed: int, scale: float, tail: float) -> Tails:
    rng = np.random.default_rng(seed)
    sizes = scale * rng.standard_t(tail, (1, 2, 800))
    sizes[rng.random(sizes.shape) < 0.05] = np.nan
    return Tails.fit(sizes, floor=np.full((1, 2), 1e-12), weight=np.ones(1))


scales = st.floats(1e-6, 1e9)


@THOROUGH
@given(scale=scales, seed=seeds, rarity=st.floats(0.01, 7.0), tail=st.floats(1.5, 30))
def test_reach_is_the_inverse_of_rarity(
    scale: float, seed: int, rarity: float, tail: float
) -> None:
    tails = tails_of(seed, scale, tail)
    reach = tails.reach(0, np.full(2, rarity))
    beyond = reach < 1e30  # what is larger is no number in float32
    found = tails.rarity(np.minimum(reach, 1e30)[None, :, None].astype(np.float32))[0, :, 0]
    np.testing.assert_allclose(found[beyond], rarity, rtol=1e-4)


@THOROUGH
@given(scale=scales, seed=seeds, sizes=st.lists(st.floats(0, 1e12), min_size=2, max_size=30))
def test_what_is_further_out_is_never_less_rare(
    scale: float, seed: int, sizes: list[float]
) -> None:
    ordered = np.tile(np.sort(sizes).astype(np.float32), (1, 2, 1))
    rarity = tails_of(seed, scale, 5.0).rarity(ordered)
    assert (np.diff(rarity, axis=2) >= 0).all()
    assert np.isfinite(rarity).all()
    assert (rarity >= 0).all()


# --- the promise, on made-up noise


def made_noise(kind: str, rng: np.random.Generator, series: int, ticks: int) -> FloatArray:
    """Residuals of forecasts good and bad; of a random walk, against the mean of the last hour."""
    normal = rng.standard_normal((series, ticks))
    if kind == "normal":
        return np.asarray(normal)
    if kind == "t4":
        return np.asarray(rng.standard_t(4, (series, ticks)))
    if kind == "poisson":
        return np.asarray(rng.poisson(4.0, (series, ticks)) - 4.0)
    if kind == "random walk":
        walked = np.concatenate([np.zeros((series, 12)), normal], axis=1).cumsum(axis=1)
        mean = sliding_window_view(walked, 12, axis=1)[:, :-1].mean(axis=2)
        return np.asarray(walked[:, 12:] - mean)
    values = np.zeros((series, ticks))
    for tick in range(1, ticks):
        values[:, tick] = 0.7 * values[:, tick - 1] + normal[:, tick]
    return values


def episodes(alarm: NDArray[np.bool_], gap: int = 10) -> int:
    position = np.arange(alarm.shape[1])
    last = np.maximum.accumulate(np.where(alarm, position, -gap - 1), axis=1)
    before = np.concatenate([np.full((len(alarm), 1), -gap - 1), last[:, :-1]], axis=1)
    return int((alarm & (position - before > gap)).sum())


@pytest.mark.parametrize("kind", ["normal", "t4", "poisson", "random walk", "AR(1)"])
def test_a_budget_is_kept_on_noise_of_many_kinds(kind: str) -> None:
    rng = np.random.default_rng(0)
    series, weeks = 20, 2
    history, later = (
        made_noise(kind, rng, series, 7 * DAY * length)[None] for length in (2, weeks)
    )
    step = np.full(series, 1.0 if kind == "poisson" else 1e-6)
    scoring = Scoring.fit((RESIDUAL,), history, Grid(0, STEP, history.shape[2]), value_step=step)
    rarity = walk(scoring, later, start=14 * DAY * STEP).rarity
    for budget in (0.3, 1.0, 3.0, 10.0):
        found = episodes(rarity > threshold(budget, STEP)) / (series * weeks)
        print(f"{kind}: promised {budget}, observed {found:.2f} a week")
        assert found <= 3 * budget
