"""Two versions on the same tail: a worse one shows, an equal one does not, and nothing breaks."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, FitStopped
from metricwatch.anomalies import Policy
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.gate import Found, WatchMeasured
from metricwatch.injection import Kind
from metricwatch.resources.detection import Detection
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid, Labels, Panel
from metricwatch_trainer.gate import measuring
from metricwatch_trainer.gate.copies import copies_of
from metricwatch_trainer.gate.disturbing import KINDS, Event, disturb, is_found
from metricwatch_trainer.gate.measuring import Trial, measure
from metricwatch_trainer.gate.tail import Tail
from metricwatch_trainer.gate.walks import walk_tail
from metricwatch_trainer.learning import Lesson, learn_group
from metricwatch_trainer.preparation import Group, Systems, head_of
from metricwatch_trainer.system_learning import SYSTEM

STEP = 300
HEAD, TAIL = 900, 200
GRID = Grid(1_700_000_100, STEP, HEAD + TAIL)
DETECTION = Detection()
POLICY = Policy.from_detection(DETECTION, interval_seconds=STEP)
Values = NDArray[np.float64]


def pod(number: int) -> Labels:
    return (("pod", f"{number:02d}"),)


def rhythm(series: int = 4, *, seed: int = 0) -> Values:
    """A daily rhythm with a little noise."""
    noise = np.random.default_rng(seed).standard_normal((series, GRID.count))
    phase = np.arange(series)[:, None]
    day = np.sin(2 * np.pi * GRID.timestamps() / 86_400 + phase)
    return np.asarray(100 + 20 * day + noise)


def panel_of(values: Values) -> Panel:
    return Panel(GRID, tuple(pod(row) for row in range(len(values))), values)


def learn(
    values: Values, family: str = "seasonal", *, systems: Systems | None = None
) -> list[bytes]:
    """A version that learned from the head of `values`."""
    panel = panel_of(values)
    head = panel.window(GRID.part(0, HEAD))
    own = SYSTEM if systems is not None else FAMILIES[family]
    chunks, _ = learn_group(
        Group(head, head_of(HEAD), systems=systems),
        Lesson(own, None, Scaling.ROBUST, seed=0),
        watch_uid="watch-1",
        progress=lambda _: None,
        should_stop=lambda: False,
    )
    return [pack(one) for one in chunks]


def trial_of(values: Values, serving: Sequence[bytes] = (), **changes: Any) -> Trial:
    trial = Trial(
        uid="watch-1",
        name="cpu",
        policy=POLICY,
        per_week=DETECTION.false_alarms_per_week,
        panel=panel_of(values),
        tail=Tail(head=HEAD, count=TAIL),
        serving=tuple(unpack(one) for one in serving),
    )
    return replace(trial, **changes)


def judge(trial: Trial, contents: Sequence[bytes]) -> tuple[WatchMeasured, tuple[bytes, ...]]:
    return measure(trial, contents, seed=1, progress=lambda *_: None, should_stop=lambda: False)


def error_ratio(row: WatchMeasured) -> float:
    return math.exp(row.log_error_ratio / row.error_series)


@pytest.fixture(scope="module")
def serving() -> list[bytes]:
    return learn(rhythm())


def test_an_equal_version_measures_equal(serving: list[bytes]) -> None:
    row, _ = judge(trial_of(rhythm(), serving), learn(rhythm()))
    assert row.serving is not None
    assert row.candidate == row.common == row.serving
    assert row.error_series == 4
    assert error_ratio(row) == pytest.approx(1.0)
    assert (row.candidate.series, row.candidate.samples) == (4, 4 * TAIL)
    assert row.candidate.promised == pytest.approx(0.5 * 4 * TAIL * STEP / 604_800)
    assert (row.uid, row.name, row.note) == ("watch-1", "cpu", "")
    assert (row.start, row.end) == (GRID.start + HEAD * STEP, GRID.end)


def test_a_version_trained_on_shuffled_data_measures_worse(serving: list[bytes]) -> None:
    shuffled = np.random.default_rng(1).permuted(rhythm(), axis=1)
    row, _ = judge(trial_of(rhythm(), serving), learn(shuffled))
    assert row.serving is not None
    assert error_ratio(row) > 3.0
    recall, before = row.common.recall, row.serving.recall
    assert recall is not None
    assert before is not None
    assert recall < 0.9 * before


def test_a_version_that_learned_other_levels_alerts_all_the_time(serving: list[bytes]) -> None:
    row, _ = judge(trial_of(rhythm(), serving), learn(0.1 * rhythm()))
    assert row.serving is not None
    assert row.candidate.anomaly_rate is not None
    assert row.candidate.anomaly_rate > 0.1
    assert row.serving.anomaly_rate is not None
    assert row.serving.anomaly_rate < 0.02


def test_every_kind_of_anomaly_is_put_in_and_most_are_found(serving: list[bytes]) -> None:
    row, _ = judge(trial_of(rhythm(), serving), serving)
    # A flat line of a few samples hardly changes a series of noise, and is not put in then.
    assert {"spike", "levelShift", "drift"} <= row.candidate.injected.keys()
    # Two or three spikes in each of four series and three rounds: few series get more of them.
    spikes = row.candidate.injected["spike"]
    assert spikes.of >= 12
    assert spikes.share is not None
    assert spikes.share > 0.9


def test_a_first_version_is_measured_alone() -> None:
    row, _ = judge(trial_of(rhythm()), learn(rhythm()))
    assert row.serving is None
    assert row.common.series == 0
    assert row.error_series == 0
    assert row.candidate.samples == 4 * TAIL


def test_series_that_the_serving_version_does_not_know_are_compared_with_nothing() -> None:
    row, _ = judge(trial_of(rhythm(), learn(rhythm(2))), learn(rhythm()))
    assert row.serving is not None
    assert (row.candidate.series, row.common.series, row.serving.series) == (4, 2, 2)
    assert row.error_series == 2
    spikes = [one.injected["spike"].of for one in (row.candidate, row.common, row.serving)]
    assert spikes[0] == 2 * spikes[1] == 2 * spikes[2] > 0


def test_a_family_without_residual_has_no_error() -> None:
    row, _ = judge(trial_of(rhythm(), learn(rhythm(), "kmeans")), learn(rhythm(), "kmeans"))
    assert row.error_series == 0
    assert row.serving is not None
    assert row.serving.samples == row.candidate.samples > 0


def test_errors_are_not_compared_on_what_the_serving_version_learned_from(
    serving: list[bytes],
) -> None:
    seen = trial_of(rhythm(), serving, tail=Tail(HEAD, TAIL, was_seen=True))
    row, _ = judge(seen, serving)
    assert row.error_series == 0
    assert row.serving is not None


def test_what_serves_learned_from_the_tail() -> None:
    content = learn(rhythm())
    _, (taught,) = judge(trial_of(rhythm()), content)
    before, after = unpack(content[0]), unpack(taught)
    assert after.labels == before.labels
    # Parameters of the family are as they were fitted; what is normal is known from more samples.
    for name, value in before.bank.tensors().items():
        np.testing.assert_array_equal(after.bank.tensors()[name], value)
    seen, seen_before = (one.scoring.tensors()["ticks"] for one in (after, before))
    assert (seen - seen_before).tolist() == [TAIL] * 4


def test_what_learns_while_it_steps_has_stepped_through_the_tail() -> None:
    content = learn(rhythm(), "zscore")
    moved = rhythm()
    moved[:, HEAD:] += 50
    _, (taught,) = judge(trial_of(moved), content)
    before, after = (unpack(one).bank.tensors() for one in (content[0], taught))
    assert any(not np.array_equal(after[name], before[name]) for name in before)


def test_measuring_twice_gives_the_same(serving: list[bytes]) -> None:
    # Nothing of the first walk is left in what the second one begins with.
    first, second = (judge(trial_of(rhythm(), serving), serving) for _ in range(2))
    assert first == second


def test_batches_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [learn(rhythm(2)), learn(rhythm())]
    other = unpack(parts[1][0]).select([2, 3])
    contents = [*parts[0], pack(other)]
    whole, _ = judge(trial_of(rhythm(), learn(rhythm())), contents)
    monkeypatch.setattr(measuring, "_MOST_POINTS", 1)
    by_chunk, taught = judge(trial_of(rhythm(), learn(rhythm())), contents)
    assert len(taught) == 2
    assert by_chunk.candidate.samples == whole.candidate.samples
    assert by_chunk.serving is not None
    assert whole.serving is not None
    assert by_chunk.serving.samples == whole.serving.samples
    assert by_chunk.error_series == 4
    assert by_chunk.log_error_ratio == pytest.approx(whole.log_error_ratio)


def test_anomalies_are_put_into_some_of_many_series(monkeypatch: pytest.MonkeyPatch) -> None:
    version = learn(rhythm(8))
    every, _ = judge(trial_of(rhythm(8), version), version)
    monkeypatch.setattr(measuring, "MOST_INJECTED", 2)
    some, _ = judge(trial_of(rhythm(8), version), version)
    assert every.candidate.series == some.candidate.series == 8
    assert every.candidate.injected["spike"].of == 4 * some.candidate.injected["spike"].of


def test_recorded_anomalies_are_found_or_not(serving: list[bytes]) -> None:
    values = rhythm()
    values[0, HEAD + 50 : HEAD + 60] += 60
    recorded = (Event(pod(0), 50, 60), Event(pod(1), 100, 110), Event(pod(99), 1, 2))
    row, _ = judge(trial_of(values, serving, recorded=recorded), serving)
    # The second is nothing to see, and the third is of a series that is gone.
    assert row.candidate.recorded == Found(found=1, of=2)
    assert row.serving is not None
    assert row.serving.recorded == Found(found=1, of=2)
    assert row.candidate.episodes >= 1


def test_dismissed_alarms_are_counted_apart_when_they_are_raised_again(
    serving: list[bytes],
) -> None:
    values = rhythm()
    values[0, HEAD + 50 : HEAD + 60] += 60
    dismissed = (Event(pod(0), 50, 60), Event(pod(1), 100, 110), Event(pod(99), 1, 2))
    row, _ = judge(trial_of(values, serving, dismissed=dismissed), serving)
    assert row.candidate.dismissed == Found(found=1, of=2)
    assert row.candidate.recorded == Found()
    assert row.serving is not None
    assert row.serving.dismissed == Found(found=1, of=2)


def test_a_serving_version_that_is_broken_is_no_fault_of_the_new_one(
    serving: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_of(rhythm(), serving)
    theirs = trial.serving[0]
    walk = walk_tail

    def broken(chunks: Sequence[ModelChunk], *rest: Any, **options: Any) -> Any:
        if chunks[0].watch_uid == "serving":
            raise ValueError("no such weights")
        return walk(chunks, *rest, **options)

    monkeypatch.setattr(measuring, "walk_tail", broken)
    trial = replace(trial, serving=(replace(theirs, watch_uid="serving"),))
    row, _ = judge(trial, serving)
    assert row.serving is None
    assert row.candidate.samples == 4 * TAIL
    assert row.note == "the serving version cannot be measured: ValueError: no such weights"


def test_measuring_stops_when_asked(serving: list[bytes]) -> None:
    with pytest.raises(FitStopped):
        measure(
            trial_of(rhythm(), serving), serving, seed=1, progress=lambda *_: None,
            should_stop=lambda: True,
        )  # fmt: skip


def test_a_sample_that_is_missing_is_not_counted() -> None:
    values = rhythm()
    values[0, HEAD : HEAD + 20] = np.nan
    row, _ = judge(trial_of(values), learn(rhythm()))
    # After a gap a family that looks at many samples may say nothing for a while.
    assert row.candidate.samples <= 4 * TAIL - 20


# --- systems


SHOP = Systems(np.array([0, 0, 1, 1]), ((("shop", "a"),), (("shop", "b"),)))


def test_a_system_is_measured_as_one() -> None:
    version = learn(rhythm(), systems=SHOP)
    row, (taught,) = judge(trial_of(rhythm(), version), version)
    assert unpack(taught).systems == SHOP.labels
    assert row.serving is not None
    assert row.candidate == row.serving
    assert (row.candidate.series, row.candidate.samples) == (2, 2 * TAIL)
    assert row.error_series == 0
    assert sum(one.of for one in row.candidate.injected.values()) > 2


def test_one_channel_of_a_system_is_anomalous_at_a_time() -> None:
    owners = {pod(row): SHOP.owners()[row] for row in range(4)}
    values = rhythm()
    avoid = np.zeros((4, TAIL), np.bool_)
    made, events = disturb(panel_of(values), HEAD, owners, seed=3, avoid=avoid)
    changed = made.values[:, HEAD:] != values[:, HEAD:]
    for rows, system in (([0, 1], SHOP.labels[0]), ([2, 3], SHOP.labels[1])):
        assert (changed[rows].sum(axis=0) <= 1).all()
        assert changed[rows].any()
        assert any(one.labels == system for one in events)


def test_a_kind_that_fits_into_hardly_any_series_does_not_count() -> None:
    # Nothing but noise around a level: a flat line of it is a small change.
    values = 100 + np.random.default_rng(4).standard_normal((30, GRID.count))
    values += 10 * np.sin(2 * np.pi * GRID.timestamps() / 86_400)
    _, events = disturb(panel_of(values), HEAD, {}, seed=1, avoid=np.zeros((30, TAIL), np.bool_))
    count = {kind: sum(one.kind is kind for one in events) for kind in KINDS}
    assert count[Kind.SPIKE] == 30
    assert all(not one or one >= 6 for one in count.values())


# --- parts


def test_nothing_is_put_into_what_is_to_be_avoided() -> None:
    values, avoid = rhythm(), np.zeros((4, TAIL), np.bool_)
    avoid[1] = True
    made, events = disturb(panel_of(values), HEAD, {}, seed=1, avoid=avoid)
    np.testing.assert_array_equal(made.values[1], values[1])
    np.testing.assert_array_equal(made.values[:, :HEAD], values[:, :HEAD])
    assert {one.labels for one in events} == {pod(0), pod(2), pod(3)}
    assert {one.kind for one in events} <= set(KINDS)


@pytest.mark.parametrize(("at", "found"), [(9, 0), (10, 1), (14, 1), (16, 1), (17, 0)])
def test_an_anomaly_may_be_found_a_little_late(at: int, found: int) -> None:
    alarm = np.zeros(30, np.bool_)
    alarm[at] = True
    assert is_found(alarm, Event(pod(0), 10, 15, Kind.SPIKE)) == Found(found=found, of=1)


def test_a_part_of_a_chunk_scores_as_the_whole_does() -> None:
    for family in ("seasonal", "kmeans", "autoregressive"):
        whole = unpack(learn(rhythm(), family)[0])
        (part,) = copies_of([whole], {pod(1), pod(3), pod(9)})
        assert part.labels == (pod(1), pod(3))
        values = rhythm(seed=1)
        said = whole.bank.backtest(GRID, values)
        own = part.bank.backtest(GRID, values[[1, 3]])
        np.testing.assert_allclose(own.evidence, said.evidence[:, [1, 3]])
        np.testing.assert_array_equal(
            part.scoring.reach(4.0)[:, -1], whole.scoring.reach(4.0)[[1, 3], -1]
        )


def test_a_chunk_of_systems_is_never_cut() -> None:
    whole = unpack(learn(rhythm(), systems=SHOP)[0])
    (part,) = copies_of([whole], {pod(0)})
    assert part is not whole
    assert part.labels == whole.labels
    with pytest.raises(ValueError, match="cannot be cut"):
        whole.select([0])
