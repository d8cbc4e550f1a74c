"""Systems in a detector: slots, shards, verdicts, anomalies with the channels to blame."""

import json

import numpy as np
import pytest
from tests.unit.system_builders import START, STEP, channel, channels, learned, recorded

from metricwatch.anomalies import Action, Change, Lifecycle, Policy, advance
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.scorer import Scorer
from metricwatch.series import Labels, shard_of
from metricwatch.store.rows import Slice
from metricwatch_detector.loading import Artifacts
from metricwatch_detector.rows import anomaly_from, row_from
from metricwatch_detector.slots import SlotIndex

POLICY = Policy(interval=STEP, threshold=3.0)
HOSTS, METRICS, HISTORY = ["x", "y"], 5, 500
CHANNELS = channels(HOSTS, METRICS)
X, Y = (("host", "x"),), (("host", "y"),)
RECORDED = recorded(CHANNELS, HISTORY + 60)
AHEAD = slice(HISTORY, None)
RAISED = [0, 2, 3]


@pytest.fixture(scope="module")
def trained() -> bytes:
    history = RECORDED.window(RECORDED.grid.part(0, HISTORY))
    return pack(learned(history, ("host",)))


@pytest.fixture
def chunk(trained: bytes) -> ModelChunk:
    return unpack(trained)


@pytest.fixture
def scorer(chunk: ModelChunk) -> Scorer:
    made = Scorer([chunk], interval=STEP)
    history = RECORDED.window(RECORDED.grid.part(0, HISTORY))
    made.warm(history.grid, by_slot(history.values))
    return made


def by_slot(values: np.ndarray) -> np.ndarray:
    return np.vstack([values, np.full((2, values.shape[1]), np.nan)])


def incident() -> np.ndarray:
    """Samples by slot after the history: three channels of x are far too high from tick 20 on."""
    values = by_slot(RECORDED.values[:, AHEAD]).copy()
    values[RAISED, 20:30] += 15.0
    return values


def play(scorer: Scorer, values: np.ndarray) -> list[Change]:
    life = Lifecycle.of(len(values))
    changes: list[Change] = []
    for tick in range(values.shape[1]):
        time = RECORDED.grid.start + (HISTORY + tick) * STEP
        verdicts = scorer.step(POLICY, time=time, values=values[:, tick])
        changes += advance(POLICY, life, verdicts)
        scorer.learn(excluded=life.open)
    return changes


def test_channels_have_the_first_slots_and_their_systems_follow(scorer: Scorer) -> None:
    assert scorer.known == [*CHANNELS, X, Y]
    assert scorer.series == 12
    assert scorer.families() == {"system": 10, "zscore": 0}
    assert scorer.family_of(0) == scorer.family_of(11) == "system"
    assert scorer.family_of(12) == "zscore"
    assert scorer.system_of() == {one: X if dict(one)["host"] == "x" else Y for one in CHANNELS}


def test_a_channel_shows_its_sample_and_what_was_expected_and_has_no_score(
    scorer: Scorer,
) -> None:
    values = incident()[:, 0]
    verdicts = scorer.step(POLICY, time=START + HISTORY * STEP, values=values)
    np.testing.assert_array_equal(verdicts.value[:10], values[:10])
    assert np.abs(verdicts.expected[:10] - 50).max() < 5
    assert np.isnan(verdicts.score[:10]).all()
    assert (verdicts.typical[:10] > 0).all()


def test_a_system_shows_its_rarity_and_what_alerts(scorer: Scorer) -> None:
    verdicts = scorer.step(POLICY, time=START + HISTORY * STEP, values=incident()[:, 0])
    np.testing.assert_array_equal(verdicts.value[10:], verdicts.rarity[10:])
    np.testing.assert_array_equal(verdicts.upper[10:], [3.0, 3.0])
    np.testing.assert_allclose(verdicts.score[10:], verdicts.rarity[10:] / 3.0)


def test_an_incident_in_three_channels_is_one_anomaly_of_their_system(scorer: Scorer) -> None:
    changes = play(scorer, incident())
    opened = [change for change in changes if change.action is Action.OPENED]
    assert [change.series for change in opened] == [10]
    components = changes[-1].anomaly.components
    assert {one.labels for one in components[:3]} == {CHANNELS[row] for row in RAISED}
    assert all(one.deviation > 5 for one in components[:3])
    assert {dict(one.labels)["host"] for one in components} == {"x"}


