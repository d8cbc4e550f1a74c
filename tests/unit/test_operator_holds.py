"""What keeps a version that is wanted from being trained, and until when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    make_health,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_version,
    make_watch,
)

from metricwatch.store.rows import Version
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.desired import read_desired
from metricwatch_operator.planning.holds import HOLDS
from metricwatch_operator.planning.trainer_runs import Phase, Run
from metricwatch_operator.planning.triggering import Wish, wish

HOUR = 3600
DAY = 24 * HOUR


def _wish(
    *versions: Version,
    model: dict[str, Any] | None = None,
    watches: tuple[dict[str, Any], ...] = (),
    run: Run | None = None,
    drift: float | None = None,
    version: int = 1,
) -> Wish:
    model, watches = model or make_model(), watches or (make_watch(),)
    health = make_health(version, drift=drift)
    observed = Observed(
        "shop",
        "checkout",
        model=model,
        watches=watches,
        overview=make_overview(
            model, versions, tuple(make_row(watch, health) for watch in watches)
        ),
    )
    runs = {max(one.version for one in versions): run} if run else {}
    return wish(observed, read_desired(observed, CONFIG), runs, now=NOW, config=CONFIG)


def _version(number: int = 1, state: str = "Serving", **changes: Any) -> Version:
    return make_version(make_request(make_model(), make_watch()), number, state, **changes)


def _created(manifest: dict[str, Any], *, ago: float) -> dict[str, Any]:
    manifest["metadata"]["creationTimestamp"] = format_time(time_of(NOW_SECONDS - ago))
    return manifest


def _held(wanted: Wish) -> str:
    return wanted.held.reason if wanted.held else ""


def _until(wanted: Wish) -> float | None:
    """Seconds from now."""
    if wanted.held is None or wanted.held.until is None:
        return None
    return wanted.held.until - NOW_SECONDS


def test_every_rule_has_a_name_and_a_line_that_says_what_it_is_about() -> None:
    assert [rule.__name__ for rule in HOLDS] == [
        "is_suspended",
        "is_arriving",
        "is_coming_and_going",
        "is_busy",
        "is_in_maintenance",
        "is_backing_off",
        "is_on_trial",
        "was_trained_lately",
    ]
    assert all(rule.__doc__ for rule in HOLDS)


def test_a_suspended_model_is_held_until_a_person_wants_it() -> None:
    wanted = _wish(model=make_model(suspend=True, training={"schedule": "0 3 * * *"}))
    assert (wanted.reason, _held(wanted), wanted.at) == ("Created", "Suspended", None)
    assert not wanted.is_due
    assert wanted.next_training is None


@pytest.mark.parametrize(("ago", "left"), [(0, 3), (1, 2), (-3600, 3), (3, None), (60, None)])
def test_the_watches_of_one_apply_are_waited_for(ago: float, left: float | None) -> None:
    wanted = _wish(watches=(_created(make_watch(), ago=ago),))
    assert _held(wanted) == ("Settling" if left else "")
    assert _until(wanted) == left


@pytest.mark.parametrize(
    ("ages", "left"),
    [
        ((10,), 50),
        ((59,), 1),
        ((60,), None),
        ((200, 10), 50),
        # Watches that keep coming are waited for at most ten times as long.
        ((570, 10), 30),
        ((600, 10), None),
    ],
)
def test_watches_that_are_added_one_after_another_are_trained_together(
    ages: tuple[int, ...], left: int | None
) -> None:
    added = [_created(make_watch(f"w{age}"), ago=age) for age in ages]
    wanted = _wish(_version(), watches=(make_watch(), *added))
    assert wanted.reason == "WatchesAdded"
    assert _held(wanted) == ("WatchesSettling" if left else "")
    assert _until(wanted) == left


def test_an_added_watch_is_not_waited_for_while_nothing_serves() -> None:
    added = _created(make_watch("errors"), ago=10)
    failed = _version(1, "Failed", reason="TooLittleHistory")
    wanted = _wish(failed, watches=(make_watch(), added))
    assert (wanted.reason, wanted.is_due) == ("WatchesAdded", True)


def test_another_change_of_the_spec_waits_for_no_watches() -> None:
    added = _created(make_watch("errors"), ago=10)
    model = make_model(training={"window": "7d"})
    wanted = _wish(_version(), model=model, watches=(make_watch(), added))
    assert (wanted.reason, wanted.is_due) == ("SpecChanged", True)


def test_an_added_watch_does_not_throw_away_a_run_that_began() -> None:
    training = _version(2, "Training")
    watches = (make_watch(), make_watch("errors"))
    begun = _wish(_version(), training, watches=watches, run=Run(Phase.ACTIVE))
    assert (_held(begun), begun.at) == ("Training", None)
    queued = _wish(_version(), training, watches=watches)
    assert queued.is_due


def test_another_spec_throws_away_a_run_that_began() -> None:
    model = make_model(training={"window": "7d"})
    wanted = _wish(_version(1, "Training"), model=model, run=Run(Phase.ACTIVE))
    assert wanted.is_due


def _maintained(schedule: str, duration: str, zone: str = "UTC") -> dict[str, Any]:
    entry = {"schedule": schedule, "duration": duration, "timeZone": zone}
    return make_watch(detection={"maintenance": [entry]})


@pytest.mark.parametrize(
    ("schedule", "duration", "zone", "left"),
    [
        ("0 11 * * *", "2h", "UTC", HOUR),
        ("0 12 * * *", "2h", "UTC", 2 * HOUR),
        ("0 13 * * *", "2h", "Europe/Berlin", 2 * HOUR),
        ("0 13 * * *", "2h", "UTC", None),
        ("0 10 * * *", "2h", "UTC", None),
        ("0 10 * * 1", "2h", "UTC", None),
        # One ends where the next one begins.
        ("0 11,13 * * *", "2h", "UTC", 3 * HOUR),
    ],
)
def test_nothing_is_trained_in_maintenance(
    schedule: str, duration: str, zone: str, left: int | None
) -> None:
    wanted = _wish(watches=(_maintained(schedule, duration, zone),))
    assert wanted.reason == "Created"
    assert _held(wanted) == ("Maintenance" if left else "")
    assert _until(wanted) == left


def test_maintenance_of_one_watch_holds_back_the_whole_model() -> None:
    idle, other = _maintained("0 3 * * *", "1h"), _maintained("30 11 * * *", "1h")
    other["metadata"] |= {"name": "errors", "uid": "uid-errors"}
    assert _until(_wish(watches=(idle, other))) == HOUR / 2


def test_maintenance_of_a_suspended_watch_holds_back_nothing() -> None:
    watch = _maintained("0 11 * * *", "2h")
    watch["spec"]["suspend"] = True
    assert _wish(watches=(watch,)).is_due


def test_maintenance_holds_back_what_a_person_asked_for() -> None:
    model = make_model()
    asked = format_time(time_of(NOW_SECONDS - 60))
    model["metadata"]["annotations"] = {"metricwatch.io/retrain-requested-at": asked}
    wanted = _wish(_version(), model=model, watches=(_maintained("0 11 * * *", "2h"),))
    assert (wanted.reason, _held(wanted)) == ("RetrainRequested", "Maintenance")


def test_maintenance_without_an_end_is_told_with_a_time_all_the_same() -> None:
    until = _until(_wish(watches=(_maintained("* * * * *", "2h"),)))
    assert until is not None
    assert 31 * DAY <= until < 32 * DAY


def _failed(**changes: Any) -> Version:
    return _version(1, "Failed", reason="SourceUnavailable", **changes)


@pytest.mark.parametrize(("attempt", "left"), [(1, 40), (2, 100), (7, 3580), (40, 3580)])
def test_another_try_waits_longer_with_each_attempt(attempt: int, left: int) -> None:
    wanted = _wish(_failed(attempt=attempt, created_at=NOW_SECONDS - 20))
    assert (_held(wanted), _until(wanted)) == ("BackOff", left)
    assert wanted.retry_at == wanted.next_training == NOW_SECONDS + left
    assert wanted.attempt == attempt + 1


def test_another_try_is_made_when_the_delay_is_over() -> None:
    wanted = _wish(_failed(attempt=2, created_at=NOW_SECONDS - 120))
    assert (wanted.reason, wanted.is_due, wanted.retry_at) == ("Retry", True, None)


def test_a_version_whose_detectors_did_not_start_counts_from_when_they_were_given_up() -> None:
    failed = _version(1, "Failed", reason="DetectorNotReady", trained_at=NOW_SECONDS - 600)
    assert _until(_wish(failed)) == 60
    unmeasured = _version(1, "Failed", reason="GateError", trained_at=NOW_SECONDS - 10)
    assert _until(_wish(unmeasured)) == 50


def test_a_person_waits_for_no_delay() -> None:
    model = make_model()
    asked = format_time(time_of(NOW_SECONDS - 1))
    model["metadata"]["annotations"] = {"metricwatch.io/retrain-requested-at": asked}
    wanted = _wish(_failed(attempt=9, created_at=NOW_SECONDS - 20), model=model)
    assert (wanted.reason, wanted.is_due, wanted.attempt) == ("RetrainRequested", True, 1)


HOURLY = {"schedule": "0 * * * *"}


def _candidate(**changes: Any) -> Version:
    """Trained at a quarter to twelve; the schedule was due at twelve."""
    at = NOW_SECONDS - HOUR / 4
    return _version(2, "Candidate", created_at=int(at) - 60, trained_at=int(at), **changes)


@pytest.mark.parametrize(
    ("rollout", "ready_at", "left"),
    [
        ({}, None, -900 + 600),
        ({"strategy": "Shadow"}, None, -900 + 600 + 3600),
        ({"strategy": "Shadow"}, NOW_SECONDS - 60, -60 + 600 + 3600),
        ({"strategy": "Shadow", "shadow": {"duration": "1m"}}, None, -900 + 600 + 120),
        ({"strategy": "Shadow", "autoPromote": False}, None, -1),
    ],
)
def test_a_schedule_waits_for_a_candidate_that_is_about_to_serve(
    rollout: dict[str, Any], ready_at: int | None, left: int
) -> None:
    model = make_model(training=HOURLY, rollout=rollout)
    wanted = _wish(_version(), _candidate(ready_at=ready_at), model=model)
    assert wanted.reason == "Scheduled"
    assert _held(wanted) == ("OnTrial" if left > 0 else "")
    assert _until(wanted) == (left if left > 0 else None)


def test_a_candidate_behind_a_pinned_version_is_replaced_by_newer_ones() -> None:
    model = make_model(training=HOURLY, rollout={"strategy": "Shadow"}, version=1)
    assert _wish(_version(), _candidate(), model=model).is_due


def test_another_spec_waits_for_no_candidate() -> None:
    model = make_model(training={"window": "7d"}, rollout={"strategy": "Shadow"})
    assert _wish(_version(), _candidate(), model=model).is_due


@pytest.mark.parametrize(("trained_ago", "left"), [(DAY, DAY), (2 * DAY, None), (9 * DAY, None)])
def test_drift_is_answered_at_most_once_in_a_seventh_of_the_window(
    trained_ago: int, left: int | None
) -> None:
    at = NOW_SECONDS - trained_ago
    wanted = _wish(_version(created_at=at, trained_at=at), drift=1.0)
    assert wanted.reason == "Drifted"
    assert _held(wanted) == ("TrainedLately" if left else "")
    assert _until(wanted) == left


def test_drift_that_a_refused_version_answered_is_not_answered_again_at_once() -> None:
    old = _version(created_at=NOW_SECONDS - 9 * DAY, trained_at=NOW_SECONDS - 9 * DAY)
    refused = _version(2, "Rejected", created_at=NOW_SECONDS - DAY, trained_at=NOW_SECONDS - DAY)
    wanted = _wish(old, refused, drift=1.0)
    assert (wanted.reason, _held(wanted)) == ("Drifted", "TrainedLately")


def test_the_next_look_is_when_the_schedule_is_due_if_that_comes_first() -> None:
    version = _version(created_at=NOW_SECONDS - 60, trained_at=NOW_SECONDS)
    wanted = _wish(version, model=make_model(training=HOURLY), drift=1.0)
    assert _held(wanted) == "TrainedLately"
    assert wanted.at == wanted.next_training == NOW_SECONDS + HOUR


def test_what_holds_back_says_until_when() -> None:
    wanted = _wish(watches=(_maintained("0 11 * * *", "2h"),))
    assert wanted.held is not None
    assert wanted.held.message == "maintenance until 2026-03-01T13:00:00Z"


def test_a_wish_is_the_same_whatever_led_to_the_look() -> None:
    version = _version(created_at=NOW_SECONDS - 9 * DAY, trained_at=NOW_SECONDS - 9 * DAY)
    one = _wish(version, drift=0.5)
    assert one == _wish(replace(version), drift=0.5)
