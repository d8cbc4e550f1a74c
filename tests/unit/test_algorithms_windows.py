"""Window features, and the families that learn ordinary windows without labels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank, isolation_forest, kmeans
from metricwatch.algorithms.base import FitStopped, Horizon, Progress
from metricwatch.algorithms.isolation_trees import (
    CUTS,
    DEPTH,
    SAMPLE,
    grow,
    ordinary_depth,
    path_lengths,
    whole,
)
from metricwatch.algorithms.kmeans import find_centres
from metricwatch.algorithms.window_features import (
    FEATURES,
    LAGS,
    LEAST_SPREAD,
    describe,
    lagged_deviations,
    standard,
)
from metricwatch.algorithms.windows import window_length
from metricwatch.resources.algorithm import IsolationForestParameters, KmeansParameters
from metricwatch.series import Grid

Values = NDArray[np.float64]
STEP = 300
HISTORY = Grid(start=0, step=STEP, count=2016)
LIVE = Grid(start=HISTORY.end + STEP, step=STEP, count=1000)
UNLABELLED = ("isolationForest", "kmeans")


def described(window: Values, *, floor: float = 1e-3) -> dict[str, float]:
    nothing = np.zeros(1)
    features = describe(window[None], window[-1:], nothing, np.array([floor]), nothing)
    return dict(zip(FEATURES, features[0].tolist(), strict=True))


def wave(length: int, cycles: float, *, size: float = 1.0) -> Values:
    return np.asarray(size * np.sin(2 * np.pi * cycles * np.arange(length) / length))


def noise(grid: Grid, *, series: int = 2, seed: int = 0) -> Values:
    return 50.0 + np.random.default_rng(seed).standard_normal((series, grid.count))


def after(name: str, values: Values, history: Values | None = None) -> Values:
    """Evidence on `values` after the history that was learned from."""
    learned = noise(HISTORY, series=len(values)) if history is None else history
    bank = FAMILIES[name].fit(learned, HISTORY, seed=3)
    bank.backtest(HISTORY, learned)
    return np.asarray(bank.backtest(LIVE, values).evidence[0])


@pytest.mark.parametrize("cycles", [1, 4, 10, 20, 31])
def test_the_peak_of_the_spectrum_is_where_the_wave_is(cycles: int) -> None:
    assert described(wave(64, cycles))["peak_frequency"] == pytest.approx(cycles / 64, abs=1 / 64)


def test_level_spread_slope_and_size_of_a_ramp_are_those_of_a_ramp() -> None:
    found = described(np.arange(16.0))
    assert np.sinh(found["level"]) == pytest.approx(7.5, rel=1e-5)
    assert np.exp(found["spread"]) == pytest.approx(np.arange(16).std(), rel=1e-5)
    assert np.sinh(found["slope"]) == pytest.approx(16.0, rel=1e-5)
    assert np.exp(found["rms"]) == pytest.approx(np.sqrt((np.arange(16.0) ** 2).mean()), rel=1e-3)
    assert np.sinh(found["departure"]) == pytest.approx(15.0, rel=1e-5)
    assert np.sinh(found["latest_level"]) == pytest.approx(14.5, rel=1e-5)
    assert np.sinh(found["recent_level"]) == pytest.approx(13.5, rel=1e-5)


def test_a_flat_window_has_the_moments_of_a_normal_distribution() -> None:
    found = described(np.full(32, 7.0))
    assert np.exp(found["kurtosis"]) == pytest.approx(3.0, rel=1e-5)
    assert found["skewness"] == 0.0
    assert np.exp(found["spread"]) == pytest.approx(1e-3, rel=1e-4)
    assert found["crest"] == pytest.approx(1.0, rel=1e-3)


def test_one_outlier_shows_in_kurtosis_skewness_and_crest() -> None:
    calm = np.random.default_rng(0).standard_normal(64)
    spiked = calm.copy()
    spiked[30] = -15.0
    before, found = described(calm), described(spiked)
    assert found["kurtosis"] > before["kurtosis"] + 1.5
    assert found["skewness"] < before["skewness"] - 2
    assert found["crest"] > before["crest"] + 2


def test_the_fast_half_of_the_spectrum_holds_what_is_fast() -> None:
    fast, slow = described(wave(64, 16, size=2.0)), described(wave(64, 2, size=2.0))
    assert np.exp(fast["fast_energy"]) == pytest.approx(np.sqrt(2.0), rel=0.05)
    assert np.exp(slow["fast_energy"]) < 0.05


def test_powers_of_noise_add_up_to_the_share_of_its_variance_that_is_fast() -> None:
    windows = np.random.default_rng(0).standard_normal((2000, 64))
    nothing = np.zeros(2000)
    found = describe(windows, nothing, nothing, np.full(2000, 1e-3), nothing)
    energy = np.exp(2 * found[:, FEATURES.index("fast_energy")].astype(np.float64)).mean()
    assert energy == pytest.approx(0.75, abs=0.04)


def test_a_window_is_described_by_the_same_bits_alone_and_among_others() -> None:
    windows = np.random.default_rng(0).standard_normal((501, 40)).cumsum(axis=1)
    others = np.ones(501)
    together = describe(windows, windows[:, -1], others, others, others)
    one = slice(77, 78)
    alone = describe(windows[one], windows[one, -1], others[one], others[one], others[one])
    np.testing.assert_array_equal(alone[0], together[77])


def test_lagged_deviations_begin_with_the_sample_before_the_newest() -> None:
    windows = np.arange(10.0)[None]
    found = lagged_deviations(windows, np.array([8.0]), np.array([2.0]))
    np.testing.assert_allclose(np.sinh(found[0]) * 2.0 + 8.0, [8, 7, 6, 5][:LAGS], atol=1e-5)


def test_features_are_standardised_without_the_windows_that_say_nothing() -> None:
    features = np.random.default_rng(0).normal(3, 2, (1, 999, 2)).astype(np.float32)
    features[0, ::3] = np.nan
    centre, scale = standard(features)
    assert np.abs(centre - 3).max() < 0.3
    assert np.abs(scale - 2).max() < 0.3


def test_a_feature_that_never_varies_gets_a_scale_all_the_same() -> None:
    centre, scale = standard(np.full((1, 50, 13), np.nan, dtype=np.float32))
    np.testing.assert_array_equal(centre, np.zeros((1, 13)))
    np.testing.assert_allclose(scale[0], LEAST_SPREAD[:13])


@pytest.mark.parametrize(
    ("step", "ticks", "wanted", "length"),
    [
        (60, 10_000, None, 64),
        (10, 100_000, None, 64),
        (3600, 2_000, None, 24),
        (86_400, 2_000, None, 16),
        (300, 800, None, 40),
        (300, 60, None, 8),
        (300, 10_000, 128, 128),
        (300, 400, 128, 20),
    ],
)
def test_a_window_is_a_day_at_most_and_a_small_part_of_the_history(
    step: int, ticks: int, wanted: int | None, length: int
) -> None:
    assert window_length(step, ticks, wanted) == length


def changed_spread(values: Values) -> None:
    values[:, 300:400] += 4 * np.random.default_rng(9).standard_normal(100)


def oscillation(values: Values) -> None:
    values[:, 300:400] += 3 * np.sin(np.arange(100) * 2 * np.pi / 10)


def drift(values: Values) -> None:
    values[:, 300:400] += np.linspace(0, 6, 100)


def flat_line(values: Values) -> None:
    values[:, 300:400] = 50.0


@pytest.mark.parametrize("name", UNLABELLED)
@pytest.mark.parametrize("change", [changed_spread, oscillation, drift, flat_line])
def test_a_window_of_another_kind_is_odder_than_every_ordinary_one(
    name: str, change: Callable[[Values], None]
) -> None:
    values = noise(LIVE, seed=1)
    change(values)
    evidence = after(name, values)
    ordinary = evidence[:, :300].max(axis=1)
    assert (evidence[:, 300:400].max(axis=1) > 1.2 * ordinary).all()


@pytest.mark.parametrize("name", UNLABELLED)
def test_farther_out_is_odder_without_end(name: str) -> None:
    values = noise(LIVE, series=4, seed=1)
    values[:, 300:] += np.array([[3.0], [10.0], [40.0], [200.0]])
    history = np.repeat(noise(HISTORY, series=1), 4, axis=0)
    peak = after(name, values, history)[:, 300:310].max(axis=1)
    assert (np.diff(peak) > 0).all()


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_new_level_becomes_ordinary_after_some_twelve_windows(name: str) -> None:
    values = noise(LIVE, seed=1)
    values[:, 100:] += 30.0
    evidence = after(name, values)
    assert (evidence[:, 100:110].max(axis=1) > 2 * evidence[:, :100].max(axis=1)).all()
    assert (np.median(evidence[:, 950:], axis=1) < evidence[:, :100].max(axis=1)).all()


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_spike_is_forgotten_when_it_leaves_the_window(name: str) -> None:
    values, spiked = noise(LIVE, seed=1), noise(LIVE, seed=1)
    spiked[:, 200] += 1e6
    quiet, evidence = after(name, values), after(name, spiked)
    np.testing.assert_allclose(evidence[:, :200], quiet[:, :200])
    assert (evidence[:, 200] > quiet[:, 200] + 1).all()
    # The baseline is a median of blocks: the one with the spike in it moves it a little.
    assert np.abs(evidence[:, 265:] - quiet[:, 265:]).mean() < 0.05


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_short_gap_is_bridged_and_a_long_one_says_nothing(name: str) -> None:
    values = noise(LIVE, seed=1)
    values[:, 100:104] = np.nan
    values[:, 200:260] = np.nan
    evidence = after(name, values)
    assert np.isnan(evidence[:, 100:104]).all()
    assert np.isfinite(evidence[:, 104:200]).all()
    # Three quarters of 64 samples have to be there again.
    assert np.isnan(evidence[:, 200 : 260 + 43]).all()
    assert np.isfinite(evidence[:, 260 + 48 :]).all()


@pytest.mark.parametrize("name", UNLABELLED)
@pytest.mark.parametrize("size", [2.0**50, 2.0**-30])
def test_the_unit_of_a_series_makes_no_difference(name: str, size: float) -> None:
    history, values = noise(HISTORY), noise(LIVE, seed=1)
    plain = after(name, values, history)
    np.testing.assert_allclose(after(name, values * size, history * size), plain, rtol=1e-3)


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_series_that_rests_says_so_until_it_moves(name: str) -> None:
    values = np.full((2, LIVE.count), [[0.0], [5.0]])
    values[:, 500:] += 1.0
    evidence = after(name, values, np.full((2, HISTORY.count), [[0.0], [5.0]]))
    assert np.isfinite(evidence).all()
    assert (evidence[:, 500] > evidence[:, :500].max(axis=1) + 1).all()


@pytest.mark.parametrize("name", UNLABELLED)
@pytest.mark.parametrize("ticks", [1, 5, 70])
def test_hardly_any_history_gives_a_bank_that_steps(name: str, ticks: int) -> None:
    grid = HISTORY.part(0, ticks)
    bank = FAMILIES[name].fit(noise(grid), grid)
    evidence = bank.backtest(LIVE, noise(LIVE, seed=1)).evidence
    assert not np.isinf(evidence).any()


@pytest.mark.parametrize("name", UNLABELLED)
def test_an_incident_in_the_history_stays_odd(name: str) -> None:
    history = noise(HISTORY)
    history[:, 1000:1020] += 8.0
    values = noise(LIVE, seed=1)
    values[:, 300:320] += 8.0
    evidence = after(name, values, history)
    assert (evidence[:, 300:320].max(axis=1) > 1.5 * evidence[:, :300].max(axis=1)).all()


@pytest.mark.parametrize("name", UNLABELLED)
def test_parameters_and_state_fit_in_six_kilobytes_a_series(name: str) -> None:
    grid = Grid(0, 60, 3000)
    bank = FAMILIES[name].fit(noise(grid, series=20), grid)
    parameters = sum(tensor.nbytes for tensor in bank.tensors().values())
    assert (parameters + bank_state(bank)) / 20 <= 6 * 1024


def bank_state(bank: Bank) -> int:
    windows: Any = bank
    state = vars(windows.windows).values()
    return sum(value.nbytes for value in state if isinstance(value, np.ndarray))


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_fit_on_windows_stops_and_tells(name: str) -> None:
    told: list[Progress] = []
    values = noise(HISTORY, series=3)
    FAMILIES[name].fit(values, HISTORY, progress=told.append)
    assert (told[-1].family, told[-1].series, told[-1].of) == (name, 3, 3)
    with pytest.raises(FitStopped):
        FAMILIES[name].fit(values, HISTORY, should_stop=lambda: True)


@pytest.mark.parametrize("name", UNLABELLED)
def test_evidence_of_windows_is_long_and_has_no_sign(name: str) -> None:
    (stream,) = FAMILIES[name].fit(noise(HISTORY), HISTORY).streams
    assert (stream.horizon, stream.signed) == (Horizon.LONG, False)


def test_the_mean_path_of_an_unsuccessful_search_is_that_of_the_paper() -> None:
    # Liu, Ting & Zhou 2008, equation 1: c(256) is about 10.24.
    assert [ordinary_depth(size) for size in (1, 2)] == [0.0, 1.0]
    assert ordinary_depth(256) == pytest.approx(10.244, abs=1e-3)


def walked(window: NDArray[np.int8], cuts: NDArray[np.int16]) -> int:
    """The leaf that one window reaches in one tree, step by step."""
    node = 0
    while node < CUTS:
        feature, threshold = int(cuts[node]) % 16, int(cuts[node]) // 16
        node = 2 * node + (2 if window[feature] > threshold else 1)
    return node - CUTS


def test_all_trees_walked_at_once_reach_the_leaves_of_a_plain_walk() -> None:
    features = np.random.default_rng(0).normal(0, 2, (3, 200, 11)).astype(np.float32)
    cuts, depths = grow(features, np.ones((3, 200), dtype=np.bool_), trees=5, seed=1)
    found = path_lengths(features, cuts, depths)
    for series, window in [(0, 0), (1, 77), (2, 199)]:
        lengths = [
            depths[series, tree, walked(whole(features)[series, window], cuts[series, tree])] / 16
            for tree in range(5)
        ]
        assert found[series, window] == pytest.approx(np.mean(lengths))


def test_a_forest_ranks_points_as_the_one_of_scikit_learn_does() -> None:
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (900, 4)), rng.normal(0, 4, (100, 4))])
    points = np.clip(points, -15, 15).astype(np.float32)
    cuts, depths = grow(points[None], np.ones((1, 1000), dtype=np.bool_), trees=100, seed=0)
    ours = -path_lengths(points[None], cuts, depths)[0]
    theirs = (
        -IsolationForest(n_estimators=100, max_samples=SAMPLE, random_state=0)
        .fit(points)
        .score_samples(points)
    )
    ranks = [np.argsort(np.argsort(one)) for one in (ours, theirs)]
    assert np.corrcoef(ranks)[0, 1] > 0.95


def test_every_window_of_a_tree_ends_in_one_leaf_and_points_alone_end_early() -> None:
    points = np.zeros((1, 64, 2), dtype=np.float32)
    points[0, 0] = 10.0
    cuts, depths = grow(points, np.ones((1, 64), dtype=np.bool_), trees=50, seed=0)
    lengths = path_lengths(points, cuts, depths)[0]
    assert lengths[0] < 1.5
    assert lengths[1:].min() > lengths[0] + 2
    assert 2**DEPTH == SAMPLE


def test_cuts_fall_mostly_on_the_features_that_are_favoured() -> None:
    features = np.random.default_rng(0).normal(0, 2, (1, 300, 4)).astype(np.float32)
    clear = np.ones((1, 300), dtype=np.bool_)
    cuts, _ = grow(features, clear, trees=60, seed=0, favour=np.array([1.0, 1.0, 5.0, 1.0]))
    roots = np.bincount(cuts[0, :, 0] & 15, minlength=4)
    assert roots[2] / 60 == pytest.approx(5 / 8, abs=0.15)


def test_trees_of_a_series_do_not_depend_on_its_neighbours() -> None:
    features = np.random.default_rng(0).normal(0, 2, (2, 300, 11)).astype(np.float32)
    clear = np.ones((2, 300), dtype=np.bool_)
    both, _ = grow(features, clear, trees=6, seed=4)
    alone, _ = grow(features[1:], clear[1:], trees=6, seed=4)
    np.testing.assert_array_equal(both[1], alone[0])


def planted(centres: Values, *, each: int = 60) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    points = centres[:, None] + 0.2 * rng.standard_normal((len(centres), each, centres.shape[1]))
    return points.reshape(1, -1, centres.shape[1]).astype(np.float32)


def test_centres_are_where_windows_gather() -> None:
    truth = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    points = planted(truth)
    clear = np.ones(points.shape[:2], dtype=np.bool_)
    found = find_centres(points, clear, clusters=4, trim=0.02, seed=0)[0]
    distance = np.linalg.norm(found[:, None] - truth, axis=-1)
    assert sorted(distance.argmin(axis=1).tolist()) == [0, 1, 2, 3]
    assert distance.min(axis=1).max() < 0.2


def test_the_few_farthest_windows_get_no_centre() -> None:
    points = planted(np.array([[0.0, 0.0], [3.0, 3.0]]), each=100)
    points[0, :3] = 14.0
    clear = np.ones(points.shape[:2], dtype=np.bool_)
    found = find_centres(points, clear, clusters=2, trim=0.02, seed=0)[0]
    assert found.max() < 4.0


def test_windows_that_say_nothing_move_no_centre() -> None:
    points = planted(np.array([[0.0, 0.0], [9.0, 9.0]]))
    clear = np.zeros(points.shape[:2], dtype=np.bool_)
    clear[0, :60] = True
    found = find_centres(points, clear, clusters=2, trim=0.0, seed=0)[0]
    assert np.abs(found).max() < 1.0


@pytest.mark.parametrize(("ticks", "clusters"), [(120, 1), (700, 2), (2016, 3), (10_000, 8)])
def test_a_longer_history_has_more_kinds_of_windows(ticks: int, clusters: int) -> None:
    grid = Grid(0, STEP, ticks)
    bank = kmeans.fit(noise(grid, series=1), grid)
    assert bank.header()["clusters"] == clusters


def test_parameters_of_a_model_are_those_that_are_used() -> None:
    forest = isolation_forest.fit(
        noise(HISTORY), HISTORY, IsolationForestParameters(window=16, trees=5)
    )
    assert forest.header() == {"step": STEP, "length": 16, "width": 13, "trees": 5}
    centres = kmeans.fit(noise(HISTORY), HISTORY, KmeansParameters(window=20, clusters=3))
    assert centres.header() == {"step": STEP, "length": 20, "width": 13, "clusters": 3}


class FirstChoice:
    """Suggests the least of everything."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return low

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return low

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return choices[-1]


