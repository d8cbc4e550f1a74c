"""Strides of a walk: the same as a detector's ticks, whatever the data has and lacks."""

import numpy as np
from tests.unit.test_detector_scoring import START, chunk, pod

from metricwatch.anomalies import Lifecycle, Policy, advance
from metricwatch.scorer import Scorer
from metricwatch.series import Grid
from metricwatch.walking import Columns, strides, warm_up

POLICY = Policy(interval=60, threshold=4.0)
GRID = Grid(START, 60, 90)


def samples(series: int) -> np.ndarray:
    values = 100 + np.random.default_rng(2).normal(size=(series, GRID.count))
    values[0, 40:50] += 60
    return np.asarray(values)


def test_columns_have_their_slots_and_unknown_ones_come_last() -> None:
    scorer = Scorer([chunk("a", "b", "c")], interval=60)
    columns = Columns.of(scorer, [pod("new"), pod("c"), pod("a")])
    assert columns.slots.tolist() == columns.scored.tolist() == [3, 2, 0]
    placed = columns.placed(np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_array_equal(placed, [[3.0], [np.nan], [2.0], [1.0]])


def test_a_walk_says_what_ticks_say() -> None:
    walker, ticker = (Scorer([chunk("a", "b")], interval=60) for _ in range(2))
    values, lifecycle, open_before = samples(2), Lifecycle(), []
    for tick, time in enumerate(GRID.timestamps().tolist()):
        verdicts = ticker.step(POLICY, time=time, values=values[:, tick])
        advance(POLICY, lifecycle, verdicts)
        ticker.learn(excluded=lifecycle.open)
        open_before.append(lifecycle.open & (verdicts.score > 1.0))
    walked = list(strides(walker, POLICY, Lifecycle(), GRID, values))
    alarm = np.concatenate([one.alarm for one in walked], axis=1)
    np.testing.assert_array_equal(alarm, np.stack(open_before, axis=1))
    assert alarm[0, 40:50].any()
    assert sum(len(one.verdicts) for one in walked) == GRID.count
    assert [change.series for one in walked for change in one.changes][:1] == [0]


def test_warming_up_takes_no_more_history_than_the_banks_ask_for() -> None:
    short, long = (Scorer([chunk("a")], interval=60) for _ in range(2))
    count = long.warmup + 500
    history = Grid(START - count * 60, 60, count)
    values = 100 + np.random.default_rng(3).normal(size=(1, count))
    warm_up(long, POLICY, history, values)
    first = count - short.warmup
    short.warm(history.part(first, short.warmup), values[:, first:])
    now = np.array([[101.0]])
    one, other = (
        scorer.judge_span(POLICY, Grid(START, 60, 1), now).at(0) for scorer in (short, long)
    )
    np.testing.assert_array_equal(one.expected, other.expected)
