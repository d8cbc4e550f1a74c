"""Who votes in an ensemble, with what, and what is let in when one is restored."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.autoregressive import AUTOREGRESSIVE
from metricwatch.algorithms.base import RESIDUAL, FitStopped, Horizon
from metricwatch.algorithms.ensemble import DIFFERENCE, ENSEMBLE, LEVEL, MEMBERS, EnsembleBank
from metricwatch.algorithms.seasonal import SEASONAL
from metricwatch.resources.algorithm import EnsembleParameters
from metricwatch.scoring.combining import Votes
from metricwatch.series import Grid

STEP = 300
DAY = 288
GRID = Grid(0, STEP, 3 * DAY)
LATER = Grid(GRID.end + STEP, STEP, 60)
NAMES = ("difference", "autoregressive", "seasonal", "subspacePca", "level")
Values = NDArray[np.float64]


def history(series: int = 2, *, ticks: int = GRID.count, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    rhythm = 10 * np.sin(2 * np.pi * np.arange(ticks) / DAY)
    return np.asarray(100 + rhythm + rng.standard_normal((series, ticks)))


def parameters(*members: str, **weights: float) -> EnsembleParameters:
    switches = {name: name in members for name in NAMES}
    extra = {name: True for name in members if name not in NAMES}
    return EnsembleParameters.model_validate(switches | extra | {"weights": weights})


def fitted(*members: str, **weights: float) -> EnsembleBank:
    bank = ENSEMBLE.fit(history(), GRID, parameters(*members, **weights))
    assert isinstance(bank, EnsembleBank)
    return bank


def names(bank: EnsembleBank) -> list[str]:
    return [stream.name for stream in bank.streams]


def test_by_default_the_cheap_members_vote_on_both_time_scales() -> None:
    bank = ENSEMBLE.fit(history(), GRID)
    assert set(bank.header()["members"]) == {"autoregressive", "seasonal", "subspacePca"}
    assert bank.header()["plain"] == ["difference", "level"]
    votes = Votes.of(bank.streams)
    assert len(votes.short) == 2
    assert len(votes.long) >= 3
    assert ENSEMBLE.name in FAMILIES


def test_a_member_is_switched_off_by_its_flag() -> None:
    assert names(fitted("autoregressive")) == ["residual"]
    assert names(fitted("autoregressive", "difference")) == ["residual", "difference"]
    assert "level" in names(fitted("autoregressive", "level"))
    assert list(fitted("seasonal", "subspacePca").header()["members"]) == [
        "seasonal",
        "subspacePca",
    ]


def test_a_member_that_is_off_by_default_is_switched_on_by_its_flag() -> None:
    bank = fitted("autoregressive", "kmeans")
    assert any(name.startswith("kmeans.") for name in names(bank))


def test_every_flag_of_the_api_is_a_member() -> None:
    flags = {
        field.alias or name
        for name, field in EnsembleParameters.model_fields.items()
        if name != "weights"
    }
    assert flags == {*MEMBERS, "difference", "level"}


def test_an_ensemble_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        parameters()


def test_the_first_member_says_what_was_expected() -> None:
    values = history(ticks=LATER.count, seed=1)
    bank = fitted("autoregressive", "seasonal")
    alone = AUTOREGRESSIVE.fit(history(), GRID)
    np.testing.assert_array_equal(
        bank.backtest(LATER, values).expected, alone.backtest(LATER, values).expected
    )


def test_without_a_model_the_sample_before_is_expected() -> None:
    values = history(ticks=LATER.count, seed=1)
    said = fitted("difference", "level").backtest(LATER, values)
    np.testing.assert_array_equal(said.expected[:, 1:], values[:, :-1])
    assert np.isnan(said.expected[:, 0]).all()


def test_the_clock_alone_does_not_vote_on_the_newest_sample() -> None:
    bank = fitted("seasonal")
    (residual, *others) = bank.streams
    assert (residual.name, residual.weight) == ("residual", 0.0)
    assert "seasonal_sum" in [one.name for one in others]
    assert Votes.of(bank.streams).short == ()


def test_the_residual_of_the_clock_counts_by_its_sum() -> None:
    bank, alone = fitted("seasonal"), SEASONAL.fit(history(), GRID)
    values = history(ticks=LATER.count, seed=1) + 4
    row = names(bank).index("seasonal_sum")
    residual = alone.backtest(LATER, values).residual
    expected = residual[:, -24:].sum(axis=1) / np.sqrt(24)
    found = bank.backtest(LATER, values).evidence[row][:, -1]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_differences_and_levels_are_in_the_unit_of_the_samples() -> None:
    bank = fitted("difference", "level")
    assert bank.streams == (replace(RESIDUAL, weight=0.0), DIFFERENCE, LEVEL)
    values = history(ticks=LATER.count, seed=1)
    values[:, 50] += 1000
    evidence = bank.backtest(LATER, values).evidence
    assert (evidence[1, :, 50] > 900).all()
    assert (evidence[1, :, 51] < -900).all()


def test_weights_are_those_of_the_members_streams() -> None:
    bank = fitted("autoregressive", "difference", "seasonal", seasonal=2.0, difference=3.0)
    weight = {one.name: one.weight for one in bank.streams}
    assert weight["residual"] == 1.0
    assert weight["difference"] == 3.0
    assert weight["seasonal_sum"] == 2.0


def test_a_member_of_weight_zero_is_there_and_has_no_vote() -> None:
    bank = fitted("autoregressive", "difference", autoregressive=0.0)
    assert names(bank) == ["residual", "difference"]
    assert Votes.of(bank.streams).short == (1,)


def test_a_spike_is_odd_to_those_who_see_the_newest_sample() -> None:
    bank = ENSEMBLE.fit(history(), GRID)
    run_up = history(seed=2)
    bank.backtest(GRID, run_up)
    values = history(ticks=LATER.count, seed=1)
    values[:, 30] += 50
    evidence = np.abs(bank.backtest(LATER, values).evidence)
    for row in Votes.of(bank.streams).short:
        assert (evidence[row, :, 30] > 8 * np.median(evidence[row], axis=1)).all()


def test_steps_give_what_a_backtest_gives_wherever_it_is_cut() -> None:
    values = history(ticks=LATER.count, seed=1)
    values[0, 10:15] = np.nan
    whole = ENSEMBLE.fit(history(), GRID).backtest(LATER, values)
    bank = ENSEMBLE.fit(history(), GRID)
    first = bank.backtest(LATER.part(0, 23), values[:, :23])
    np.testing.assert_allclose(first.evidence, whole.evidence[..., :23], rtol=1e-6, atol=1e-8)
    for tick in range(23, LATER.count):
        said = bank.step(LATER.start + tick * STEP, values[:, tick])
        np.testing.assert_allclose(said.evidence, whole.evidence[..., tick], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(said.expected, whole.expected[:, tick], rtol=1e-6)


def test_a_restored_ensemble_says_the_same() -> None:
    bank = ENSEMBLE.fit(history(), GRID, parameters(*NAMES, level=0.5))
    again = ENSEMBLE.restore(bank.header(), bank.tensors())
    assert again.streams == bank.streams
    values = history(ticks=LATER.count, seed=1)
    one, other = (each.backtest(LATER, values) for each in (bank, again))
    np.testing.assert_array_equal(one.evidence, other.evidence)
    assert all(len(tensor) == 2 for tensor in bank.tensors().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0}, "step is 0"),
        ({"step": "60"}, "step is '60'"),
        ({"plain": ["jump"]}, "plain is"),
        ({"plain": "level"}, "plain is 'level'"),
        ({"members": {"zscore": {}}}, "cannot be members"),
        ({"members": ["seasonal"]}, "cannot be members"),
        ({"weights": {"level": -1}}, "weights are"),
        ({"weights": {"level": "2"}}, "weights are"),
        ({"weights": [1]}, "weights are"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    bank = fitted("autoregressive", "level")
    with pytest.raises(ValueError, match=message):
        ENSEMBLE.restore(bank.header() | change, bank.tensors())


def test_members_of_other_series_are_refused() -> None:
    bank, other = fitted("autoregressive"), ENSEMBLE.fit(history(3), GRID)
    mixed = bank.tensors() | {"deviation": other.tensors()["deviation"]}
    with pytest.raises(ValueError, match="not of the same series"):
        ENSEMBLE.restore(bank.header(), mixed)


@pytest.mark.parametrize("deviation", [0.0, -1.0, np.nan])
def test_a_deviation_that_is_none_is_refused(deviation: float) -> None:
    bank = fitted("autoregressive")
    with pytest.raises(ValueError, match="deviation"):
        ENSEMBLE.restore(bank.header(), bank.tensors() | {"deviation": np.full(2, deviation)})


def test_a_member_without_its_tensors_is_refused() -> None:
    bank = fitted("autoregressive")
    with pytest.raises(ValueError, match="missing"):
        ENSEMBLE.restore(bank.header(), {"deviation": bank.tensors()["deviation"]})


def test_cheap_members_vote_from_less_than_they_ask_for_alone_and_networks_do_not() -> None:
    cheap = parameters("autoregressive", "kmeans")
    assert ENSEMBLE.minimum_samples(cheap) < AUTOREGRESSIVE.minimum_samples(None)
    network = parameters("autoregressive", "lstm")
    assert ENSEMBLE.minimum_samples(network) == MEMBERS["lstm"].minimum_samples(None)


def test_the_least_history_gives_an_ensemble_that_votes() -> None:
    least = ENSEMBLE.minimum_samples(None)
    bank = ENSEMBLE.fit(history(ticks=least), Grid(0, STEP, least))
    evidence = bank.backtest(LATER, history(ticks=LATER.count, seed=1)).evidence
    votes = Votes.of(bank.streams)
    assert np.isfinite(evidence[list(votes.short), :, -1]).any()
    assert not np.isinf(evidence).any()


def test_its_warmup_is_that_of_the_longest_memory() -> None:
    assert fitted("difference").warmup == 200
    bank = fitted("seasonal", "difference")
    assert bank.warmup == max(200, SEASONAL.fit(history(), GRID).warmup)


def test_a_fit_that_is_to_stop_stops() -> None:
    with pytest.raises(FitStopped):
        ENSEMBLE.fit(history(), GRID, should_stop=lambda: True)


def test_constant_and_empty_series_are_members_like_others() -> None:
    values = history(3)
    values[0], values[1] = 5.0, np.nan
    bank = ENSEMBLE.fit(values, GRID)
    later = history(3, ticks=LATER.count, seed=1)
    later[0], later[1] = 5.0, np.nan
    evidence = bank.backtest(LATER, later).evidence
    assert not np.isinf(evidence).any()
    assert np.nanmax(np.abs(evidence[:, 0]), initial=0) < 1e-3
    assert all(
        np.isnan(row[1]).all()
        for row, one in zip(evidence, bank.streams, strict=True)
        if one.horizon is Horizon.SHORT
    )
