"""Slots, schedules, settings, scoring, reading, rows: what needs no server."""

import json
import subprocess
import sys

import numpy as np
import pytest

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.robust import value_step
from metricwatch.anomalies import Action, Lifecycle, Policy, State, Verdicts, advance
from metricwatch.artifact import ModelChunk
from metricwatch.assignments import WatchSettings
from metricwatch.scorer import Scorer
from metricwatch.scoring import Scoring
from metricwatch.series import Grid, Labels, Panel, shard_of
from metricwatch.sources import Sample, SourceUnavailable
from metricwatch_detector.reading import Reader
from metricwatch_detector.rows import anomaly_from, row_from
from metricwatch_detector.schedule import Schedule
from metricwatch_detector.settings import Settings, SettingsError
from metricwatch_detector.slots import SlotIndex

POLICY = Policy(interval=60, threshold=4.0)
START = 1_700_000_040


def pod(name: str) -> Labels:
    return (("pod", name),)


def history(series: int, ticks: int = 600) -> tuple[Grid, np.ndarray]:
    rng = np.random.default_rng(1)
    return Grid(START - ticks * 60, 60, ticks), 100 + rng.normal(size=(series, ticks))


def chunk(*names: str, family_name: str = "seasonal") -> ModelChunk:
    grid, values = history(len(names))
    family = FAMILIES[family_name]
    bank = family.fit(values, grid)
    evidence = family.fit(values, grid).backtest(grid, values).evidence
    return ModelChunk(
        watch_uid="watch-1",
        interval=60,
        labels=tuple(pod(name) for name in names),
        bank=bank,
        scoring=Scoring.fit(bank.streams, evidence, grid, value_step=value_step(values)),
    )


# --- slots


def test_known_series_come_first_and_new_ones_in_the_order_of_their_appearance() -> None:
    index = SlotIndex([pod("a"), pod("b")])
    placement = index.place([("", (pod("b"), pod("new"), pod("a")))])
    assert dict(zip(placement.slots.tolist(), placement.rows.tolist(), strict=True)) == {
        1: 0,
        2: 1,
        0: 2,
    }
    assert index.labels == [pod("a"), pod("b"), pod("new")]


def test_the_same_answer_gives_the_same_placement_without_looking() -> None:
    index = SlotIndex()
    labels = (pod("a"), pod("b"))
    assert index.place([("", labels)]) is index.place([("", labels)])
    assert index.place([("", labels[::-1])]) is not index.place([("", labels)])


def test_series_of_several_queries_are_told_apart_by_the_label_query() -> None:
    index = SlotIndex()
    placement = index.place([("errors", (pod("a"),)), ("rate", (pod("a"), pod("b")))])
    assert placement.slots.tolist() == [0, 1, 2]
    assert index.labels[0] == (("pod", "a"), ("query", "errors"))
    assert index.labels[2] == (("pod", "b"), ("query", "rate"))


def test_beyond_the_limit_the_first_by_label_order_are_watched() -> None:
    index = SlotIndex(limit=2)
    placement = index.place([("z", (pod("b"),)), ("a", (pod("a"), pod("b")))])
    assert placement.left_out == 1
    assert {labels[1][1] + labels[0][1] for labels in index.labels} == {"aa", "ab"}


def test_each_series_is_in_exactly_one_shard() -> None:
    labels = tuple(pod(f"pod-{number}") for number in range(50))
    rows = [
        SlotIndex(labels, shard=shard, shards=3).place([("", labels)]).rows.tolist()
        for shard in range(3)
    ]
    assert sorted(row for own in rows for row in own) == list(range(50))
    assert all(shard_of(labels[row], 3) == shard for shard in range(3) for row in rows[shard])


def test_a_series_named_twice_counts_once() -> None:
    placement = SlotIndex().place([("", (pod("a"), pod("a")))])
    assert (placement.slots.tolist(), placement.rows.tolist()) == ([0], [0])


# --- schedule


def test_a_tick_is_due_after_the_delay() -> None:
    schedule = Schedule(60, delay=30)
    assert schedule.newest_due(1_000_049.9) == 999_960
    assert schedule.newest_due(1_000_050) == 1_000_020
    assert schedule.due_at(1_000_020) == 1_000_050


