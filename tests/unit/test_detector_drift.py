"""What a detector says of series that are no longer as the version learned them."""

from pathlib import Path

import numpy as np
import pytest

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.robust import value_step
from metricwatch.anomalies import Lifecycle, Policy, Verdicts, advance
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.scorer import Scorer
from metricwatch.scoring import Scoring
from metricwatch.series import Grid, Labels
from metricwatch.store.rows import Slice
from metricwatch_detector.display import Display
from metricwatch_detector.exposition import WatchLabels
from metricwatch_detector.recording import Identity
from metricwatch_detector.telemetry import Telemetry

STEP, DAY = 300, 288
START = 1_700_006_400
POLICY = Policy(interval=STEP, threshold=4.0)
SERIES = 4
GAUGE = "metricwatch_watch_drift_ratio"


def samples(days: int, *, seed: int, series: int = SERIES, scale: float = 1.0) -> np.ndarray:
    return 100 + scale * np.random.default_rng(seed).standard_normal((series, days * DAY))


def grid_of(values: np.ndarray, *, start: int = START) -> Grid:
    return Grid(start, STEP, values.shape[1])


@pytest.fixture(scope="module")
def artifact() -> bytes:
    family, values = FAMILIES["seasonal"], samples(10, seed=1)
    grid = grid_of(values, start=START - 10 * DAY * STEP)
    evidence = family.fit(values, grid).backtest(grid, values).evidence
    bank = family.fit(values, grid)
    labels: tuple[Labels, ...] = tuple((("pod", str(row)),) for row in range(SERIES))
    return pack(
        ModelChunk(
            watch_uid="watch-1",
            interval=STEP,
            labels=labels,
            bank=bank,
            scoring=Scoring.fit(bank.streams, evidence, grid, value_step=value_step(values)),
        )
    )


def walk(scorer: Scorer, values: np.ndarray, *, start: int = START) -> None:
    grid, life = grid_of(values, start=start), Lifecycle.of(len(values))
    for span in scorer.spans(grid):
        part = grid.part(span.start, span.stop - span.start)
        excluded = np.zeros((len(values), part.count), np.bool_)
        for tick, verdicts in enumerate(scorer.judge_span(POLICY, part, values[:, span])):
            advance(POLICY, life, verdicts)
            excluded[:, tick] = life.open
        scorer.learn_span(excluded)


def test_nothing_is_said_until_a_day_was_seen(artifact: bytes) -> None:
    scorer = Scorer([unpack(artifact)], interval=STEP)
    assert scorer.drift() is None
    walk(scorer, samples(1, seed=2))
    assert scorer.drift() is None


def test_series_that_go_on_as_they_were_learned_have_not_drifted(artifact: bytes) -> None:
    scorer = Scorer([unpack(artifact)], interval=STEP)
    walk(scorer, samples(5, seed=2))
    assert scorer.drift() == 0.0


def test_the_share_is_of_the_series_that_have_drifted(artifact: bytes) -> None:
    values = samples(4, seed=2)
    values[0] = samples(4, seed=3, series=1, scale=3.0)[0]
    scorer = Scorer([unpack(artifact)], interval=STEP)
    walk(scorer, values)
    assert scorer.drift() == 1 / SERIES


def test_series_that_went_and_series_that_are_new_do_not_count(artifact: bytes) -> None:
    values = samples(4, seed=2, series=SERIES + 3)
    values[0] = samples(4, seed=3, series=1, scale=3.0)[0]
    values[1:3] = np.nan  # two have gone
    values[SERIES:] *= np.linspace(1, 50, values.shape[1])  # the version does not know the last
    scorer = Scorer([unpack(artifact)], interval=STEP)
    walk(scorer, values)
    assert scorer.drift() == 1 / (SERIES - 2)


def test_a_version_that_knows_nothing_has_no_drift() -> None:
    scorer = Scorer([], interval=STEP)
    walk(scorer, samples(4, seed=2))
    assert scorer.drift() is None


def test_incidents_that_are_open_count(artifact: bytes) -> None:
    """What is kept from the calibration must not be kept from drift: it would never end."""
    scorer = Scorer([unpack(artifact)], interval=STEP)
    grid, values = grid_of(samples(4, seed=2)), samples(4, seed=2, scale=4.0)
    for tick, time in enumerate(grid.timestamps().tolist()):
        scorer.step(POLICY, time=time, values=values[:, tick])
        scorer.learn(excluded=np.ones(SERIES, np.bool_))
    assert scorer.drift() == 1.0


