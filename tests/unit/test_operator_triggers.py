"""Why a version is wanted: each rule, and the order of the rules."""

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

from metricwatch.store.rows import Slice, Version
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.answering import IMPORTED, SUPERSEDED
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.desired import read_desired
from metricwatch_operator.planning.trainer_runs import Phase, Run
from metricwatch_operator.planning.triggering import Wish, wish
from metricwatch_operator.planning.triggers import TRIGGERS

HOUR = 3600
DAY = 24 * HOUR


def _world(*versions: Version, model: Any = None, watches: Any = None, health: Any = ()) -> Any:
    model, watches = model or make_model(), watches or (make_watch(),)
    rows = tuple(make_row(watch, *health) for watch in watches)
    return Observed(
        "shop",
        "checkout",
        model=model,
        watches=tuple(watches),
        overview=make_overview(model, versions, rows),
    )


def _wish(observed: Observed, run: Run | None = None, *, now: Any = NOW) -> Wish:
    assert observed.overview is not None
    runs = {observed.overview.versions[0].version: run} if run else {}
    return wish(observed, read_desired(observed, CONFIG), runs, now=now, config=CONFIG)


def _version(number: int = 1, state: str = "Serving", **changes: Any) -> Version:
    return make_version(make_request(make_model(), make_watch()), number, state, **changes)


def _other(number: int, state: str, **changes: Any) -> Version:
    """A version for another spec."""
    other = make_request(make_model(training={"window": "7d"}), make_watch())
    return make_version(other, number, state, **changes)


def _annotated(text: str, **spec: Any) -> dict[str, Any]:
    model = make_model(**spec)
    model["metadata"]["annotations"] = {"metricwatch.io/retrain-requested-at": text}
    return model


def _ago(seconds: float) -> str:
    return format_time(time_of(NOW_SECONDS - seconds))


def test_every_rule_has_a_name_and_a_line_that_says_what_it_is_about() -> None:
    assert [rule.__name__ for rule in TRIGGERS] == [
        "is_first",
        "spec_changed",
        "was_asked_for",
        "was_mended",
        "failed",
        "is_scheduled",
        "has_drifted",
        "has_new_series",
    ]
    assert all(rule.__doc__ for rule in TRIGGERS)


def test_nothing_is_wanted_of_a_model_that_serves_what_its_spec_asks_for() -> None:
    assert _wish(_world(_version())) == Wish()


def test_nothing_is_wanted_without_a_watch_or_a_row_in_the_database() -> None:
    world = _world(_version())
    assert _wish(replace(world, watches=())) == Wish()
    lost = replace(world, overview=None)
    assert wish(lost, read_desired(lost, CONFIG), {}, now=NOW, config=CONFIG) == Wish()


def test_the_first_version_is_wanted_when_there_is_none() -> None:
    made = _wish(_world())
    assert (made.reason, made.why, made.attempt, made.is_due) == (
        "Created",
        "the first version",
        1,
        True,
    )


def test_another_window_wants_a_version_and_says_what_changed() -> None:
    made = _wish(_world(_version(), model=make_model(training={"window": "7d"})))
    assert (made.reason, made.why) == ("SpecChanged", "training.window 14d → 7d")


@pytest.mark.parametrize(
    "training",
    [
        {"schedule": "0 3 1 1 *", "timeZone": "Europe/Berlin"},
        {"timeout": "2h"},
        {"retrainOnDrift": False},
        {"resources": {"limits": {"memory": "8Gi"}}},
    ],
)
def test_what_has_no_influence_on_what_is_learned_wants_no_version(training: Any) -> None:
    assert not _wish(_world(_version(), model=make_model(training=training))).reason


@pytest.mark.parametrize(
    ("version", "is_answer"),
    [
        (_version(2, "Training"), True),
        (_version(2, "Candidate"), True),
        (_version(2, "Rejected", trained_at=NOW_SECONDS), True),
        (_version(2, "Retired", reason=SUPERSEDED), True),
        (_version(2, "Retired", reason=IMPORTED), False),
        (_version(2, "Failed", reason=SUPERSEDED), False),
        (_other(2, "Training"), False),
    ],
    ids=lambda value: f"{value.state} {value.reason}" if isinstance(value, Version) else "",
)
def test_a_newer_version_for_the_spec_is_an_answer_unless_it_was_given_up(
    version: Version, is_answer: bool
) -> None:
    made = _wish(_world(_other(1, "Serving"), version))
    assert (made.reason == "") is is_answer