@pytest.mark.parametrize(
    ("decided_until", "prelude", "first"),
    [
        (None, 5, 999_960),  # never decided: from now on
        (999_900, 0, 999_960),
        (999_900, 2, 999_840),  # two decided ticks once more, for runs that are under way
        (999_600, 1, 999_600),
        (900_000, 1, 999_960 - 3600),  # an hour is enough
        (999_960, 0, 999_960),  # up to date
        (2_000_000, 1, 999_960),  # a database from the future
    ],
)
def test_scoring_starts_after_the_last_decision(
    decided_until: int | None, prelude: int, first: int
) -> None:
    start = Schedule(60).start(now=1_000_000, decided_until=decided_until, prelude=prelude)
    assert start == first


def test_a_fast_watch_catches_up_less_than_an_hour_and_a_slow_one_at_least_a_tick() -> None:
    assert Schedule(1).oldest(1000) == 500
    assert Schedule(7200).oldest(72_000) == 64_800


def test_more_than_two_intervals_behind_is_late() -> None:
    assert Schedule(60).late_before(1_000_000) == 999_840


# --- settings

ENVIRONMENT = {
    "METRICWATCH_DATABASE_URL": "postgresql://u:p@db/x",
    "METRICWATCH_MODEL_UID": "model-1",
    "METRICWATCH_VERSION": "3",
}


def test_settings_have_the_documented_defaults() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert (settings.model_uid, settings.version) == ("model-1", 3)
    assert (settings.shard, settings.shards, settings.port) == (0, 1, 8080)
    assert (settings.log_level, settings.score_retention_days) == ("info", 14)
    assert ":p@" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"METRICWATCH_DATABASE_URL": ""}, "METRICWATCH_DATABASE_URL_FILE"),
        ({"METRICWATCH_MODEL_UID": ""}, "METRICWATCH_MODEL_UID is not set"),
        ({"METRICWATCH_VERSION": ""}, "METRICWATCH_VERSION is not set; it must be a whole"),
        ({"METRICWATCH_VERSION": "one"}, "METRICWATCH_VERSION is 'one'"),
        (
            {"METRICWATCH_VERSION": "0"},
            "METRICWATCH_VERSION is 0; it must be a .* from 1",
        ),
        ({"METRICWATCH_SHARD": "2", "METRICWATCH_SHARDS": "2"}, "METRICWATCH_SHARD is 2"),
        ({"METRICWATCH_PORT": "-1"}, "METRICWATCH_PORT is '-1'"),
        ({"METRICWATCH_PORT": "70000"}, "from 0 to 65535"),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_environment(ENVIRONMENT | variables)


def test_wrong_settings_end_the_process_with_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metricwatch_detector"], capture_output=True, text=True, env={}
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "METRICWATCH" in done.stderr


