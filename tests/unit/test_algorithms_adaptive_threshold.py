"""What a metric's own distribution says about a sample."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import adaptive_threshold
from metricwatch.algorithms.adaptive_threshold import AdaptiveThresholdBank
from metricwatch.algorithms.base import FitStopped, Progress
from metricwatch.algorithms.moving_quantiles import MovingQuantiles, Quantiles
from metricwatch.resources.algorithm import AdaptiveThresholdParameters
from metricwatch.series import Grid

STEP = 300
DAY = 288
HISTORY = Grid(0, STEP, 7 * DAY)
LIVE = Grid(HISTORY.end + STEP, STEP, 2 * DAY)
Values = NDArray[np.float64]


def latency(grid: Grid, *, seed: int = 0, series: int = 1) -> Values:
    """Around 100 ms with a long tail upwards."""
    return 100 + 20 * np.random.default_rng(seed).exponential(size=(series, grid.count))


def taught(values: Values) -> AdaptiveThresholdBank:
    bank = adaptive_threshold.fit(values, HISTORY)
    bank.backtest(HISTORY, values)
    return bank


def tail(bank: AdaptiveThresholdBank, grid: Grid, values: Values) -> Values:
    return np.asarray(bank.backtest(grid, values).evidence[0])


def test_either_tail_holds_its_share() -> None:
    seen = tail(taught(latency(HISTORY, series=10)), LIVE, latency(LIVE, seed=1, series=10))
    # The unit is a standard deviation of a normal distribution, which has 5 % beyond 1.645.
    assert np.mean(seen > 1.645) == pytest.approx(0.05, abs=0.015)
    assert np.mean(seen < -1.645) == pytest.approx(0.05, abs=0.015)


def test_a_skewed_metric_has_further_to_go_on_the_side_of_its_tail() -> None:
    bank = taught(latency(HISTORY))
    expected = bank.step(LIVE.start, np.array([np.nan])).expected[0]
    up, down = (
        bank.step(LIVE.start + STEP * (1 + index), np.array([expected + off])).evidence[0, 0]
        for index, off in enumerate((12.0, -12.0))
    )
    assert 0 < up < 0.6
    assert down < -1.5


def test_a_metric_is_expected_at_its_median() -> None:
    expected = taught(latency(HISTORY)).backtest(LIVE, latency(LIVE, seed=1)).expected
    assert np.mean(expected) == pytest.approx(100 + 20 * np.log(2), abs=1.5)


def test_one_event_of_a_counter_at_rest_is_one_step() -> None:
    counts = np.zeros((1, HISTORY.count))
    counts[0, 100::400] = 1.0
    bank = taught(counts)
    one = bank.step(LIVE.start, np.array([1.0])).evidence[0, 0]
    forty = bank.step(LIVE.start + STEP, np.array([40.0])).evidence[0, 0]
    assert one == pytest.approx(1.645, rel=0.05)
    assert forty == pytest.approx(40 * one, rel=0.05)


def test_a_level_that_stays_is_accepted_within_a_day() -> None:
    seen = tail(taught(latency(HISTORY)), LIVE, latency(LIVE, seed=1) + 500)[0]
    assert seen[:60].min() > 10
    assert np.abs(np.median(seen[DAY:])) < 0.5


def test_spikes_move_no_threshold_further_than_ordinary_samples_do() -> None:
    values = latency(LIVE, seed=1)
    spiked = values.copy()
    spiked[0, 50:60] += 1e9
    bank, other = taught(latency(HISTORY)), taught(latency(HISTORY))
    plain, touched = tail(bank, LIVE, values), tail(other, LIVE, spiked)
    np.testing.assert_allclose(touched[0, 300:], plain[0, 300:], rtol=0.1, atol=0.1)


def test_thresholds_widen_when_a_metric_becomes_noisier_for_good() -> None:
    weeks = Grid(HISTORY.end + STEP, STEP, 21 * DAY)
    calm = np.random.default_rng(0).standard_normal((1, HISTORY.count))
    wild = 5 * np.random.default_rng(1).standard_normal((1, weeks.count))
    seen = np.abs(tail(taught(calm), weeks, wild)[0])
    assert np.mean(seen[: DAY // 2] > 1.645) > 0.6
    assert np.mean(seen[-7 * DAY :] > 1.645) < 0.15


def test_a_missing_sample_says_nothing_and_leaves_the_thresholds() -> None:
    values = latency(LIVE, seed=1)
    values[0, 100:140] = np.nan
    prediction = taught(latency(HISTORY)).backtest(LIVE, values)
    assert np.isnan(prediction.evidence[0, 0, 100:140]).all()
    assert np.isfinite(prediction.expected).all()


def test_steps_give_to_the_last_bit_what_a_backtest_gives() -> None:
    values = latency(LIVE, seed=1, series=3)
    values[1, 30:200] = np.nan
    history = latency(HISTORY, series=3)
    whole = adaptive_threshold.fit(history, HISTORY).backtest(LIVE, values)
    bank = adaptive_threshold.fit(history, HISTORY)
    cut = 101
    first = bank.backtest(LIVE.part(0, cut), values[:, :cut])
    np.testing.assert_array_equal(first.evidence, whole.evidence[..., :cut])
    for index, time in enumerate(LIVE.timestamps().tolist()[cut:], start=cut):
        prediction = bank.step(time, values[:, index])
        np.testing.assert_array_equal(prediction.evidence, whole.evidence[..., index])
        np.testing.assert_array_equal(prediction.expected, whole.expected[:, index])


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e15])
def test_the_unit_of_a_metric_makes_no_difference(size: float) -> None:
    history, values = latency(HISTORY), latency(LIVE, seed=1)
    np.testing.assert_allclose(
        tail(taught(history * size), LIVE, values * size),
        tail(taught(history), LIVE, values),
        atol=1e-3,
    )


def test_the_largest_numbers_there_are_stay_numbers() -> None:
    history = np.random.default_rng(0).choice([1e300, -1e300, 0.0, np.nan], (2, 300))
    bank = adaptive_threshold.fit(history, Grid(0, STEP, 300))
    again = adaptive_threshold.restore(bank.header(), bank.tensors())
    prediction = again.backtest(Grid(300 * STEP, STEP, 300), history)
    assert not np.isinf(prediction.evidence).any()
    assert not np.isinf(prediction.expected).any()


@pytest.mark.parametrize("ticks", [0, 1, 5])
def test_hardly_any_history_is_history(ticks: int) -> None:
    grid = Grid(0, STEP, ticks)
    bank = adaptive_threshold.fit(np.full((2, ticks), 7.0), grid)
    prediction = bank.backtest(Grid(10**6, STEP, 10), np.full((2, 10), 7.0))
    assert np.isfinite(prediction.evidence).all()


def test_history_without_samples_gives_a_bank_that_learns_the_level() -> None:
    bank = adaptive_threshold.fit(np.full((1, 500), np.nan), Grid(0, STEP, 500))
    later = Grid(500 * STEP, STEP, 2 * DAY)
    expected = bank.backtest(later, np.full((1, later.count), 5.0)).expected[0]
    assert expected[0] == 0.0
    assert expected[-1] == pytest.approx(5.0, abs=0.1)


def test_tail_and_memory_can_be_asked_for() -> None:
    parameters = AdaptiveThresholdParameters(tail=0.01, memory="14d")
    bank = adaptive_threshold.fit(latency(HISTORY), HISTORY, parameters)
    assert bank.header() == {"step": STEP, "tail": 0.01, "memory": 1_209_600.0}
    assert adaptive_threshold.minimum_samples(parameters) == 100
    assert adaptive_threshold.minimum_samples() == 20
    wider = adaptive_threshold.fit(latency(HISTORY), HISTORY).tensors()["high"]
    assert bank.tensors()["high"][0] > 1.3 * wider[0]


def test_progress_is_told_and_a_fit_can_be_stopped() -> None:
    told: list[Progress] = []
    adaptive_threshold.fit(np.zeros((300, 20)), Grid(0, STEP, 20), progress=told.append)
    assert [one.series for one in told] == [256, 300]
    with pytest.raises(FitStopped):
        adaptive_threshold.fit(np.zeros((1, 20)), Grid(0, STEP, 20), should_stop=lambda: True)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"step": 0}, "step is 0"),
        ({"tail": 0.5}, "tail is 0.5"),
        ({"tail": 1}, "tail is 1"),
        ({"memory": 0}, "memory is 0"),
        ({"memory": float("inf")}, "memory is inf"),
        ({"memory": None}, "memory is None"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(header: dict[str, object], message: str) -> None:
    bank = adaptive_threshold.fit(latency(HISTORY), HISTORY)
    with pytest.raises(ValueError, match=message):
        adaptive_threshold.restore({**bank.header(), **header}, bank.tensors())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", 0.0, "above zero"),
        ("least", 0.0, "above zero"),
        ("low", 1e6, "out of order"),
        ("high", -1e6, "out of order"),
        ("middle", np.nan, "middle"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name: str, value: float, message: str) -> None:
    bank = adaptive_threshold.fit(latency(HISTORY), HISTORY)
    tensors = bank.tensors()
    tensors[name] = np.full_like(tensors[name], value)
    with pytest.raises(ValueError, match=message):
        adaptive_threshold.restore(bank.header(), tensors)


def test_a_search_tries_tails_and_memories() -> None:
    class Lowest:
        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return low

        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return low

        def suggest_categorical(self, name: str, choices: object) -> object:
            raise AssertionError(name)

    expected = AdaptiveThresholdParameters(tail=0.005, memory="1d")
    assert adaptive_threshold.search(Lowest()) == expected


def test_quantiles_find_their_places_from_a_wrong_start() -> None:
    nowhere = np.zeros(2, dtype=np.float32)
    moving = MovingQuantiles(
        Quantiles(nowhere, nowhere, nowhere),
        np.full(2, 0.1, dtype=np.float32),
        tail=0.1,
        memory=500,
    )
    samples = np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32)
    for first in range(0, 20_000, 20):
        moving.take(samples[:, first : first + 20])
        moving.move()
    np.testing.assert_allclose(moving.now.low, -1.28, atol=0.25)
    np.testing.assert_allclose(moving.now.middle, 0.0, atol=0.15)
    np.testing.assert_allclose(moving.now.high, 1.28, atol=0.25)