def test_an_older_version_for_the_spec_is_no_answer_when_a_newer_one_serves() -> None:
    assert _wish(_world(_version(1, "Retired"), _other(2, "Serving"))).reason == "SpecChanged"


def test_a_good_version_between_the_one_that_serves_and_one_that_failed_is_an_answer() -> None:
    versions = (_other(1, "Serving"), _version(2, "Retired"), _other(3, "Failed"))
    assert not _wish(_world(*versions)).reason
    failed = (_other(1, "Serving"), _version(2, "Failed"), _other(3, "Failed"))
    assert _wish(_world(*failed)).reason == "SpecChanged"


def test_a_version_that_was_rolled_back_is_not_trained_again_by_itself() -> None:
    versions = (_other(1, "Serving"), _version(2, "Rejected", trained_at=NOW_SECONDS - 60))
    assert not _wish(_world(*versions)).reason


def test_a_removed_watch_wants_no_version() -> None:
    request = make_request(make_model(), make_watch(), make_watch("errors"))
    assert not _wish(_world(make_version(request))).reason


def test_a_removed_watch_hides_no_other_change() -> None:
    request = make_request(make_model(), make_watch(), make_watch("errors"))
    changed = _wish(_world(make_version(request), model=make_model(training={"window": "7d"})))
    assert changed.reason == "SpecChanged"
    query = _wish(_world(make_version(request), watches=(make_watch(query="down"),)))
    assert query.reason == "SpecChanged"


def test_an_added_watch_wants_a_version() -> None:
    made = _wish(_world(_version(), watches=(make_watch(), make_watch("errors"))))
    assert (made.reason, made.why) == ("WatchesAdded", "watch errors added")


def test_a_watch_that_is_added_as_another_one_goes_wants_a_version() -> None:
    request = make_request(make_model(), make_watch(), make_watch("gone"))
    made = _wish(_world(make_version(request), watches=(make_watch(), make_watch("errors"))))
    assert (made.reason, made.why) == ("WatchesAdded", "watch errors added, watch gone removed")


def test_another_set_of_watches_is_another_spec() -> None:
    made = _wish(_world(_version(), watches=(make_watch("errors"),)))
    assert made.reason == "SpecChanged"


def test_a_request_that_this_release_cannot_read_is_another_spec() -> None:
    request = {"algorithm": {"type": "gone"}, "watches": []}
    old = replace(_version(), request=request, request_hash="old")
    assert _wish(_world(old)).reason == "SpecChanged"


@pytest.mark.parametrize(("asked", "is_wanted"), [(60, True), (2 * HOUR, False)])
def test_an_annotation_counts_when_it_is_newer_than_the_end_of_the_last_run(
    asked: int, is_wanted: bool
) -> None:
    made = _wish(_world(_version(), model=_annotated(_ago(asked))))
    assert (made.reason == "RetrainRequested") is is_wanted


def test_an_annotation_is_answered_by_the_run_that_is_under_way() -> None:
    training = _version(2, "Training", created_at=NOW_SECONDS - 120)
    assert not _wish(_world(_version(), training, model=_annotated(_ago(60)))).reason


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("yesterday", "is no RFC 3339 time"),
        ("2026-03-01T11:00:00", "is no RFC 3339 time"),
        ("2030-01-01T00:00:00Z", "lies in the future"),
    ],
)
def test_an_annotation_that_makes_no_sense_is_remarked_on(text: str, note: str) -> None:
    made = _wish(_world(_version(), model=_annotated(text)))
    assert not made.reason
    assert note in made.note


def _failed(number: int = 2, **changes: Any) -> Version:
    """A version whose run began two hours ago and failed."""
    return _version(number, "Failed", reason="SourceUnavailable", message="503", **changes)


def test_a_failed_run_is_tried_again_and_its_attempts_are_counted() -> None:
    made = _wish(_world(_version(), _failed(attempt=3)))
    assert (made.reason, made.why, made.attempt) == ("Retry", "another try after: 503", 4)


def test_a_run_that_cannot_succeed_is_not_tried_again() -> None:
    run = Run(Phase.FAILED, "QueryRefused", exit_code=11, ended_at=NOW_SECONDS - DAY)
    assert not _wish(_world(_version(), _failed()), run).reason


def test_a_run_that_lacks_history_is_tried_again_when_there_may_be_more() -> None:
    run = Run(
        Phase.FAILED, "TooLittleHistory", exit_code=10, retry_after=900.0, ended_at=NOW_SECONDS
    )
    made = _wish(_world(_failed(1)), run)
    assert (made.reason, made.is_due, made.retry_at) == ("Retry", False, NOW_SECONDS + 900)


