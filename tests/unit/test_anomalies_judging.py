"""Policies from watches, scores and bands, explanations, systems."""

import json
from datetime import datetime

import numpy as np
import pytest

from metricwatch.anomalies import (
    Action,
    Lifecycle,
    MaintenanceWindow,
    Member,
    Policy,
    SystemAnomaly,
    Verdicts,
    advance,
    explain,
    group_systems,
    judge,
)
from metricwatch.resources.detection import Detection, Direction
from metricwatch.scoring import threshold


def judged(
    policy: Policy,
    *,
    value: float,
    expected: float = 100.0,
    rarity: float = 8.0,
    reach: float = 10.0,
    side: int | None = None,
    long: bool = False,
) -> Verdicts:
    one = np.ones(1)
    side = int(np.sign(value - expected)) if side is None else side
    return judge(
        policy,
        time=60,
        value=value * one,
        expected=expected * one,
        rarity=rarity * one,
        reach=reach * one,
        typical=2 * one,
        severity=3 * one,
        side=np.array([side], np.int8),
        long=np.array([long]),
    )


def without_data(time: int) -> Verdicts:
    nothing = np.full(1, np.nan)
    return Verdicts(time, *[nothing] * 8, side=np.zeros(1, np.int8), long=np.zeros(1, np.bool_))


def test_a_watch_without_settings_gives_the_documented_policy() -> None:
    policy = Policy.from_detection(Detection(), interval_seconds=60)
    assert policy == Policy(interval=60, threshold=threshold(0.5, 60))


def test_every_setting_of_a_watch_reaches_the_policy() -> None:
    detection = Detection.model_validate(
        {
            "falseAlarmsPerWeek": 2,
            "direction": "above",
            "minDeviation": {"absolute": 3, "relative": 0.25},
            "minDuration": "2m",
            "samples": {"anomalous": 2, "of": 4},
            "collectiveAfter": "1h",
            "cooldown": "90s",
            "missing": "anomaly",
            "missingAfter": "7m",
            "maintenance": [{"schedule": "0 2 * * 0", "timeZone": "UTC", "duration": "2h"}],
            "severity": [{"atLeast": 1, "name": "low"}, {"atLeast": 2, "name": "high"}],
        }
    )
    policy = Policy.from_detection(detection, interval_seconds=30)
    assert policy.threshold == threshold(2, 30)
    assert (policy.direction, policy.least_absolute, policy.least_relative) == ("above", 3, 0.25)
    assert (policy.min_duration, policy.anomalous, policy.of) == (120, 2, 4)
    assert (policy.collective_after, policy.cooldown) == (3600, 90)
    assert (policy.missing_is_anomaly, policy.missing_after) == (True, 420)
    assert policy.maintenance == (MaintenanceWindow("0 2 * * 0", "UTC", 7200),)
    assert [policy.severity_of(score) for score in (1.5, 2.0, 9.0)] == ["low", "high", "high"]


def test_a_score_is_rarity_over_threshold_and_the_band_is_its_reach() -> None:
    verdict = judged(Policy(interval=60, threshold=4.0), value=120.0)
    assert verdict.score[0] == 2.0
    assert (verdict.lower[0], verdict.upper[0]) == (90.0, 110.0)


def test_a_rarity_without_end_gives_a_finite_score() -> None:
    verdict = judged(Policy(interval=60, threshold=4.0), value=1e9, rarity=float("inf"))
    assert np.isfinite(verdict.score[0])


@pytest.mark.parametrize(
    ("direction", "value", "anomalous"),
    [
        (Direction.ABOVE, 120.0, True),
        (Direction.ABOVE, 80.0, False),
        (Direction.BELOW, 120.0, False),
        (Direction.BELOW, 80.0, True),
        (Direction.BOTH, 80.0, True),
    ],
)
def test_only_the_side_that_is_watched_counts(
    direction: Direction, value: float, anomalous: bool
) -> None:
    policy = Policy(interval=60, threshold=4.0, direction=direction)
    assert (judged(policy, value=value).score[0] > 1) is np.bool_(anomalous)


@pytest.mark.parametrize(
    ("direction", "side", "anomalous"),
    [
        (Direction.ABOVE, 1, True),
        (Direction.ABOVE, 0, True),
        (Direction.ABOVE, -1, False),
        (Direction.BELOW, 1, False),
        (Direction.BELOW, 0, True),
        (Direction.BELOW, -1, True),
    ],
)
def test_what_samples_together_say_has_the_side_of_that_and_not_of_the_newest_one(
    direction: Direction, side: int, anomalous: bool
) -> None:
    policy = Policy(interval=60, threshold=4.0, direction=direction)
    verdict = judged(policy, value=101.0 if side < 0 else 99.0, side=side, long=True)
    assert (verdict.score[0] > 1) is np.bool_(anomalous)
    assert verdict.long[0]


