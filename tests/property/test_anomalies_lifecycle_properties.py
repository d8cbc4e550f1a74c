"""What holds for any series of scores and any policy."""

from dataclasses import fields

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metricwatch.anomalies import Action, Anomaly, Change, Lifecycle, Policy, Verdicts, advance

INTERVAL = 60
Scores = list[list[float]]  # [tick][series]
# How long an example takes says more about the machine than about the code.
PATIENT = settings(deadline=None)

levels = st.sampled_from([float("nan"), 0.0, 0.69, 0.7, 0.9, 1.0, 1.01, 2.0, 3.5, 50.0])


@st.composite
def histories(draw: st.DrawFn) -> Scores:
    series = draw(st.integers(1, 4))
    row = st.lists(levels, min_size=series, max_size=series)
    return draw(st.lists(row, min_size=1, max_size=60))


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    of = draw(st.integers(1, 6))
    return Policy(
        interval=INTERVAL,
        threshold=4.0,
        anomalous=draw(st.integers(1, of)),
        of=of,
        min_duration=draw(st.sampled_from([0, 60, 200])),
        collective_after=draw(st.sampled_from([60, 300])),
        cooldown=draw(st.sampled_from([0, 120, 600])),
        missing_is_anomaly=draw(st.booleans()),
        missing_after=draw(st.sampled_from([60, 240])),
    )


def tick(time: int, scores: list[float]) -> Verdicts:
    score = np.array(scores)
    ones = np.ones(len(score))
    return Verdicts(
        time=time,
        value=10 * score,
        expected=ones,
        lower=-ones,
        upper=3 * ones,
        rarity=4 * score,
        score=score,
        typical=ones,
        severity=score,
        side=np.ones(len(score), np.int8),
        long=np.zeros(len(score), np.bool_),
    )


def play(
    policy: Policy, history: Scores, life: Lifecycle | None = None, first: int = 1
) -> tuple[list[Change], Lifecycle]:
    life = Lifecycle.of(len(history[0])) if life is None else life
    changes: list[Change] = []
    for number, scores in enumerate(history, start=first):
        changes += advance(policy, life, tick(number * INTERVAL, scores))
    return changes, life


def same(one: Lifecycle, other: Lifecycle) -> bool:
    return one.components == other.components and all(
        np.array_equal(getattr(one, entry.name), getattr(other, entry.name), equal_nan=True)
        for entry in fields(Lifecycle)
        if entry.name != "components"
    )


def shown(changes: list[Change]) -> list[str]:
    return [repr(change) for change in changes]  # NaN equals NaN in text


@PATIENT
@given(policies(), histories())
def test_a_series_never_has_two_open_anomalies(policy: Policy, history: Scores) -> None:
    opened: dict[int, Anomaly] = {}
    starts: set[tuple[int, int]] = set()
    for change in play(policy, history)[0]:
        match change.action:
            case Action.OPENED:
                assert change.series not in opened
                assert (change.series, change.anomaly.started_at) not in starts
                starts.add((change.series, change.anomaly.started_at))
                opened[change.series] = change.anomaly
            case Action.UPDATED:
                assert change.anomaly.started_at == opened[change.series].started_at
            case Action.CLOSED:
                assert change.anomaly.started_at == opened.pop(change.series).started_at


@PATIENT
@given(policies(), histories())
def test_start_peak_and_end_are_in_order_and_not_in_the_future(
    policy: Policy, history: Scores
) -> None:
    for change in play(policy, history)[0]:
        anomaly = change.anomaly
        assert anomaly.started_at <= anomaly.peak_at <= anomaly.last_anomalous_at <= change.time
        if anomaly.ended_at is not None:
            assert anomaly.last_anomalous_at <= anomaly.ended_at <= change.time


@PATIENT
@given(policies(), histories())
def test_anomalies_of_a_series_do_not_overlap(policy: Policy, history: Scores) -> None:
    ended: dict[int, int] = {}
    for change in play(policy, history)[0]:
        assert change.anomaly.started_at > ended.get(change.series, -1)
        if change.anomaly.ended_at is not None:
            ended[change.series] = change.anomaly.ended_at


@PATIENT
@given(policies(), histories(), st.data())
def test_two_halves_give_what_one_pass_gives(
    policy: Policy, history: Scores, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(history)))
    whole, after_whole = play(policy, history)
    life = Lifecycle.of(len(history[0]))
    first, _ = play(policy, history[:cut], life) if cut else ([], life)
    second, after_halves = (
        play(policy, history[cut:], life.copy(), cut + 1) if history[cut:] else ([], life)
    )
    assert shown(first + second) == shown(whole)
    assert same(after_whole, after_halves)


@PATIENT
@given(policies(), histories(), st.data())
def test_splitting_the_series_over_shards_changes_nothing(
    policy: Policy, history: Scores, data: st.DataObject
) -> None:
    series = len(history[0])
    mine = data.draw(st.sets(st.integers(0, series - 1), min_size=1))
    slice_ = sorted(mine)
    alone, _ = play(policy, [[row[index] for index in slice_] for row in history])
    together, _ = play(policy, history)
    assert shown([change for change in together if change.series in mine]) == [
        repr(change).replace(f"series={change.series},", f"series={slice_[change.series]},")
        for change in alone
    ]


@PATIENT
@given(policies(), histories())
def test_calm_for_long_enough_ends_everything(policy: Policy, history: Scores) -> None:
    life = Lifecycle.of(len(history[0]))
    play(policy, history, life)
    quiet = [[0.0] * life.series] * (policy.cooldown // INTERVAL + 1)
    play(policy, quiet, life, len(history) + 1)
    assert not life.open.any()


@PATIENT
@given(policies(), histories())
def test_an_anomaly_handed_over_goes_on_as_if_nothing_happened(
    policy: Policy, history: Scores
) -> None:
    _, life = play(policy, history)
    heir = life.copy()
    open_now = {
        int(series): life.anomaly(int(series), policy, state="open", ended_at=None)  # type: ignore[arg-type]
        for series in np.flatnonzero(life.open)
    }
    heir.adopt(open_now)
    after = [[3.0] * life.series, [0.0] * life.series]
    assert shown(play(policy, after, heir, len(history) + 1)[0]) == shown(
        play(policy, after, life, len(history) + 1)[0]
    )
