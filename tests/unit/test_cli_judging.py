"""Alarms against labels, counted by event."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.injection import Injected, Kind
from metricwatch_cli.backtest.judging import (
    EPISODE_GAP,
    EVENT_GAP,
    Tally,
    find_runs,
    tally_injected,
    tally_rows,
)

Flags = NDArray[np.bool_]
WEEK = 604_800


def flags(count: int, *runs: tuple[int, int]) -> Flags:
    """True from the first to before the second of each pair."""
    made = np.zeros(count, np.bool_)
    for start, end in runs:
        made[start:end] = True
    return made


def tally(alarm: Flags, truth: Flags, *, interval: int = 60) -> Tally:
    times = 1_700_000_000 + interval * np.arange(len(alarm), dtype=np.int64)
    return tally_rows(alarm, truth, times, interval=interval)


def test_an_alarm_inside_finds_an_event_once_however_often_it_rings() -> None:
    counted = tally(flags(100, (42, 43), (45, 46), (48, 49)), flags(100, (40, 50)))
    assert (counted.events, counted.detected, counted.episodes) == (1, 1, 1)
    assert counted.false_episodes == 0
    assert counted.delay == 120
    assert (counted.precision, counted.recall, counted.f1) == (1.0, 1.0, 1.0)


def test_an_alarm_beside_an_event_finds_nothing_and_is_false() -> None:
    counted = tally(flags(100, (20, 30)), flags(100, (40, 50)))
    assert (counted.detected, counted.episodes, counted.false_episodes) == (0, 1, 1)
    assert (counted.precision, counted.recall, counted.f1) == (0.0, 0.0, 0.0)
    assert counted.delay is None


def test_alarms_close_together_are_one_episode_and_those_apart_are_two() -> None:
    nothing = flags(100)
    near = flags(100, (10, 11), (11 + EPISODE_GAP, 12 + EPISODE_GAP))
    far = flags(100, (10, 11), (12 + EPISODE_GAP, 13 + EPISODE_GAP))
    assert tally(near, nothing).false_episodes == 1
    assert tally(far, nothing).false_episodes == 2


def test_labels_close_together_are_one_event() -> None:
    near = flags(100, (10, 12), (12 + EVENT_GAP, 20))
    far = flags(100, (10, 12), (13 + EVENT_GAP, 20))
    assert tally(flags(100), near).events == 1
    assert tally(flags(100), far).events == 2


def test_without_events_or_alarms_there_is_no_share_of_them() -> None:
    silent = tally(flags(100), flags(100, (4, 5)))
    assert (silent.precision, silent.recall, silent.f1) == (None, 0.0, 0.0)
    nothing = tally(flags(100, (4, 5)), flags(100))
    assert (nothing.precision, nothing.recall, nothing.f1) == (0.0, None, None)
    empty = tally(flags(0), flags(0))
    assert empty.false_per_week is None


def test_false_episodes_are_counted_by_the_week() -> None:
    count = 2 * WEEK // 300
    counted = tally(flags(count, (10, 11), (100, 101), (200, 201)), flags(count), interval=300)
    assert counted.false_per_week == pytest.approx(1.5, rel=1e-3)


def test_tallies_add_up_and_the_delay_is_the_median() -> None:
    one = Tally(3, (60.0, 180.0), 4, 2, 1.0)
    total = Tally.total([one, Tally(2, (600.0,), 1, 0, 3.0)])
    assert total == Tally(5, (60.0, 180.0, 600.0), 5, 2, 4.0)
    assert total.delay == 180.0
    assert total.precision == pytest.approx(3 / 5)
    assert Tally.total([]) is None


def test_made_up_anomalies_are_counted_by_kind_and_share_the_false_alarms() -> None:
    injected = [
        Injected(Kind.SPIKE, 0, 50, 52, 1.0),
        Injected(Kind.SPIKE, 0, 150, 152, 1.0),
        Injected(Kind.DRIFT, 0, 300, 350, 1.0),
    ]
    alarm = flags(1000, (51, 52), (340, 345), (600, 601), (700, 701), (800, 801))
    times = np.arange(1000, dtype=np.int64) * 60
    counted = tally_injected(alarm, injected, times, interval=60, known=flags(1000))
    spike, drift = counted["spike"], counted["drift"]
    assert (spike.events, spike.detected, spike.false_episodes) == (2, 1, 2.0)
    assert (drift.events, drift.detected, drift.false_episodes) == (1, 1, 1.0)
    assert (spike.delay, drift.delay) == (60.0, 2400.0)
    assert spike.precision == pytest.approx(1 / 3)
    assert drift.precision == pytest.approx(1 / 2)


def test_the_return_from_a_made_up_anomaly_and_real_incidents_are_no_false_alarms() -> None:
    injected = [Injected(Kind.LEVEL_SHIFT, 0, 50, 80, 1.0)]
    times = np.arange(300, dtype=np.int64) * 60
    aftermath = flags(300, (80, 82), (200, 205))
    counted = tally_injected(
        aftermath, injected, times, interval=60, known=flags(300, (198, 210))
    )["levelShift"]
    assert (counted.detected, counted.false_episodes) == (0, 0)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 5))
def test_runs_cover_every_flag_and_are_further_apart_than_the_gap(
    chosen: list[bool], gap: int
) -> None:
    runs = find_runs(np.array(chosen, np.bool_), gap=gap)
    covered = {at for start, end in runs for at in range(start, end)}
    assert {at for at, flag in enumerate(chosen) if flag} <= covered
    for start, end in runs:
        assert chosen[start]
        assert chosen[end - 1]
    for (_, end), (start, _) in zip(runs, runs[1:], strict=False):  # noqa: RUF007
        assert start - end > gap
