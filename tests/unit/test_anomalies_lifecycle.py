"""When anomalies open, grow and end."""

from collections.abc import Sequence

import numpy as np
import pytest

from metricwatch.anomalies import (
    Action,
    Anomaly,
    Change,
    Kind,
    Lifecycle,
    MaintenanceWindow,
    Policy,
    State,
    Verdicts,
    advance,
)

START = 1_700_000_040
INTERVAL = 60
NAN = float("nan")


def make_policy(**settings: object) -> Policy:
    plain = {"interval": INTERVAL, "threshold": 4.0, "cooldown": 0, "missing_after": 300}
    return Policy(**(plain | settings))  # type: ignore[arg-type]


def verdicts(tick: int, *scores: float) -> Verdicts:
    """Scores of one tick; the value is ten times the score, NaN has no sample."""
    score = np.array(scores)
    ones = np.ones(len(scores))
    return Verdicts(
        time=START + tick * INTERVAL,
        value=score * 10,
        expected=ones,
        lower=-ones,
        upper=3 * ones,
        rarity=score * 4,
        score=score,
        typical=ones,
        severity=score,
        side=np.where(score * 10 < 1, -1, 1).astype(np.int8),
        long=np.zeros(len(scores), np.bool_),
    )


def run(
    policy: Policy, scores: Sequence[float], life: Lifecycle | None = None, first: int = 0
) -> list[Change]:
    """The changes of one series with these scores, one a tick."""
    life = Lifecycle.of(1) if life is None else life
    return [
        change
        for tick, score in enumerate(scores, start=first)
        for change in advance(policy, life, verdicts(tick, score))
    ]


def tick_of(time: int | None) -> float:
    assert time is not None
    return (time - START) / INTERVAL


def kept(changes: list[Change], action: Action) -> list[Anomaly]:
    return [change.anomaly for change in changes if change.action is action]


def test_normal_scores_change_nothing() -> None:
    assert run(make_policy(), [0.0, 0.9, 1.0, NAN, 0.3]) == []


def test_a_spike_opens_a_point_anomaly_and_ends_with_its_first_calm_sample() -> None:
    opened, closed = run(make_policy(), [0.1, 2.5, 0.2, 0.2])
    assert (opened.action, closed.action) == (Action.OPENED, Action.CLOSED)
    assert tick_of(opened.anomaly.started_at) == 1
    assert opened.anomaly.kind is Kind.POINT
    assert (opened.anomaly.severity, opened.anomaly.direction) == ("warning", "above")
    assert closed.anomaly.state is State.RESOLVED
    assert tick_of(closed.anomaly.ended_at) == 2


def test_the_peak_and_the_severity_follow_the_highest_score() -> None:
    *_, closed = run(make_policy(), [2.0, 5.0, 3.0, 0])
    assert (closed.anomaly.peak_score, closed.anomaly.peak_value) == (5.0, 50.0)
    assert tick_of(closed.anomaly.peak_at) == 1
    assert closed.anomaly.severity == "critical"
    assert closed.anomaly.samples == 3


def test_calm_shorter_than_the_cooldown_does_not_end_an_anomaly() -> None:
    changes = run(make_policy(cooldown=180), [2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0])
    assert len(kept(changes, Action.OPENED)) == 1
    assert [tick_of(end.ended_at) for end in kept(changes, Action.CLOSED)] == [7]
    assert tick_of(changes[-1].time) == 10


def test_a_sample_between_calm_and_anomalous_starts_the_cooldown_again() -> None:
    changes = run(make_policy(cooldown=120), [2, 0, 0, 0.8, 0, 0, 0])
    assert [tick_of(end.ended_at) for end in kept(changes, Action.CLOSED)] == [4]


def test_missing_samples_do_not_end_an_anomaly_by_themselves() -> None:
    changes = run(make_policy(cooldown=120), [2, 0, NAN, NAN, NAN, 0])
    assert [tick_of(change.time) for change in changes] == [0, 5]


def test_a_series_that_hovers_below_the_threshold_keeps_its_anomaly_open() -> None:
    changes = run(make_policy(), [2] + [0.8] * 20)
    assert [change.action for change in changes] == [Action.OPENED]


def test_an_anomaly_longer_than_the_limit_is_collective() -> None:
    changes = run(make_policy(collective_after=300), [2.0] * 7)
    kinds = [change.anomaly.kind for change in changes]
    assert kinds == [Kind.POINT] * 5 + [Kind.COLLECTIVE] * 2


def test_n_of_m_opens_from_the_first_of_the_n() -> None:
    policy = make_policy(anomalous=3, of=5)
    assert run(policy, [2, 2, 0, 0, 0, 2, 2]) == []
    (opened,) = run(policy, [2, 0, 2, 0, 2])
    assert tick_of(opened.anomaly.started_at) == 0
    assert opened.anomaly.samples == 3


def test_a_lone_sample_long_ago_is_no_part_of_a_run() -> None:
    changes = run(make_policy(anomalous=2, of=3), [9, 0, 0, 2, 0, 2])
    assert tick_of(changes[0].anomaly.started_at) == 3
    assert changes[0].anomaly.peak_score == 2.0
    sparse = run(make_policy(anomalous=3, of=4), [9, 0, 0, 2, 0, 2, 2])
    assert tick_of(sparse[0].anomaly.started_at) == 3
    assert (sparse[0].anomaly.peak_score, sparse[0].anomaly.samples) == (2.0, 3)


