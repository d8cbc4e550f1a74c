"""What a moving mean says about series it hardly knows, and what moves it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import OnlineBank, zscore
from metricwatch.algorithms.moving_moments import MovingMoments, Rates
from metricwatch.resources.algorithm import ZscoreParameters
from metricwatch.series import Grid

MINUTE = 60
Values = NDArray[np.float64]


def noise(series: int, ticks: int, *, seed: int = 0) -> Values:
    return np.random.default_rng(seed).standard_normal((series, ticks))


def grid_of(values: Values) -> Grid:
    return Grid(0, MINUTE, values.shape[1])


def deviations(values: Values, bank: OnlineBank | None = None) -> Values:
    chosen = bank or zscore.fresh(len(values), step=MINUTE)
    return np.asarray(chosen.backtest(grid_of(values), values).evidence[0])


def test_the_evidence_of_a_grown_series_is_in_standard_deviations() -> None:
    seen = deviations(5 + 3 * noise(20, 1500))[:, 1000:]
    assert np.std(seen) == pytest.approx(1.0, abs=0.03)


def test_a_young_series_is_no_louder_than_an_old_one() -> None:
    seen = np.abs(deviations(noise(2000, 400)))
    shares = [np.mean(seen[:, first:end] > 3) for first, end in ((3, 10), (10, 50), (200, 400))]
    assert shares[0] <= shares[1] <= 1.1 * shares[2]


def test_neighbours_that_are_alike_make_no_young_series_loud() -> None:
    # A slow wave: the first samples lie close together and say nothing about what follows.
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (200, 1))
    waves = np.sin(2 * np.pi * np.arange(100) / 1440 + phase) + 0.02 * noise(200, 100)
    assert np.mean(np.abs(deviations(waves)[:, 3:]) > 4) < 0.002


def test_a_spike_in_a_young_series_shows_all_the_same() -> None:
    values = noise(1, 60)
    values[0, 50] = 40
    assert deviations(values)[0, 50] > 6


def test_the_sign_says_which_way() -> None:
    values = noise(2, 300)
    values[:, 250] = [30, -30]
    first, second = deviations(values)[:, 250]
    assert first > 8
    assert second < -8


def test_an_incident_does_not_excuse_itself() -> None:
    values = noise(1, 3000)
    values[0, 2000:2060] += 15 * (-1.0) ** np.arange(60)
    seen = np.abs(deviations(values)[0])
    assert seen[2050:2060].min() > 0.6 * seen[2000:2010].max()


def test_a_level_that_stays_is_accepted_and_its_spread_kept() -> None:
    values = noise(1, 3000)
    values[0, 1000:] += 1000
    seen = np.abs(deviations(values)[0])
    assert seen[1000] > 15
    assert np.median(seen[-500:]) < 2
    assert np.median(seen[-500:]) > 0.3


def test_a_spike_is_not_echoed() -> None:
    values = noise(1, 600)
    spiked = values.copy()
    spiked[0, 400] += 1e6
    plain, touched = deviations(values), deviations(spiked)
    np.testing.assert_allclose(touched[0, 401:], plain[0, 401:], atol=0.1)


def test_nothing_is_said_before_the_third_sample() -> None:
    values = np.array([[1.0, np.nan, 2.0, 3.0, 4.0]])
    assert np.isnan(deviations(values)[0]).tolist() == [True, True, True, True, False]


def test_a_missing_sample_moves_nothing() -> None:
    values = noise(1, 200)
    with_gaps = np.insert(values, [50, 50, 120], np.nan, axis=1)
    whole, gapped = deviations(values), deviations(with_gaps)
    np.testing.assert_array_equal(gapped[~np.isnan(with_gaps)], whole[0])
    assert np.isnan(gapped[np.isnan(with_gaps)]).all()


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e15])
def test_the_unit_of_a_metric_makes_no_difference(size: float) -> None:
    values = 100 + noise(3, 500)
    np.testing.assert_allclose(
        deviations(values * size)[:, 10:], deviations(values)[:, 10:], rtol=1e-3
    )


def test_the_largest_numbers_there_are_stay_numbers() -> None:
    values = noise(1, 100)
    values[0, [0, 40, 41]] = [1e308, -1e308, 1e308]
    assert np.isfinite(deviations(values)[0, 3:]).all()


def test_a_series_at_rest_at_zero_that_leaps_gives_a_number() -> None:
    values = np.zeros((1, 100))
    values[0, 50] = 1e12
    assert 20 < deviations(values)[0, 50] < 1000


def test_a_constant_series_that_moves_by_a_thousandth_is_hardly_odd() -> None:
    values = np.full((1, 200), 50.0)
    values[0, 150] = 50.05
    seen = deviations(values)[0]
    assert (seen[3:150] == 0).all()
    assert 0 < seen[150] < 2


def test_the_spread_remembers_longer_than_the_mean() -> None:
    bank = zscore.fresh(1, step=MINUTE, parameters=ZscoreParameters(half_life="1h"))
    header = bank.header()
    assert header["alpha"] == pytest.approx(1 - 0.5 ** (1 / 60))
    assert header["beta"] == pytest.approx(1 - 0.5 ** (1 / (28 * 60)))
    assert bank.warmup == pytest.approx(180, abs=1)


def test_a_half_life_below_the_interval_is_one_interval() -> None:
    bank = zscore.fresh(1, step=3600, parameters=ZscoreParameters(half_life="1m"))
    assert bank.header()["alpha"] == 0.5


def test_a_bank_goes_on_where_it_was_stored() -> None:
    values = noise(3, 600)
    grid, later = Grid(0, MINUTE, 400), Grid(400 * MINUTE, MINUTE, 200)
    bank = zscore.fit(values[:, :400], grid)
    again = zscore.restore(bank.header(), bank.tensors())
    np.testing.assert_array_equal(
        again.backtest(later, values[:, 400:]).evidence,
        bank.backtest(later, values[:, 400:]).evidence,
    )


def test_what_is_stored_is_sixteen_bytes_a_series() -> None:
    assert sum(one.nbytes for one in zscore.fresh(10, step=MINUTE).tensors().values()) == 160


def test_tensors_handed_out_do_not_change_with_later_samples() -> None:
    bank = zscore.fit(noise(2, 50), Grid(0, MINUTE, 50))
    tensors = {name: tensor.copy() for name, tensor in bank.tensors().items()}
    held = bank.tensors()
    bank.step(3000, np.array([5.0, np.nan]))
    for name, tensor in held.items():
        np.testing.assert_array_equal(tensor, tensors[name])


def test_a_late_series_is_young_among_old_ones() -> None:
    bank = zscore.fit(noise(1, 500), Grid(0, MINUTE, 500))
    bank.grow(1)
    later = noise(2, 50, seed=1)
    prediction = bank.backtest(Grid(500 * MINUTE, MINUTE, 50), later)
    alone = zscore.fresh(1, step=MINUTE).backtest(Grid(0, MINUTE, 50), later[1:])
    np.testing.assert_array_equal(prediction.evidence[:, 1:], alone.evidence)
    assert np.isfinite(prediction.evidence[0, 0]).all()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": "1"}, "alpha is '1'"),
        ({"beta": 1.5}, "beta is 1.5"),
        ({"beta": float("nan")}, "beta is nan"),
    ],
)
def test_a_rate_that_is_none_is_refused(header: dict[str, object], message: str) -> None:
    bank = zscore.fresh(1, step=MINUTE)
    with pytest.raises(ValueError, match=message):
        zscore.restore({**bank.header(), **header}, bank.tensors())


@pytest.mark.parametrize("name", ["variance", "count"])
def test_a_state_below_zero_is_refused(name: str) -> None:
    bank = zscore.fresh(2, step=MINUTE)
    tensors = bank.tensors()
    tensors[name] = tensors[name] - 1
    with pytest.raises(ValueError, match="do not describe"):
        zscore.restore(bank.header(), tensors)


def test_a_search_tries_half_lives() -> None:
    class Highest:
        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return high

        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return high

        def suggest_categorical(self, name: str, choices: object) -> object:
            raise AssertionError(name)

    assert zscore.search(Highest()) == ZscoreParameters(half_life="2880m")


def test_the_first_samples_give_their_plain_mean_and_variance() -> None:
    values = noise(4, 3)
    moments = MovingMoments.unseen(4, Rates(mean=0.01, variance=0.001))
    moments.learn(np.ascontiguousarray(values.T))
    tensors = moments.tensors()
    np.testing.assert_allclose(tensors["mean"], values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(tensors["variance"], values.var(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(tensors["count"], [3, 3, 3, 3])