@pytest.mark.parametrize("name", [*UNLABELLED, "randomForest", "xgboost", "helm"])
def test_a_search_suggests_parameters_of_its_family(name: str) -> None:
    family = FAMILIES[name]
    assert family.search is not None
    assert isinstance(family.search(FirstChoice()), family.parameters)
    assert family.minimum_samples(None) == family.minimum_samples(family.parameters())


DAMAGE: list[tuple[str, str, Callable[[dict[str, Any], dict[str, Any]], Any], str]] = [
    ("isolationForest", "step", lambda h, t: h.update(step=0), "whole seconds"),
    ("isolationForest", "length", lambda h, t: h.update(length=1 << 20), "expected 8 to 256"),
    ("isolationForest", "trees", lambda h, t: h.update(trees=10**9), "trees is"),
    ("isolationForest", "no cuts", lambda h, t: t.pop("cuts"), "missing"),
    ("isolationForest", "feature", lambda h, t: t.update(cuts=t["cuts"] | 15), "beyond the 13"),
    ("isolationForest", "scale", lambda h, t: t.update(scale=-t["scale"]), "above zero"),
    ("isolationForest", "depths", lambda h, t: t.update(depths=t["depths"][:1]), "expected uint8"),
    ("kmeans", "clusters", lambda h, t: h.update(clusters="many"), "clusters is 'many'"),
    ("kmeans", "centres", lambda h, t: t.update(centres=t["centres"] * np.nan), "no numbers"),
    ("kmeans", "typical", lambda h, t: t.update(typical=0 * t["typical"]), "above zero"),
]


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [(name, damage, sentence) for name, _, damage, sentence in DAMAGE],
    ids=[f"{name}-{what}" for name, what, _, _ in DAMAGE],
)
def test_a_damaged_bank_is_refused_with_what_is_wrong(
    name: str, damage: Callable[[dict[str, Any], dict[str, Any]], Any], sentence: str
) -> None:
    bank = FAMILIES[name].fit(noise(HISTORY), HISTORY)
    header, tensors = dict(bank.header()), dict(bank.tensors())
    damage(header, tensors)
    with pytest.raises(ValueError, match=sentence):
        FAMILIES[name].restore(header, tensors)