def test_a_run_shorter_than_the_least_duration_opens_nothing() -> None:
    policy = make_policy(min_duration=180)
    assert run(policy, [2, 2, 2, 0, 2, 2, 2]) == []
    (opened,) = run(policy, [2, 2, 2, 2])
    assert tick_of(opened.anomaly.started_at) == 0


def test_an_anomaly_expires_when_data_stops() -> None:
    changes = run(make_policy(), [0, 2] + [NAN] * 7)
    assert [change.action for change in changes] == [Action.OPENED, Action.CLOSED]
    assert changes[1].anomaly.state is State.EXPIRED
    assert tick_of(changes[1].anomaly.ended_at) == 1
    assert tick_of(changes[1].time) == 7


def test_one_missing_sample_of_a_slow_watch_is_not_the_end_of_data() -> None:
    changes = run(make_policy(missing_after=1), [2, NAN, 2])
    assert kept(changes, Action.CLOSED) == []


def test_missing_data_is_an_anomaly_when_the_watch_says_so() -> None:
    policy = make_policy(missing_is_anomaly=True)
    changes = run(policy, [0, 0] + [NAN] * 8 + [0, 0, 0])
    (opened,) = kept(changes, Action.OPENED)
    (closed,) = kept(changes, Action.CLOSED)
    assert opened.direction == "missing"
    assert tick_of(opened.started_at) == 2
    assert (closed.state, tick_of(closed.ended_at)) == (State.RESOLVED, 10)


def test_a_series_that_is_gone_for_good_is_missing_once() -> None:
    policy = make_policy(missing_is_anomaly=True, interval=3600, missing_after=3600)
    life = Lifecycle.of(1)
    changes: list[Change] = []
    for hour, score in enumerate([0.0] + [NAN] * 60):
        tick = verdicts(60 * hour, score)
        changes += advance(policy, life, tick)
    assert len(kept(changes, Action.OPENED)) == 1
    assert [end.state for end in kept(changes, Action.CLOSED)] == [State.EXPIRED]


def test_a_series_never_seen_is_not_missing() -> None:
    assert run(make_policy(missing_is_anomaly=True), [NAN] * 20) == []


def test_in_maintenance_nothing_opens_but_what_is_open_may_end() -> None:
    window = MaintenanceWindow("20 22 * * *", "UTC", 600)
    policy = make_policy(maintenance=(window,))
    assert START % 86400 == 22 * 3600 + 14 * 60
    assert kept(run(policy, [0] * 6 + [9] * 10), Action.OPENED) == []
    changes = run(policy, [2] * 6 + [9, 9, 0, 0, 0])
    (closed,) = kept(changes, Action.CLOSED)
    assert (closed.peak_score, tick_of(closed.ended_at)) == (2.0, 8)


def test_a_tick_is_never_counted_twice() -> None:
    life = Lifecycle.of(1)
    advance(make_policy(), life, verdicts(3, 2.0))
    with pytest.raises(ValueError, match="already counted"):
        advance(make_policy(), life, verdicts(3, 2.0))


def test_samples_before_a_gap_in_ticks_are_out_of_the_window() -> None:
    policy = make_policy(anomalous=2, of=3)
    life = Lifecycle.of(1)
    assert run(policy, [2.0], life) == []
    assert run(policy, [2.0], life, first=5) == []
    assert len(run(policy, [2.0], life, first=7)) == 1


def test_series_that_appear_later_start_with_nothing() -> None:
    life = Lifecycle.of(1)
    advance(make_policy(), life, verdicts(0, 2.0))
    (opened,) = advance(make_policy(), life, verdicts(1, NAN, 3.0))
    assert (opened.series, tick_of(opened.anomaly.started_at)) == (1, 1)


def test_a_late_tick_says_so() -> None:
    (change,) = advance(make_policy(), Lifecycle.of(1), verdicts(0, 2.0), late=True)
    assert change.late


def test_an_adopted_anomaly_goes_on_under_its_own_start() -> None:
    before = Lifecycle.of(2)
    advance(make_policy(), before, verdicts(0, 0.0, 4.0))
    opened = before.anomaly(1, make_policy(), state=State.OPEN, ended_at=None)
    fresh = Lifecycle.of(2)
    fresh.adopt({1: opened})
    (change,) = advance(make_policy(), fresh, verdicts(1, 0.0, 2.0))
    assert (change.action, change.series) == (Action.UPDATED, 1)
    assert change.anomaly.started_at == opened.started_at
    assert (change.anomaly.peak_score, change.anomaly.samples) == (4.0, 2)


def test_what_others_do_not_hold_open_is_not_open() -> None:
    life = Lifecycle.of(1)
    run(make_policy(), [2.0], life)
    life.adopt({})
    (opened,) = run(make_policy(), [2.0], life, first=1)
    assert opened.action is Action.OPENED
    assert tick_of(opened.anomaly.started_at) == 1