def test_nothing_opens_without_an_incident(scorer: Scorer) -> None:
    assert play(scorer, by_slot(RECORDED.values[:, AHEAD])) == []


def test_a_system_of_which_nothing_is_known_at_a_tick_has_no_verdict(scorer: Scorer) -> None:
    values = incident()[:, 0]
    values[5:10] = np.nan
    verdicts = scorer.step(POLICY, time=START + HISTORY * STEP, values=values)
    assert np.isnan(verdicts.value[11])
    assert not np.isnan(verdicts.value[10])


def test_a_series_that_is_new_is_scored_by_itself(scorer: Scorer) -> None:
    values = np.vstack([incident(), 50 + np.random.default_rng(3).normal(size=(1, 60))])
    values[12, 40] = 500.0
    changes = play(scorer, values)
    assert 12 in {change.series for change in changes if change.action is Action.OPENED}
    assert all(not change.anomaly.components for change in changes if change.series == 12)


def test_several_chunks_keep_their_systems_apart(trained: bytes) -> None:
    other = learned(recorded(channels(["z"], 3), 300, seed=5), ("host",))
    scorer = Scorer([unpack(trained), other], interval=STEP)
    values = np.vstack([incident()[:, :1], np.full((4, 1), np.nan)])
    values[12:15] = 50.0
    verdicts = scorer.step(POLICY, time=START + HISTORY * STEP, values=values[:, 0])
    assert scorer.known[12:] == [*channels(["z"], 3), (("host", "z"),)]
    assert verdicts.blame is not None
    ranked = verdicts.blame.ranked(15)
    assert {one.labels for one in ranked} == set(channels(["z"], 3))


def test_an_anomaly_of_a_system_survives_being_stored(scorer: Scorer) -> None:
    changes = play(scorer, incident())
    anomaly = next(change.anomaly for change in changes if change.action is Action.OPENED)
    row = row_from(anomaly, POLICY, metric_id=7, family="system")
    stored = json.loads(json.dumps(row.explanation, allow_nan=False))
    assert stored["components"][0]["labels"] in [dict(CHANNELS[row]) for row in RAISED]
    assert "most to blame: m" in stored["summary"]
    assert repr(anomaly_from(row)) == repr(anomaly)


# --- slots and shards


def index(**where: int) -> SlotIndex:
    system_of = {one: X if dict(one)["host"] == "x" else Y for one in CHANNELS}
    return SlotIndex([*CHANNELS, X, Y], system_of=system_of, **where)


def test_no_sample_goes_into_the_slot_of_a_system() -> None:
    placement = index().place([("", (X, *CHANNELS))])
    assert placement.slots.tolist() == list(range(10))
    assert placement.rows.tolist() == list(range(1, 11))
    assert placement.left_out == 1


def test_all_channels_of_a_system_are_in_the_shard_of_its_labels() -> None:
    placed = [
        {
            CHANNELS[row]
            for row in index(shard=shard, shards=3).place([("", CHANNELS)]).rows.tolist()
        }
        for shard in range(3)
    ]
    for shard, own in enumerate(placed):
        systems = {host for host in HOSTS if shard_of((("host", host),), 3) == shard}
        assert {dict(one)["host"] for one in own} == systems
        assert len(own) == METRICS * len(systems)


def test_a_series_of_no_system_is_in_the_shard_of_its_own_labels() -> None:
    new: tuple[Labels, ...] = tuple(channel(f"new-{at}", "m") for at in range(30))
    for shard in range(3):
        placement = index(shard=shard, shards=3).place([("", new)])
        assert all(shard_of(new[row], 3) == shard for row in placement.rows.tolist())


def test_every_shard_of_a_system_or_its_channels_loads_the_chunk(chunk: ModelChunk) -> None:
    loading = [
        shard
        for shard in range(64)
        if Artifacts(None, version_id=1, part=Slice(shards=64, shard=shard))._is_mine(chunk)  # type: ignore[arg-type]
    ]
    assert loading == sorted({shard_of(one, 64) for one in (*CHANNELS, X, Y)})
