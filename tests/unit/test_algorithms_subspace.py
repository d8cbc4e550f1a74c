"""What windows against a subspace see, and what they do not mind."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import subspace_pca
from metricwatch.algorithms.base import FitStopped, Progress
from metricwatch.algorithms.level import TrailingLevel
from metricwatch.algorithms.subspace_pca import SubspacePcaBank
from metricwatch.algorithms.subspace_windows import five_medians, hold
from metricwatch.resources.algorithm import SubspacePcaParameters
from metricwatch.series import Grid

MINUTE = 60
DAY = 1440
HISTORY = Grid(0, MINUTE, 2 * DAY)
LIVE = Grid(HISTORY.end + MINUTE, MINUTE, 600)
Values = NDArray[np.float64]


def wave(grid: Grid, *, seed: int = 0, period: int = 40) -> Values:
    """A sine of amplitude 3 around 100 with noise of 0.3."""
    noise = np.random.default_rng(seed).standard_normal(grid.count)
    phase = 2 * np.pi * grid.timestamps() / (period * MINUTE)
    return np.asarray(100 + 3 * np.sin(phase) + 0.3 * noise)[None]


def taught(values: Values | None = None) -> SubspacePcaBank:
    history = wave(HISTORY) if values is None else values
    bank = subspace_pca.fit(history, HISTORY)
    bank.backtest(HISTORY, history)
    return bank


def distance(bank: SubspacePcaBank, grid: Grid, values: Values) -> Values:
    return np.asarray(bank.backtest(grid, values).evidence[1])


def test_ordinary_windows_are_one_distance_out_on_average() -> None:
    ordinary = distance(taught(), LIVE, wave(LIVE, seed=1))[0]
    # Two sums with a mean of 1 each.
    assert np.mean(ordinary**2) == pytest.approx(2.0, rel=0.25)


def test_the_newest_sample_is_expected_from_those_before_it() -> None:
    residual = taught().backtest(LIVE, wave(LIVE, seed=1)).residual[0]
    assert np.sqrt(np.mean(residual**2)) < 0.45


def test_a_changed_rhythm_is_odd_though_no_sample_is() -> None:
    changed = distance(taught(), LIVE, wave(LIVE, seed=1, period=15))[0, 40:]
    ordinary = distance(taught(), LIVE, wave(LIVE, seed=1))[0, 40:]
    assert np.median(changed) > 2 * ordinary.max()


def test_a_flat_line_within_the_ordinary_range_is_odd() -> None:
    values = wave(LIVE, seed=1)
    values[:, 300:] = 103.0
    seen = distance(taught(), LIVE, values)[0]
    assert seen[340:].min() > 1.4 * np.median(seen[:300])


def test_an_incident_in_the_history_bends_nothing() -> None:
    history = wave(HISTORY)
    history[:, 1000:1040] += 60
    values = wave(LIVE, seed=1)
    shifted = values.copy()
    shifted[:, 300:340] += 15
    clean, bent = (distance(bank, LIVE, shifted)[0] for bank in (taught(), taught(history)))
    assert bent[320] > 0.5 * clean[320]
    np.testing.assert_allclose(np.median(bent[:300]), np.median(clean[:300]), rtol=0.25)


def test_a_spike_leaves_no_echo_in_what_is_expected() -> None:
    values = wave(LIVE, seed=1)
    spiked = values.copy()
    spiked[0, 300] += 1000
    plain = taught().backtest(LIVE, values)
    touched = taught().backtest(LIVE, spiked)
    assert touched.residual[0, 300] > 900
    np.testing.assert_allclose(touched.expected[0, 301:], plain.expected[0, 301:], atol=3.0)


def test_a_spike_is_forgotten_after_one_window() -> None:
    values = wave(LIVE, seed=1)
    spiked = values.copy()
    spiked[0, 300] += 1000
    bank = taught()
    plain, touched = distance(taught(), LIVE, values), distance(bank, LIVE, spiked)
    assert touched[0, 300] > 10
    # All that is left is its rank among the day's block means.
    after = slice(300 + bank.width, None)
    np.testing.assert_allclose(touched[0, after], plain[0, after], atol=0.5)


@pytest.mark.parametrize("shift", [30.0, 1e6])
def test_a_new_level_is_odd_at_first_and_ordinary_after_a_day(shift: float) -> None:
    later = Grid(HISTORY.end + MINUTE, MINUTE, DAY)
    seen = distance(taught(), later, wave(later, seed=1) + shift)[0]
    assert seen[60:400].min() > 8
    # Three quarters of the day's block means are at the new level by now.
    assert np.median(seen[-300:]) < 2.0


def test_a_level_goes_over_to_a_new_one_as_the_middle_half_of_the_day_does() -> None:
    level = TrailingLevel(np.zeros(1), 86400)
    grid = Grid(0, 86400, 8)
    np.testing.assert_array_equal(
        level.follow(grid, np.full((1, 8), 8.0)), [[0.0, 0.0, 0.0, 2.0, 4.0, 6.0, 8.0, 8.0]]
    )
    assert level.warmup == 8


def test_a_level_stays_when_samples_stay_away() -> None:
    level = TrailingLevel(np.full(1, 3.0), 3600)
    assert (level.follow(Grid(0, 3600, 100), np.full((1, 100), np.nan)) == 3.0).all()


def test_a_missing_sample_is_held_and_says_nothing() -> None:
    values = wave(LIVE, seed=1)
    values[0, 300:303] = np.nan
    prediction = taught().backtest(LIVE, values)
    assert np.isnan(prediction.evidence[:, 0, 300:303]).all()
    assert np.isfinite(prediction.expected[0, 300:303]).all()
    assert np.isfinite(prediction.evidence[:, 0, 303:]).all()
    assert prediction.evidence[1, 0, 303] < 6


def test_after_a_long_gap_nothing_is_said_until_half_a_window_is_there() -> None:
    values = wave(LIVE, seed=1)
    values[0, 200:300] = np.nan
    bank = taught()
    prediction = bank.backtest(LIVE, values)
    back = 300 + bank.width // 2 - 1
    assert np.isnan(prediction.expected[0, 200 + bank.width : back]).all()
    assert np.isnan(prediction.evidence[1, 0, 200:back]).all()
    assert np.isfinite(prediction.evidence[1, 0, back:]).all()


def test_a_first_sample_is_judged_once_a_window_is_full() -> None:
    bank = subspace_pca.fit(wave(HISTORY), HISTORY)
    seen = bank.backtest(LIVE, wave(LIVE)).evidence
    assert np.flatnonzero(np.isfinite(seen[1, 0]))[0] == bank.width - 1
    # The forecast waits for a window of samples that were held against the median of five.
    assert np.flatnonzero(np.isfinite(seen[0, 0]))[0] == bank.width + 3


def test_windows_are_a_twentieth_of_the_history_within_bounds() -> None:
    widths = [
        subspace_pca.fit(np.zeros((1, count)), Grid(0, MINUTE, count)).width
        for count in (1, 40, 100, 500, 5000)
    ]
    assert widths == [4, 10, 16, 25, 32]


def test_window_and_components_can_be_asked_for() -> None:
    parameters = SubspacePcaParameters(window=48, components=3)
    bank = subspace_pca.fit(wave(HISTORY), HISTORY, parameters)
    assert bank.header() == {"step": MINUTE, "width": 48, "rank": 3}
    assert subspace_pca.minimum_samples(parameters) == 192


def test_history_without_samples_says_how_far_off_nothing_is() -> None:
    bank = subspace_pca.fit(np.full((2, 100), np.nan), Grid(0, MINUTE, 100))
    seen = bank.backtest(Grid(6000, MINUTE, 60), np.ones((2, 60)))
    assert np.isfinite(seen.evidence[:, :, -1]).all()


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e15])
def test_the_unit_of_a_metric_makes_no_difference(size: float) -> None:
    bank = taught(wave(HISTORY) * size)
    np.testing.assert_allclose(
        distance(bank, LIVE, wave(LIVE, seed=1) * size),
        distance(taught(), LIVE, wave(LIVE, seed=1)),
        rtol=1e-2,
    )


def test_the_largest_numbers_there_are_stay_numbers() -> None:
    history = np.random.default_rng(0).choice([1e300, -1e300, 0.0, np.nan], (2, 300))
    bank = subspace_pca.fit(history, Grid(0, MINUTE, 300))
    again = subspace_pca.restore(bank.header(), bank.tensors())
    prediction = again.backtest(Grid(300 * MINUTE, MINUTE, 300), history)
    assert not np.isinf(prediction.evidence).any()
    assert not np.isinf(prediction.expected).any()


def test_progress_is_told_and_a_fit_can_be_stopped() -> None:
    told: list[Progress] = []
    subspace_pca.fit(np.zeros((40, 100)), Grid(0, MINUTE, 100), progress=told.append)
    assert [one.series for one in told] == [32, 40]
    with pytest.raises(FitStopped):
        subspace_pca.fit(wave(HISTORY), HISTORY, should_stop=lambda: True)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"step": 0}, "step is 0"),
        ({"step": 60.0}, "step is 60.0"),
        ({"width": 3}, "width is 3"),
        ({"width": 257}, "width is 257"),
        ({"rank": 0}, "rank is 0"),
        ({"rank": 32}, "rank is 32"),
        ({"width": 31}, "tensor basis"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(header: dict[str, float], message: str) -> None:
    bank = subspace_pca.fit(wave(HISTORY), HISTORY)
    with pytest.raises(ValueError, match=message):
        subspace_pca.restore({**bank.header(), **header}, bank.tensors())


@pytest.mark.parametrize("name", ["scale", "variances", "remainder", "jitter"])
def test_a_size_of_zero_in_a_tensor_is_refused(name: str) -> None:
    bank = subspace_pca.fit(wave(HISTORY), HISTORY)
    tensors = bank.tensors()
    tensors[name] = np.zeros_like(tensors[name])
    with pytest.raises(ValueError, match="above zero"):
        subspace_pca.restore(bank.header(), tensors)


def test_a_tensor_with_a_hole_is_refused() -> None:
    bank = subspace_pca.fit(wave(HISTORY), HISTORY)
    tensors = {**bank.tensors(), "predictor": np.full((1, 31), np.nan, dtype=np.float32)}
    with pytest.raises(ValueError, match="predictor"):
        subspace_pca.restore(bank.header(), tensors)


def test_a_search_tries_windows_and_components() -> None:
    class Lowest:
        def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
            return low

        def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
            return low

        def suggest_categorical(self, name: str, choices: object) -> object:
            raise AssertionError(name)

    assert subspace_pca.search(Lowest()) == SubspacePcaParameters(window=12, components=2)


def test_the_state_of_a_series_stays_below_three_kilobytes() -> None:
    bank = subspace_pca.fit(np.zeros((10, 2000)), Grid(0, MINUTE, 2000))
    assert sum(tensor.nbytes for tensor in bank.tensors().values()) / 10 < 1600


def test_medians_of_five_are_those_of_a_sort() -> None:
    rows = np.random.default_rng(0).integers(0, 4, (50, 9)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(rows, 5, axis=1)
    np.testing.assert_array_equal(five_medians(rows), np.median(windows, axis=2))


def test_a_sample_is_held_until_the_next_one() -> None:
    rows = np.array([[np.nan, 1.0, np.nan, np.nan, 2.0]], dtype=np.float32)
    np.testing.assert_array_equal(hold(rows), [[np.nan, 1.0, 1.0, 1.0, 2.0]])