@pytest.mark.parametrize(("anomaly_ago", "is_tried"), [(60, True), (3 * HOUR, False)])
def test_a_run_that_lacks_labels_is_tried_again_when_an_anomaly_was_recorded(
    anomaly_ago: int, is_tried: bool
) -> None:
    world = _world(_failed(1))
    assert world.overview is not None
    rows = [
        replace(row, last_anomaly_at=NOW_SECONDS - anomaly_ago) for row in world.overview.watches
    ]
    labelled = replace(world, overview=replace(world.overview, watches=tuple(rows)))
    run = Run(Phase.FAILED, "NoLabels", exit_code=10, ended_at=NOW_SECONDS - 2 * HOUR)
    assert (_wish(labelled, run).reason == "Retry") is is_tried


@pytest.mark.parametrize(
    "training", [{"timeout": "2h"}, {"resources": {"limits": {"memory": "8Gi"}}}]
)
def test_a_failed_run_that_gets_more_room_starts_over_at_once(training: Any) -> None:
    failed = _failed(1, attempt=7, created_at=NOW_SECONDS - 10)
    made = _wish(_world(failed, model=make_model(training=training)))
    assert (made.reason, made.attempt, made.is_due) == ("SpecChanged", 1, True)
    assert "training." in made.why


def test_a_failed_run_does_not_start_over_for_another_schedule() -> None:
    failed = _failed(1, created_at=NOW_SECONDS - 10)
    made = _wish(_world(failed, model=make_model(training={"schedule": "0 3 1 1 *"})))
    assert (made.reason, made.is_due) == ("Retry", False)


def test_a_version_that_was_given_up_is_not_tried_again() -> None:
    assert not _wish(_world(_version(), _version(2, "Failed", reason=SUPERSEDED))).reason


def test_a_refused_version_is_tried_again_only_while_nothing_serves() -> None:
    refused = _version(2, "Rejected", reason="TooManyAnomalies", trained_at=NOW_SECONDS - HOUR)
    assert _wish(_world(refused)).reason == "Retry"
    assert not _wish(_world(_version(1), refused)).reason


def _scheduled(line: str = "0 3 * * *", zone: str = "UTC", **spec: Any) -> dict[str, Any]:
    return make_model(training={"schedule": line, "timeZone": zone}, **spec)


@pytest.mark.parametrize(
    ("trained_ago", "is_wanted"), [(HOUR, False), (8 * HOUR, False), (10 * HOUR, True)]
)
def test_a_schedule_wants_a_version_when_it_was_due_after_the_last_run(
    trained_ago: int, is_wanted: bool
) -> None:
    at = NOW_SECONDS - trained_ago
    version = _version(created_at=at - 60, trained_at=at)
    made = _wish(_world(version, model=_scheduled()))
    assert (made.reason == "Scheduled") is is_wanted
    assert made.next_training == NOW_SECONDS + 15 * HOUR


def test_a_schedule_says_what_was_due() -> None:
    version = _version(created_at=NOW_SECONDS - 3 * DAY, trained_at=NOW_SECONDS - 3 * DAY)
    made = _wish(_world(version, model=_scheduled("30 6 * * 1-7", "Europe/Berlin")))
    assert made.why == "schedule 30 6 * * 1-7 Europe/Berlin, due at 2026-03-01T05:30:00Z"


def test_a_schedule_is_answered_by_the_run_that_was_under_way_when_it_was_due() -> None:
    """The run began before the schedule was due and ended after it."""
    over = _version(created_at=NOW_SECONDS - 10 * HOUR, trained_at=NOW_SECONDS - 8 * HOUR)
    assert not _wish(_world(over, model=_scheduled())).reason
    training = _version(2, "Training", created_at=NOW_SECONDS - 10 * HOUR)
    assert not _wish(_world(_version(), training, model=_scheduled())).reason


def test_a_schedule_is_answered_by_a_run_whose_clock_is_a_little_behind() -> None:
    due = NOW_SECONDS - 9 * HOUR
    early = _version(created_at=due - 20, trained_at=due - 10)
    assert not _wish(_world(early, model=_scheduled())).reason
    earlier = _version(created_at=due - 50, trained_at=due - 40)
    assert _wish(_world(earlier, model=_scheduled())).reason == "Scheduled"


