"""Series of a watch as one system: what is odd about all of them, and about which."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import SystemBank
from metricwatch.algorithms.base import FitStopped, Progress
from metricwatch.algorithms.system import (
    ChannelSystemBank,
    SystemParameters,
    fit_systems,
    restore_systems,
    ticks_of,
)
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.series import Grid

STEP = 60
TRAIN = Grid(start=1_700_000_040 // STEP * STEP, step=STEP, count=1500)
LIVE = Grid(start=TRAIN.end + STEP, step=STEP, count=400)
CHANNELS = 6
Values = NDArray[np.float64]


def servers(grid: Grid, *, systems: int = 2, seed: int = 0) -> Values:
    """Two loads that move together, one of its own, a rare count, a rest at 3, noise at 1e9."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(systems):
        load = np.sin(np.arange(grid.count) / 40) + 0.2 * generator.standard_normal(grid.count)
        noise = generator.standard_normal((4, grid.count))
        rows += [
            10 + 3 * load + 0.2 * noise[0],
            50 + 9 * load + 0.6 * noise[1],
            noise[2],
            (generator.random(grid.count) < 0.03).astype(float),
            np.full(grid.count, 3.0),
            1e9 * (1 + 0.01 * noise[3]),
        ]
    return np.array(rows)


def members(systems: int = 2) -> NDArray[np.int64]:
    return np.repeat(np.arange(systems), CHANNELS)


@cache
def parts() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    bank = fit_systems(servers(TRAIN), TRAIN, members())
    return bank.header(), bank.tensors()


def fitted() -> ChannelSystemBank:
    header, tensors = parts()
    return restore_systems(header, tensors)


def test_it_is_a_bank_of_systems() -> None:
    bank = fitted()
    assert isinstance(bank, SystemBank)
    assert (bank.series, bank.systems) == (2 * CHANNELS, 2)
    assert bank.members.tolist() == members().tolist()


@pytest.mark.parametrize(
    ("channel", "offset"), [(0, 12.0), (2, -9.0), (3, 7.0), (4, 0.5), (5, -3e8)]
)
def test_one_moved_channel_raises_its_system_and_is_to_blame(channel: int, offset: float) -> None:
    values = servers(LIVE, seed=1)
    values[CHANNELS + channel, 200:220] += offset
    prediction = fitted().backtest(LIVE, values)
    usual = np.quantile(prediction.evidence[0, :, :200], 0.99, axis=1)
    odd = np.median(prediction.evidence[0, :, 200:220], axis=1)
    assert odd[1] > 1.1 * usual[1]
    assert odd[0] < usual[0]
    assert prediction.evidence[1, 1, 200] > 1.1 * np.quantile(
        prediction.evidence[1, 1, :200], 0.99
    )
    assert prediction.blame is not None
    assert int(np.argmax(prediction.blame[CHANNELS:, 200])) == channel


def test_a_broken_relation_shows_where_no_channel_is_odd_alone() -> None:
    values = servers(LIVE, seed=1)
    bank = fit_systems(servers(TRAIN, seed=2)[:2], TRAIN, np.zeros(2, int))
    values = values[:2]
    values[:, 300] = 10 + 3 * 1.3, 50 - 9 * 1.3
    values[:, 301] = 10 + 3 * 1.3, 50 + 9 * 1.3
    relation = [stream.name for stream in bank.streams].index("relation")
    prediction = bank.backtest(LIVE, values)
    evidence = prediction.evidence[relation, 0]
    assert evidence[300] > 2 * evidence[301]


def test_a_channel_that_fails_to_follow_the_others_is_named() -> None:
    load = np.random.default_rng(0).standard_normal(LIVE.count)
    follow = np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    noise = 0.05 * np.random.default_rng(1).standard_normal((4, TRAIN.count))
    usual = np.random.default_rng(2).standard_normal(TRAIN.count)
    bank = fit_systems(follow * usual + noise, TRAIN, np.zeros(4, int))
    values = follow * load + noise[:, : LIVE.count]
    values[:, 200] = follow[:, 0] * 1.5
    values[2, 200] = -4.5
    blame = bank.backtest(LIVE, values).blame
    assert blame is not None
    assert int(np.argmax(blame[:, 200])) == 2