def test_the_detector_imports_no_library_of_the_trainer() -> None:
    program = """
import json, sys
import metricwatch_detector.__main__
print(json.dumps([name for name in ("torch", "pandas", "optuna", "sklearn", "kopf", "kubernetes")
                  if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == []


# --- scoring


def test_a_value_far_from_what_was_learned_scores_above_one_and_a_normal_one_does_not() -> None:
    scorer = Scorer([chunk("a", "b")], interval=60)
    verdicts = scorer.step(POLICY, time=START, values=np.array([100.5, 300.0]))
    assert verdicts.score[0] < 1 < verdicts.score[1]
    assert verdicts.lower[0] < 100.5 < verdicts.upper[0]
    assert 0 < verdicts.typical[0] < 3


def test_the_band_is_where_the_score_reaches_one() -> None:
    scorer = Scorer([chunk("a", "b")], interval=60)
    edge = scorer.step(POLICY, time=START, values=np.array([100.0, 100.0]))
    inside, outside = edge.upper[0] - 1e-3, edge.upper[1] + 1e-3
    again = Scorer([chunk("a", "b")], interval=60)
    verdicts = again.step(POLICY, time=START, values=np.array([inside, outside]))
    assert verdicts.score[0] < 1 < verdicts.score[1]


def test_chunks_and_unknown_series_are_scored_by_their_own_family() -> None:
    scorer = Scorer([chunk("a", family_name="autoregressive"), chunk("b", "c")], interval=60)
    scorer.warm(*history(3))
    verdicts = scorer.step(POLICY, time=START, values=np.array([100.0, 100.0, 100.0, 5.0]))
    assert scorer.series == verdicts.series == 4
    assert np.isfinite(verdicts.score[:3]).all()
    assert np.isnan(verdicts.score[3])
    assert scorer.families() == {"autoregressive": 1, "seasonal": 2, "zscore": 1}
    assert [scorer.family_of(slot) for slot in range(4)] == [
        "autoregressive",
        "seasonal",
        "seasonal",
        "zscore",
    ]


def test_an_unknown_series_is_scored_after_some_samples() -> None:
    scorer = Scorer([], interval=60)
    rng = np.random.default_rng(0)
    for tick in range(60):
        verdicts = scorer.step(
            POLICY, time=START + tick * 60, values=np.array([50 + rng.normal()])
        )
        scorer.learn(excluded=np.zeros(1, np.bool_))
    assert np.isfinite(verdicts.score[0])


def test_history_warms_unknown_series_as_well() -> None:
    scorer = Scorer([], interval=60)
    grid, values = history(2)
    scorer.warm(grid, values)
    verdicts = scorer.step(POLICY, time=START, values=np.array([100.0, 200.0]))
    assert verdicts.score[0] < 1 < verdicts.score[1]


def test_a_tick_without_samples_is_no_verdict() -> None:
    scorer = Scorer([chunk("a")], interval=60)
    verdicts = scorer.step(POLICY, time=START, values=np.array([np.nan]))
    assert np.isnan(verdicts.score[0])
    assert np.isfinite(verdicts.expected[0])


def test_a_lower_threshold_gives_higher_scores_of_the_same_samples() -> None:
    strict, loose = (
        Scorer([chunk("a")], interval=60)
        .step(Policy(interval=60, threshold=threshold), time=START, values=np.array([105.0]))
        .score[0]
        for threshold in (6.0, 3.0)
    )
    assert loose == pytest.approx(2 * strict)


def live(scorer: Scorer, grid: Grid, values: np.ndarray) -> list[Verdicts]:
    seen = []
    for tick, time in enumerate(grid.timestamps().tolist()):
        seen.append(scorer.step(POLICY, time=time, values=values[:, tick]))
        scorer.learn(excluded=seen[-1].score > 1)
    return seen


def in_spans(scorer: Scorer, grid: Grid, values: np.ndarray) -> list[Verdicts]:
    seen = []
    for part in scorer.spans(grid):
        piece = grid.part(part.start, part.stop - part.start)
        seen += scorer.judge_span(POLICY, piece, values[:, part])
        scorer.learn_span(np.stack([one.score > 1 for one in seen[-piece.count :]], axis=1))
    return seen


@pytest.mark.parametrize("family_name", ["seasonal", "autoregressive", "zscore", "ensemble"])
def test_a_span_at_once_gives_what_its_ticks_give(family_name: str) -> None:
    rng = np.random.default_rng(5)
    grid = Grid(START + 60, 60, 130)
    values = 100 + rng.normal(size=(3, grid.count))
    values[0, 40] += 200  # a spike
    values[1, 70:] += 4  # a step
    values[2, 20:90] = np.nan  # the third one is unknown to the version, and has a gap
    walks = []
    for walk in (live, in_spans):
        scorer = Scorer([chunk("a", "b", family_name=family_name)], interval=60)
        scorer.warm(*history(3))
        walks.append(walk(scorer, grid, values))
    assert [one.time for one in walks[0]] == [one.time for one in walks[1]]
    assert walks[0][40].score[0] > 1
    for one, other in zip(*walks, strict=True):
        for name in ("value", "expected", "lower", "upper", "rarity", "score", "severity"):
            np.testing.assert_allclose(
                getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-5, err_msg=name
            )
        np.testing.assert_array_equal(one.side, other.side)
        np.testing.assert_array_equal(one.long, other.long)


def test_an_unknown_series_that_goes_astray_is_found() -> None:
    scorer = Scorer([], interval=60)
    grid, values = history(1, ticks=600)
    scorer.step(POLICY, time=grid.start - 60, values=np.zeros(0))
    live(scorer, grid, values)
    assert scorer.step(POLICY, time=START, values=np.array([500.0])).score[0] > 1


def test_what_history_holds_of_an_unknown_series_is_not_stored_as_known() -> None:
    scorer = Scorer([chunk("a")], interval=60)
    scorer.warm(*history(2))
    assert scorer.known == [pod("a")]
    assert scorer.families() == {"seasonal": 1, "zscore": 1}


# --- reading


class TwoQueries:
    """A source whose answers are written down."""

    ahead = 0.0

    async def compare_clocks(self) -> None:
        """The test's clock is right."""

    def __init__(self, answers: dict[str, list[tuple[Labels, float]]]) -> None:
        self._answers = answers

    async def query(
        self, expr: str, *, at: int, step: int, max_series: int | None = None
    ) -> Sample:
        answer = self._rows(expr)
        labels = tuple(labels for labels, _ in answer)
        return Sample(at, labels, np.array([value for _, value in answer]), left_out=1)

    async def query_range(self, expr: str, grid: Grid, **_: object) -> Panel:
        answer = self._rows(expr)
        values = np.array([[value + tick for tick in range(grid.count)] for _, value in answer])
        return Panel(grid, tuple(labels for labels, _ in answer), values)

    def _rows(self, expr: str) -> list[tuple[Labels, float]]:
        if expr not in self._answers:
            raise SourceUnavailable("nobody there")
        return self._answers[expr]

    async def close(self) -> None:
        """Nothing is open."""


