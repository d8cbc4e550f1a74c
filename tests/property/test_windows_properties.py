"""Window features and what families make of them: steps, cuts, gaps and the future."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank
from metricwatch.algorithms.window_features import FARTHEST, FEATURES, LAGS
from metricwatch.algorithms.windows import Scales, Windows
from metricwatch.resources.algorithm import (
    HelmParameters,
    IsolationForestParameters,
    KmeansParameters,
    RandomForestParameters,
    XgboostParameters,
)
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid

SERIES, STEP = 3, 600
TRAIN = Grid(start=1_700_000_400 // STEP * STEP, step=STEP, count=400)
LIVE = Grid(start=TRAIN.end + STEP, step=STEP, count=70)
WINDOW = 16
SMALL: dict[str, ApiModel] = {
    "isolationForest": IsolationForestParameters(window=WINDOW, trees=6),
    "kmeans": KmeansParameters(window=WINDOW, clusters=3),
    "randomForest": RandomForestParameters(window=WINDOW, trees=6),
    "xgboost": XgboostParameters(window=WINDOW, rounds=6),
    "helm": HelmParameters(window=WINDOW, layers=(8,), hidden=16),
}
Values = NDArray[np.float64]

changes = st.lists(
    st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([0.0, 0.0, 1e3, -1e6])),
    min_size=LIVE.count,
    max_size=LIVE.count,
)
cuts = st.lists(st.integers(0, LIVE.count), max_size=4).map(sorted)


def ordinary(grid: Grid) -> Values:
    rng = np.random.default_rng(5)
    level = np.array([[1e-9], [20.0], [1e15]])
    return np.asarray(level * (1 + 0.05 * rng.standard_normal((SERIES, grid.count))))


def live(offsets: list[float | None]) -> Values:
    change = np.array([np.nan if one is None else one for one in offsets])
    return np.asarray(ordinary(LIVE) * (1 + change))


@cache
def parts(name: str) -> tuple[Any, Any]:
    labels = np.zeros((SERIES, TRAIN.count), dtype=np.bool_)
    labels[:, 200:220] = True
    family = FAMILIES[name]
    taught = labels if family.learns_from_labels else None
    bank = family.fit(ordinary(TRAIN), TRAIN, SMALL[name], labels=taught)
    return bank.header(), bank.tensors()


def bank_of(name: str) -> Bank:
    return FAMILIES[name].restore(*parts(name))


def fresh(*, lagged: bool = True) -> Windows:
    width = len(FEATURES) + (LAGS if lagged else 0)
    level = np.array([1e-9, 20.0, 1e15])
    scales = Scales(
        centre=level,
        scale=0.05 * level,
        typical=np.ones(SERIES),
        feature_centre=np.zeros((SERIES, width), dtype=np.float32),
        feature_scale=np.ones((SERIES, width), dtype=np.float32),
    )
    return Windows(scales, step=STEP, length=WINDOW)


def in_pieces(bank: Bank, values: Values, edges: list[int]) -> Values:
    found = []
    for first, end in zip([0, *edges], [*edges, LIVE.count], strict=True):
        found.append(bank.backtest(LIVE.part(first, end - first), values[:, first:end]).evidence)
    return np.concatenate(found, axis=2)


@settings(max_examples=40, deadline=None)
@given(offsets=changes, edges=cuts)
def test_windows_look_the_same_to_the_last_bit_however_ticks_come(
    offsets: list[float | None], edges: list[int]
) -> None:
    values = live(offsets)
    expected, whole = fresh().advance(LIVE.start, values)
    windows = fresh()
    for first, end in zip([0, *edges], [*edges, LIVE.count], strict=True):
        level, look = windows.advance(LIVE.start + first * STEP, values[:, first:end])
        np.testing.assert_array_equal(level, expected[:, first:end])
        np.testing.assert_array_equal(look.features, whole.features[:, first:end])
        np.testing.assert_array_equal(look.clear, whole.clear[:, first:end])


@settings(max_examples=40, deadline=None)
@given(offsets=changes, some=st.sets(st.integers(0, LIVE.count - 1)))
def test_looking_at_some_ticks_gives_what_looking_at_all_of_them_gives_there(
    offsets: list[float | None], some: set[int]
) -> None:
    at = np.array(sorted(some), dtype=np.intp)
    values = live(offsets)
    _, all_of_them = fresh().advance(LIVE.start, values)
    _, few = fresh().advance(LIVE.start, values, at)
    np.testing.assert_array_equal(few.features, all_of_them.features[:, at])
    np.testing.assert_array_equal(few.clear, all_of_them.clear[:, at])


@settings(max_examples=40, deadline=None)
@given(offsets=changes)
def test_features_are_bounded_whatever_the_samples_are(offsets: list[float | None]) -> None:
    _, look = fresh().advance(LIVE.start, live(offsets))
    assert (np.abs(look.features) <= FARTHEST).all()


@settings(max_examples=30, deadline=None)
@given(offsets=changes)
def test_a_state_has_forgotten_everything_after_its_warmup(offsets: list[float | None]) -> None:
    one, other = fresh(), fresh()
    one.advance(LIVE.start, live(offsets))
    later = Grid(start=LIVE.end + STEP, step=STEP, count=one.warmup)
    for windows in (one, other):
        windows.advance(later.start, ordinary(later))
    end, sample = later.end + STEP, ordinary(LIVE)[:, :1]
    np.testing.assert_array_equal(
        one.advance(end, sample)[1].features, other.advance(end, sample)[1].features
    )


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=15, deadline=None)
@given(offsets=changes, edges=cuts)
def test_evidence_of_a_backtest_is_that_of_steps_wherever_it_is_cut(
    name: str, offsets: list[float | None], edges: list[int]
) -> None:
    values = live(offsets)
    bank = bank_of(name)
    times = LIVE.timestamps().tolist()
    steps = [bank.step(at, values[:, index]).evidence for index, at in enumerate(times)]
    found = in_pieces(bank_of(name), values, edges)
    np.testing.assert_allclose(found, np.stack(steps, axis=2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=15, deadline=None)
@given(offsets=changes, cut=st.integers(1, LIVE.count - 1), later=st.floats(-5, 5))
def test_the_future_changes_no_evidence(
    name: str, offsets: list[float | None], cut: int, later: float
) -> None:
    values = live(offsets)
    other = values.copy()
    other[:, cut:] *= later
    first = bank_of(name).backtest(LIVE, values).evidence[..., :cut]
    second = bank_of(name).backtest(LIVE, other).evidence[..., :cut]
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=15, deadline=None)
@given(offsets=changes)
def test_evidence_is_finite_and_not_negative_or_nothing_is_said(
    name: str, offsets: list[float | None]
) -> None:
    values = live(offsets)
    evidence = bank_of(name).backtest(LIVE, values).evidence[0]
    assert np.isnan(evidence[np.isnan(values)]).all()
    said = evidence[~np.isnan(evidence)]
    assert np.isfinite(said).all()
    assert (said >= 0).all()