def test_a_shift_that_lasts_is_accepted_and_an_hour_is_not_learned() -> None:
    grid = Grid(start=LIVE.start, step=STEP, count=3000)
    values = servers(grid, seed=3)
    values[0, 100:160] += 60.0
    values[0, 600:] += 60.0
    prediction = fitted().backtest(grid, values)
    assert np.abs(prediction.expected[0, 160] - 10) < 6
    assert np.abs(prediction.expected[0, 700] - 10) < 6
    assert np.abs(prediction.expected[0, -1] - 70) < 3
    far = prediction.evidence[0, 0]
    assert np.median(far[-200:]) < 1.2 * np.median(far[:100])


def test_a_resting_channel_that_begins_to_flicker_for_good_is_accepted() -> None:
    grid = Grid(start=LIVE.start, step=STEP, count=6000)
    values = servers(grid, seed=4)
    values[4, 500:] += np.random.default_rng(5).integers(0, 2, 5500)
    distance = fitted().backtest(grid, values).evidence[2, 0]
    assert np.median(distance[600:700]) > 8 * np.median(distance[:500])
    assert np.median(distance[-500:]) < 3 * np.median(distance[:500])


def test_incidents_in_the_history_bend_nothing() -> None:
    clean = servers(TRAIN)
    spoiled = clean.copy()
    spoiled[:, 700:706] += 1e6
    values = servers(LIVE, seed=1)
    values[2, 300] += 9.0
    evidence = [
        fit_systems(history, TRAIN, members()).backtest(LIVE, values).evidence[0, 0]
        for history in (clean, spoiled)
    ]
    np.testing.assert_allclose(evidence[1], evidence[0], rtol=0.35)


def test_systems_of_many_sizes_do_not_feel_each_other() -> None:
    values, live = servers(TRAIN, systems=3), servers(LIVE, systems=3, seed=1)
    mixed = np.array([2, 0, 1, 1, 0, 2, 2, 2, 1, 1, 0, 1, 1, 2, 0, 0, 0, 0])
    together = fit_systems(values, TRAIN, mixed).backtest(LIVE, live)
    for system in range(3):
        own = mixed == system
        alone = fit_systems(values[own], TRAIN, np.zeros(own.sum(), int))
        np.testing.assert_allclose(
            alone.backtest(LIVE, live[own]).evidence[:, 0], together.evidence[:, system]
        )


def test_one_channel_is_a_system_too() -> None:
    values = servers(LIVE, seed=1)[:1]
    values[0, 350] += 30
    evidence = fit_systems(servers(TRAIN)[:1], TRAIN, [0]).backtest(LIVE, values).evidence
    assert (evidence[:, 0, 350] == evidence[:, 0].max(axis=1)).all()


def test_a_gap_is_no_evidence_and_leaves_no_jump_behind() -> None:
    values = servers(LIVE, seed=1)
    values[:CHANNELS, 100:150] = np.nan
    values[0, 150:] += 4
    prediction = fitted().backtest(LIVE, values)
    assert np.isnan(prediction.evidence[:, 0, 100:150]).all()
    assert np.isfinite(prediction.evidence[:, 1]).all()
    assert prediction.blame is not None
    assert (prediction.blame[:CHANNELS, 100:150] == 0).all()
    assert prediction.evidence[1, 0, 150] < np.quantile(prediction.evidence[1, 0, :100], 0.999)


@pytest.mark.parametrize("size", [1e15, 1.0, 1e-9])
def test_the_size_of_the_numbers_is_of_no_account(size: float) -> None:
    def evidence(factor: float) -> Values:
        bank = fit_systems(factor * servers(TRAIN), TRAIN, members())
        return bank.backtest(LIVE, factor * servers(LIVE, seed=1)).evidence

    np.testing.assert_allclose(evidence(size), evidence(1.0), rtol=0.02)


@pytest.mark.parametrize(
    "history",
    [
        np.full((3, 50), np.nan),
        np.zeros((3, 50)),
        np.where(np.arange(50) == 7, 2.0, np.nan) * np.ones((3, 1)),
        np.array([[np.nan] * 50, [0.0] * 50, list(range(50))]),
    ],
    ids=["nothing", "rest", "one sample", "mixed"],
)
def test_poor_histories_give_finite_evidence(history: Values) -> None:
    grid = TRAIN.part(0, history.shape[1])
    bank = fit_systems(history, grid, [0, 0, 0])
    after = Grid(start=grid.end + STEP, step=STEP, count=100)
    values = np.random.default_rng(0).standard_normal((3, 100)) * 1e6
    prediction = bank.backtest(after, values)
    assert np.isfinite(prediction.evidence).all()
    assert np.isfinite(prediction.expected).all()