@pytest.mark.parametrize(("scale", "drift"), [(1.0, 0.0), (3.0, 1.0)])
def test_a_detector_that_starts_again_knows_what_it_knew(
    artifact: bytes, scale: float, drift: float
) -> None:
    values = samples(6, seed=2, scale=scale)
    scorer = Scorer([unpack(artifact)], interval=STEP)
    scorer.warm(grid_of(values), values)
    assert scorer.drift() == drift


def test_history_in_parts_brings_it_as_far_as_history_at_once(
    artifact: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten thousand series it is cut into parts, for the memory that evidence takes."""
    # Two of them are unknown to the version, one of which comes later.
    history, after = samples(6, seed=2, series=6, scale=1.4), samples(1, seed=3, series=6)
    history[0, 700:760] += 30.0
    history[4, :900] = np.nan
    scorers = []
    for most, least in ((10**9, 64), (1, 100)):
        monkeypatch.setattr("metricwatch.scorer._WARMED_VALUES", most)
        monkeypatch.setattr("metricwatch.scorer._LEAST_WARMED_TICKS", least)
        scorer = Scorer([unpack(artifact)], interval=STEP)
        scorer.warm(grid_of(history), history)
        scorers.append(scorer)
    assert scorers[0].drift() == scorers[1].drift()
    for tick, time in enumerate(
        grid_of(after, start=START + 6 * DAY * STEP).timestamps().tolist()
    ):
        whole, parts = (one.step(POLICY, time=time, values=after[:, tick]) for one in scorers)
        for name in ("expected", "rarity", "score", "lower", "upper"):
            np.testing.assert_allclose(
                getattr(whole, name), getattr(parts, name), rtol=1e-6, err_msg=f"{name} at {tick}"
            )


def test_steps_and_spans_say_the_same(artifact: bytes) -> None:
    values = samples(3, seed=2, scale=2.0)
    at_once, one_by_one = (Scorer([unpack(artifact)], interval=STEP) for _ in range(2))
    grid = grid_of(values)
    for span in one_by_one.spans(grid):
        for tick in range(span.start, span.stop):
            one_by_one.step(POLICY, time=START + tick * STEP, values=values[:, tick])
            one_by_one.learn(excluded=np.zeros(SERIES, np.bool_))
        part = grid.part(span.start, span.stop - span.start)
        at_once.judge_span(POLICY, part, values[:, span])
        at_once.learn_span(np.zeros((SERIES, part.count), np.bool_))
        assert at_once.drift() == one_by_one.drift()
    assert at_once.drift() is not None


# --- what is shown


def verdicts() -> Verdicts:
    scorer = Scorer([], interval=STEP)
    return scorer.step(POLICY, time=START, values=np.array([1.0]))


def shown(drift: float | None, *, serving: bool) -> tuple[Display, Telemetry]:
    telemetry = Telemetry(version=2, shard=0)
    identity = Identity(1, "uid", 1, 2, Slice(1, 0), WatchLabels("shop", "latency", "checkout"))
    display = Display(identity, telemetry)
    show(display, drift, serving=serving)
    return display, telemetry


def show(display: Display, drift: float | None, *, serving: bool) -> None:
    seen = verdicts()
    life = Lifecycle()
    advance(POLICY, life, seen)
    display.show(
        seen,
        lifecycle=life,
        labels=[(("pod", "a"),)],
        families={"zscore": 1},
        drift=drift,
        left_out=0,
        policy=POLICY,
        serving=serving,
        damaged=False,
        message="",
        now=seen.time + 1.0,
    )


def line(telemetry: Telemetry) -> str | None:
    rows = telemetry.render().decode().splitlines()
    return next((row.split()[-1] for row in rows if row.startswith(GAUGE)), None)


@pytest.mark.parametrize("drift", [None, 0.0, 0.25])
@pytest.mark.parametrize("serving", [True, False])
def test_every_version_records_its_drift(drift: float | None, serving: bool) -> None:
    display, _ = shown(drift, serving=serving)
    assert display.health().drift == drift


def test_the_serving_version_shows_its_drift() -> None:
    _, telemetry = shown(0.25, serving=True)
    assert line(telemetry) == "0.25"


def test_no_drift_is_shown_while_none_is_known_or_another_version_serves() -> None:
    assert line(shown(None, serving=True)[1]) is None
    assert line(shown(0.25, serving=False)[1]) is None


def test_drift_is_hidden_when_another_version_takes_over_and_when_the_watch_goes() -> None:
    display, telemetry = shown(0.25, serving=True)
    show(display, 0.25, serving=False)
    assert line(telemetry) is None
    show(display, 0.5, serving=True)
    assert line(telemetry) == "0.5"
    display.close()
    assert line(telemetry) is None


def test_the_metric_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/monitoring.md").read_text()
    assert GAUGE in text