def test_a_schedule_gives_a_run_that_cannot_succeed_another_chance() -> None:
    run = Run(Phase.FAILED, "QueryRefused", exit_code=11, ended_at=NOW_SECONDS - DAY)
    failed = _failed(created_at=NOW_SECONDS - DAY, attempt=2)
    made = _wish(_world(_version(), failed, model=_scheduled()), run)
    # Nobody changed anything: the wait before a further try goes on growing.
    assert (made.reason, made.attempt) == ("Scheduled", 3)


def test_an_imported_version_is_no_training_run() -> None:
    old = _version(created_at=NOW_SECONDS - 10 * HOUR, trained_at=NOW_SECONDS - 10 * HOUR)
    imported = _version(2, "Retired", reason=IMPORTED, created_at=NOW_SECONDS - HOUR)
    assert _wish(_world(old, imported, model=_scheduled())).reason == "Scheduled"


def _drifting(*drift: float | None, series: int = 4) -> tuple[Any, ...]:
    """What the shards of the serving version report."""
    return tuple(
        make_health(drift=share, series=series, part=Slice(len(drift), shard))
        for shard, share in enumerate(drift)
    )


OLD: dict[str, Any] = {"created_at": NOW_SECONDS - 3 * DAY, "trained_at": NOW_SECONDS - 3 * DAY}
"""Of a version that was trained more than a seventh of its 14 days ago."""


@pytest.mark.parametrize(
    ("drift", "is_wanted"),
    [
        ((None,), False),
        ((0.0,), False),
        ((0.24,), False),
        ((0.25,), True),
        ((1.0,), True),
        ((0.5, 0.0), True),
        ((0.4, 0.0), False),
        ((0.3, None), True),
    ],
)
def test_drift_of_a_quarter_of_a_watchs_series_wants_a_version(
    drift: tuple[float | None, ...], is_wanted: bool
) -> None:
    made = _wish(_world(_version(**OLD), health=_drifting(*drift)))
    assert (made.reason == "Drifted") is is_wanted


def test_drift_says_which_watch_and_how_much() -> None:
    made = _wish(_world(_version(**OLD), health=_drifting(0.5)))
    assert made.why == "half or more of the series of watch latency are no longer as learned"


def test_drift_wants_nothing_when_the_spec_says_so() -> None:
    model = make_model(training={"retrainOnDrift": False})
    assert not _wish(_world(_version(**OLD), model=model, health=_drifting(1.0))).reason


def test_drift_of_a_version_that_does_not_serve_wants_nothing() -> None:
    health = tuple(replace(one, version=2) for one in _drifting(1.0))
    assert not _wish(_world(_version(**OLD), health=health)).reason


def test_drift_wants_nothing_while_a_version_is_being_trained() -> None:
    training = _version(2, "Training", created_at=NOW_SECONDS - 60)
    assert not _wish(_world(_version(**OLD), training, health=_drifting(1.0))).reason


def _found(*counts: int) -> dict[str, Any]:
    return {"watches": [{"uid": "uid-latency", "found": count} for count in counts]}


@pytest.mark.parametrize(
    ("found", "series", "is_wanted"),
    [((8,), 8, False), ((8,), 4, False), ((8,), 10, False), ((6,), 8, True), ((3, 3), 8, True)],
)
def test_new_series_want_a_version_when_they_are_a_quarter(
    found: tuple[int, ...], series: int, is_wanted: bool
) -> None:
    health = (make_health(series=series),)
    made = _wish(_world(_version(report=_found(*found), **OLD), health=health))
    assert (made.reason == "SeriesAdded") is is_wanted
    if is_wanted:
        assert made.why == "2 of 8 series of watch latency are not in the version"


def test_a_watch_that_the_version_never_saw_has_no_new_series() -> None:
    assert not _wish(_world(_version(report={}, **OLD), health=(make_health(),))).reason


def test_systems_are_not_mistaken_for_new_series() -> None:
    model = make_model(scope="multivariate")
    request = make_request(model, make_watch())
    version = make_version(request, report=_found(4), **OLD)
    assert not _wish(_world(version, model=model, health=(make_health(series=8),))).reason


def test_the_most_pressing_reason_is_told() -> None:
    asked = _annotated(_ago(60), training={"schedule": "0 3 * * *", "window": "7d"})
    plain = _annotated(_ago(60), training={"schedule": "0 3 * * *"})
    version = _version(report=_found(1), **OLD)
    health = _drifting(1.0)
    assert _wish(_world(version, model=asked, health=health)).reason == "SpecChanged"
    assert _wish(_world(version, model=plain, health=health)).reason == "RetrainRequested"
    assert _wish(_world(version, model=_scheduled(), health=health)).reason == "Scheduled"
    assert _wish(_world(version, health=health)).reason == "Drifted"