def reader(answers: dict[str, list[tuple[Labels, float]]], index: SlotIndex) -> Reader:
    settings = WatchSettings.from_row(
        {
            "queries": [{"name": "one", "expr": "first"}, {"name": "two", "expr": "second"}],
            "source": {"url": "http://prometheus:9090"},
            "intervalSeconds": 60,
            "system": "shop",
        }
    )
    return Reader(TwoQueries(answers), settings, index)


async def test_the_answers_of_all_queries_go_to_their_slots() -> None:
    index = SlotIndex([(("pod", "b"), ("query", "two"))])
    read = reader({"first": [(pod("a"), 1.0)], "second": [(pod("b"), 2.0)]}, index)
    (tick,) = (await read.tick(START)).ticks()
    assert tick[0] == START
    assert tick[1].tolist() == [2.0, 1.0]
    assert (await read.tick(START)).left_out == 2
    ticks = list((await read.history(Grid(START, 60, 2))).ticks())
    assert [(time, values.tolist()) for time, values in ticks] == [
        (START, [2.0, 1.0]),
        (START + 60, [3.0, 2.0]),
    ]


async def test_a_query_that_fails_fails_the_tick_with_its_own_error() -> None:
    with pytest.raises(SourceUnavailable, match="nobody there"):
        await reader({"first": [(pod("a"), 1.0)]}, SlotIndex()).tick(START)


# --- rows


def seen(time: int, **numbers: float) -> Verdicts:
    return Verdicts(
        time=time,
        **{name: np.full(1, number) for name, number in numbers.items()},
        typical=np.full(1, 2.0),
        severity=np.full(1, 1.0),
        side=np.ones(1, np.int8),
        long=np.zeros(1, np.bool_),
    )


def test_an_anomaly_comes_back_from_its_row_as_it_was() -> None:
    verdicts = seen(START, value=30, expected=10, lower=5, upper=15, rarity=8, score=2)
    (change,) = advance(POLICY, Lifecycle.of(1), verdicts)
    assert change.action is Action.OPENED
    row = row_from(change.anomaly, POLICY, metric_id=7, family="seasonal")
    assert (row.metric_id, row.state, row.explanation["family"]) == (7, "open", "seasonal")
    assert anomaly_from(row) == change.anomaly


def test_an_anomaly_of_missing_data_survives_the_database_without_numbers() -> None:
    policy = Policy(interval=60, threshold=4.0, missing_is_anomaly=True, missing_after=60)
    life = Lifecycle.of(1)
    advance(policy, life, seen(START, value=1, expected=1, lower=0, upper=2, rarity=1, score=1))
    nothing = dict.fromkeys(("value", "expected", "lower", "upper", "rarity", "score"), np.nan)
    (change,) = advance(policy, life, seen(START + 180, **nothing))
    row = row_from(change.anomaly, policy, metric_id=7, family="zscore")
    json.dumps(dict(row.explanation), allow_nan=False)
    back = anomaly_from(row)
    assert (back.direction, back.state) == ("missing", State.OPEN)
    assert np.isnan(back.peak_lower)