def test_a_family_without_a_residual_has_no_band_but_a_score() -> None:
    verdict = judged(Policy(interval=60, threshold=4.0), value=101.0, reach=np.nan)
    assert verdict.score[0] == 2.0
    assert np.isnan([verdict.lower[0], verdict.upper[0]]).all()


def test_series_that_came_later_had_no_sample_and_no_side() -> None:
    padded = judged(Policy(interval=60, threshold=4.0), value=120.0).padded(3)
    assert padded.series == 3
    assert np.isnan(padded.value[1:]).all()
    assert np.isnan(padded.severity[1:]).all()
    assert padded.side.tolist() == [1, 0, 0]
    assert padded.long.tolist() == [False, False, False]
    assert padded.padded(2) is padded


@pytest.mark.parametrize(
    ("settings", "value", "score", "upper"),
    [
        ({"least_absolute": 30.0}, 120.0, 20 / 30, 130.0),
        ({"least_absolute": 30.0}, 130.0, 2.0, 130.0),
        ({"least_relative": 0.4}, 120.0, 0.5, 140.0),
        ({"least_relative": 0.4, "least_absolute": 50.0}, 145.0, 0.9, 150.0),
        ({"least_absolute": 5.0}, 120.0, 2.0, 110.0),
    ],
)
def test_a_deviation_below_the_least_one_widens_the_band(
    settings: dict[str, float], value: float, score: float, upper: float
) -> None:
    verdict = judged(Policy(interval=60, threshold=4.0, **settings), value=value)  # type: ignore[arg-type]
    assert verdict.score[0] == pytest.approx(score)
    assert verdict.upper[0] == upper


@pytest.mark.parametrize(
    ("time", "covered"),
    [
        ("2026-03-29T00:59:00+00:00", False),  # 01:59 in Berlin
        ("2026-03-22T01:00:00+00:00", True),  # 02:00 winter time
        ("2026-03-22T02:59:59+00:00", True),
        ("2026-03-22T03:00:00+00:00", False),
        ("2026-07-05T00:00:00+00:00", True),  # 02:00 summer time
        ("2026-07-06T00:00:00+00:00", False),  # Monday
    ],
)
def test_a_maintenance_window_keeps_the_local_time(time: str, covered: bool) -> None:
    window = MaintenanceWindow("0 2 * * 0", "Europe/Berlin", 7200)
    assert window.covers(int(datetime.fromisoformat(time).timestamp())) is covered


def test_an_explanation_says_how_far_out_and_is_plain_json() -> None:
    policy = Policy(interval=60, threshold=4.0)
    (change,) = advance(policy, Lifecycle.of(1), judged(policy, value=120.0))
    said = explain(change.anomaly, policy, family="seasonal")
    assert said["deviation"] == 10.0
    assert said["summary"] == (
        "120 is above the expected 100, 10.0 typical deviations; normal is 90 to 110"
    )
    assert json.loads(json.dumps(said, allow_nan=False))["family"] == "seasonal"


def test_an_explanation_of_missing_data_has_no_numbers_it_does_not_know() -> None:
    policy = Policy(interval=60, threshold=4.0, missing_is_anomaly=True, missing_after=60)
    life = Lifecycle.of(1)
    advance(policy, life, judged(policy, value=100.0, rarity=0.1))
    (change,) = advance(policy, life, without_data(600))
    assert change.action is Action.OPENED
    said = explain(change.anomaly, policy, family="zscore")
    assert said["summary"] == "no data"
    assert said["expected"] is None
    json.dumps(said, allow_nan=False)


def members(count: int, severity: int = 0) -> list[Member]:
    return [Member(key, started_at=1000 + 10 * key, severity=severity) for key in range(count)]


def test_two_series_are_never_a_system() -> None:
    assert group_systems(members(2), series=2, now=2000) is None


def test_less_than_a_third_of_a_system_is_not_the_system() -> None:
    assert group_systems(members(29), series=100, now=2000) is None
    found = group_systems(members(30), series=100, now=2000)
    assert found is not None
    assert len(found.members) == 30


def test_a_system_anomaly_starts_when_there_were_enough_whatever_the_order() -> None:
    found = group_systems(members(6), series=10, now=2000)
    assert found == group_systems(members(6)[::-1], series=10, now=2000)
    assert found == SystemAnomaly(1020, None, 0, (0, 1, 2, 3, 4, 5))


def test_a_system_anomaly_keeps_its_worst_severity_and_everyone_who_was_in_it() -> None:
    standing = SystemAnomaly(1020, None, 2, (7, 8, 9))
    found = group_systems(members(2, severity=1), series=10, now=2000, standing=standing)
    assert found == SystemAnomaly(1020, None, 2, (0, 1, 7, 8, 9))


def test_a_system_anomaly_ends_when_less_than_half_of_enough_is_left() -> None:
    standing = SystemAnomaly(1020, None, 0, (0, 1, 2))
    found = group_systems(members(1), series=10, now=2000, standing=standing)
    assert found == SystemAnomaly(1020, 2000, 0, (0, 1, 2))