def test_more_channels_than_samples_are_no_obstacle() -> None:
    values = np.random.default_rng(0).standard_normal((200, 120))
    grid = TRAIN.part(0, 120)
    bank = fit_systems(values, grid, np.zeros(200, int))
    evidence = bank.backtest(LIVE, np.random.default_rng(1).standard_normal((200, 400))).evidence
    assert np.isfinite(evidence).all()
    assert (np.median(evidence, axis=2) < 4).all()


def test_a_bank_comes_back_from_its_parts() -> None:
    bank = fit_systems(servers(TRAIN), TRAIN, members())
    again = restore_systems(bank.header(), bank.tensors())
    values = servers(LIVE, seed=1)
    first, second = bank.backtest(LIVE, values), again.backtest(LIVE, values)
    np.testing.assert_array_equal(first.evidence, second.evidence)
    np.testing.assert_array_equal(first.expected, second.expected)


def test_every_tensor_has_a_row_for_each_channel_and_few_bytes() -> None:
    tensors = fitted().tensors()
    assert {len(tensor) for tensor in tensors.values()} == {2 * CHANNELS}
    assert sum(tensor.nbytes for tensor in tensors.values()) / (2 * CHANNELS) < 160


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, t: h.update(half_life=0.0), "half_life"),
        (lambda h, t: h.update(half_life="1d"), "half_life"),
        (lambda h, t: h.update(half_life=float("nan")), "half_life"),
        (lambda h, t: h.update(directions=0), "directions"),
        (lambda h, t: h.update(directions=3), "lengths"),
        (lambda h, t: t.pop("members"), "members"),
        (lambda h, t: t.update(members=np.array([0, 0, 2, 2])), "system 1 has no channel"),
        (lambda h, t: t.update(centre=t["centre"][:-1]), "centre"),
        (lambda h, t: t.update(scale=np.zeros_like(t["scale"])), "scale"),
        (lambda h, t: t.update(samples=-t["samples"]), "samples"),
        (lambda h, t: t.update(quantiles=t["quantiles"][:, :, ::-1].copy()), "rise"),
        (lambda h, t: t.update(mean=t["mean"] * np.nan), "mean"),
        (lambda h, t: t.update(rest=np.zeros_like(t["rest"])), "rest"),
        (lambda h, t: t.update(axes=t["axes"].astype(np.float64)), "axes"),
        (lambda h, t: t.update(lengths=-t["lengths"]), "lengths"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: Change, message: str) -> None:
    bank = fitted()
    header, tensors = bank.header(), bank.tensors()
    change(header, tensors)
    with pytest.raises(ValueError, match=message):
        restore_systems(header, tensors)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([0, 0, 1], "3 members for 2 series"),
        ([0, 2], "from 0 to 1"),
        ([-1, 0], "from 0"),
        ([1, 1], "system 0 has no channel"),
        ([0.0, 1.0], "whole numbers"),
        ([[0, 0]], "whole numbers"),
    ],
)
def test_members_that_make_no_systems_are_refused(bad: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_systems(servers(TRAIN)[:2], TRAIN, np.array(bad))


def test_a_history_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="grid has 400 ticks"):
        fit_systems(servers(TRAIN), LIVE, members())


def test_parameters_of_another_family_are_refused() -> None:
    with pytest.raises(TypeError, match="SystemParameters"):
        fit_systems(servers(TRAIN), TRAIN, members(), LstmParameters())


def test_a_fit_stops_when_told_to_and_says_when_it_is_done() -> None:
    with pytest.raises(FitStopped):
        fit_systems(servers(TRAIN), TRAIN, members(), should_stop=lambda: True)
    reports: list[Progress] = []
    fit_systems(servers(TRAIN), TRAIN, members(), progress=reports.append)
    assert [(one.series, one.of) for one in reports] == [(12, 12)]


@pytest.mark.parametrize(
    ("seconds", "step", "count", "ticks"),
    [(86_400, 60, 40_000, 1440), (86_400, 1, 400, 100), (86_400, 3600, 2000, 60), (60, 60, 9, 60)],
)
def test_a_half_life_is_what_the_history_can_support(
    seconds: int, step: int, count: int, ticks: float
) -> None:
    assert ticks_of(seconds, Grid(start=0, step=step, count=count)) == ticks


def test_directions_are_as_many_as_asked_for() -> None:
    bank = fit_systems(servers(TRAIN), TRAIN, members(), SystemParameters(directions=2))
    assert bank.tensors()["axes"].shape == (2 * CHANNELS, 2)
