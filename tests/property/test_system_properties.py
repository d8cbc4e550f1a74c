"""What a bank of systems must do for any samples: steps are a backtest, and nobody looks ahead."""

from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.algorithms.base import Prediction
from metricwatch.algorithms.system import ChannelSystemBank, fit_systems, restore_systems
from metricwatch.algorithms.system_blame import rarest
from metricwatch.algorithms.system_layout import Layout
from metricwatch.algorithms.system_rarity import rarity
from metricwatch.series import Grid

STEP = 600
TRAIN = Grid(start=1_700_000_400 // STEP * STEP, step=STEP, count=300)
LIVE = Grid(start=TRAIN.end + STEP, step=STEP, count=60)
MEMBERS = np.array([0, 1, 0, 1, 1])
Values = NDArray[np.float64]


def shop(grid: Grid) -> Values:
    generator = np.random.default_rng(7)
    level = np.array([[0.001], [50.0], [3e9], [0.0], [1.0]])
    return np.asarray(level * (1 + 0.1 * generator.standard_normal((5, grid.count))))


@cache
def parts() -> tuple[Any, Any]:
    bank = fit_systems(shop(TRAIN), TRAIN, MEMBERS)
    return bank.header(), bank.tensors()


def fresh() -> ChannelSystemBank:
    header, tensors = parts()
    return restore_systems(header, tensors)


offset = st.one_of(st.none(), st.floats(-5, 5), st.sampled_from([1e3, -1e3, 0.0]))
samples = st.lists(offset, min_size=LIVE.count, max_size=LIVE.count)
channels = st.lists(st.integers(0, 4), max_size=5, unique=True)


def live(offsets: list[float | None], moved: list[int]) -> Values:
    change = np.array([np.nan if one is None else one for one in offsets])
    values = shop(LIVE)
    values[moved] = values[moved] * (1 + change) + np.nan_to_num(change, nan=np.nan)
    return values


def joined(parts_: list[Prediction]) -> tuple[Values, Values, Values]:
    blames = [one.blame for one in parts_ if one.blame is not None]
    return (
        np.concatenate([one.expected for one in parts_], axis=-1),
        np.concatenate([one.evidence for one in parts_], axis=-1),
        np.concatenate(blames, axis=-1),
    )


@settings(max_examples=25, deadline=None)
@given(offsets=samples, moved=channels, cut=st.integers(0, LIVE.count))
def test_a_backtest_gives_what_the_steps_give_wherever_it_is_cut(
    offsets: list[float | None], moved: list[int], cut: int
) -> None:
    values = live(offsets, moved)
    bank = fresh()
    steps = [bank.step(at, values[:, i]) for i, at in enumerate(LIVE.timestamps().tolist())]
    expected = np.stack([one.expected for one in steps], axis=-1)
    evidence = np.stack([one.evidence for one in steps], axis=-1)
    blame = np.stack([one.blame for one in steps if one.blame is not None], axis=-1)
    bank = fresh()
    halves = [
        bank.backtest(LIVE.part(0, cut), values[:, :cut]),
        bank.backtest(LIVE.part(cut, LIVE.count - cut), values[:, cut:]),
    ]
    for found, wanted in zip(joined(halves), (expected, evidence, blame), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(offsets=samples, cut=st.integers(1, LIVE.count - 1), later=st.floats(-1e6, 1e6))
def test_what_comes_later_changes_nothing_earlier(
    offsets: list[float | None], cut: int, later: float
) -> None:
    values = live(offsets, [0, 1])
    other = values.copy()
    other[:, cut:] = later
    first, second = fresh().backtest(LIVE, values), fresh().backtest(LIVE, other)
    np.testing.assert_array_equal(first.evidence[..., :cut], second.evidence[..., :cut])
    np.testing.assert_array_equal(first.expected[:, : cut + 1], second.expected[:, : cut + 1])


@settings(max_examples=25, deadline=None)
@given(offsets=samples, moved=channels)
def test_evidence_is_finite_unless_a_whole_system_is_silent(
    offsets: list[float | None], moved: list[int]
) -> None:
    values = live(offsets, moved)
    prediction = fresh().backtest(LIVE, values)
    for system in range(2):
        silent = np.isnan(values[system == MEMBERS]).all(axis=0)
        assert np.isnan(prediction.evidence[:, system, silent]).all()
        assert np.isfinite(prediction.evidence[:, system, ~silent]).all()
    assert prediction.blame is not None
    assert np.isfinite(prediction.blame).all()
    assert (np.isnan(prediction.residual) == np.isnan(values)).all()


@given(
    own=st.lists(st.floats(0, 6), min_size=1, max_size=40),
    index=st.integers(0, 39),
    more=st.floats(0, 3),
)
def test_a_rarer_channel_never_makes_a_system_less_odd(
    own: list[float], index: int, more: float
) -> None:
    layout = Layout.of(np.zeros(len(own), dtype=np.int64))
    before = np.array(own)[:, None]
    after = before.copy()
    after[index % len(own)] += more
    low, high = rarest(before, layout).item(), rarest(after, layout).item()
    assert low <= high + 1e-12
    assert min(own) - 1e-12 <= low <= max(own) + 1e-12


@given(
    q95=st.floats(-20, 20),
    span=st.floats(0, 10),
    first=st.floats(-30, 60),
    second=st.floats(-30, 60),
)
def test_larger_deviations_are_never_less_rare(
    q95: float, span: float, first: float, second: float
) -> None:
    quantiles = np.array([[q95], [q95 + span]])
    low, high = sorted((first, second))
    assert rarity(np.array([low]), quantiles) <= rarity(np.array([high]), quantiles)
    assert rarity(np.array([q95 + span]), quantiles) == 2.0


@given(members=st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_every_channel_is_in_its_system_and_in_no_other(members: list[int]) -> None:
    dense = np.unique(members, return_inverse=True)[1].astype(np.int64)
    layout = Layout.of(dense)
    found = np.full(len(dense), -1)
    for batch in layout.batches:
        for system, own in zip(batch.systems, batch.channels, strict=True):
            assert (found[own] == -1).all()
            found[own] = system
    assert found.tolist() == dense.tolist()
