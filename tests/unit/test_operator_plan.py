"""What a plan says on both statuses, and the order of its steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOTIFICATIONS,
    NOW,
    NOW_SECONDS,
    make_health,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_serving_world,
    make_version,
    make_watch,
    settle,
)

from metricwatch.store.rows import HealthState, WatchHealth
from metricwatch_operator.observed import Memory, Observed, Problem
from metricwatch_operator.planning.actions import Assign, Forget, Plan
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.names import FINALIZER
from metricwatch_operator.planning.plan import plan
from metricwatch_operator.planning.rest import REST_SECONDS

AWAY = Problem("StoreUnavailable", "cannot reach PostgreSQL: connection refused")


def _plan(observed: Observed, **later: float) -> Plan:
    return plan(observed, now=NOW + timedelta(**later), config=CONFIG)


def _status(steps: Plan, kind: str = "AnomalyModel") -> dict[str, Any]:
    (found,) = [one["status"] for one in steps.statuses if one["kind"] == kind]
    return dict(found)


def _conditions(steps: Plan, kind: str = "AnomalyModel") -> dict[str, tuple[str, str]]:
    return {
        one["type"]: (one["status"], one["reason"]) for one in _status(steps, kind)["conditions"]
    }


def _with_health(observed: Observed, *health: WatchHealth, **row: Any) -> Observed:
    assert observed.overview is not None
    changed = replace(make_row(make_watch(), *health), **row)
    return replace(observed, overview=replace(observed.overview, watches=(changed,)))


def _without_status(observed: Observed) -> Observed:
    model = {name: value for name, value in (observed.model or {}).items() if name != "status"}
    watches = tuple({**watch, "status": {}} for watch in observed.watches)
    return replace(observed, model=model, watches=watches)


def test_a_version_shows_what_its_trainer_reported() -> None:
    errors: list[dict[str, Any]] = [{"errorToPersistence": 0.4}, {}, {"errorToPersistence": 0.8}]
    seen = {"uid": "uid-latency", "found": 4, "start": 0, "end": 600, "intervalSeconds": 60}
    watches = [{**seen, **one} for one in errors]
    report = {"family": "seasonal", "trained": 12, "leftOut": 1, "watches": watches}
    model, watch = make_model(), make_watch()
    version = make_version(make_request(model, watch), report=report)
    overview = make_overview(model, (version,), (make_row(watch),))
    observed = Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)
    (shown,) = _status(_plan(observed))["versions"]
    assert shown["algorithm"] == "seasonal"
    assert shown["quality"] == {"trained": 12.0, "leftOut": 1.0, "errorToPersistence": 0.6}


def _with_report(report: dict[str, Any], **spec: Any) -> Observed:
    model, watch = make_model(**spec), make_watch()
    version = make_version(make_request(model, watch), report=report)
    overview = make_overview(model, (version,), (make_row(watch),))
    return Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)


def test_a_version_shows_what_auto_chose_for_how_many_series() -> None:
    report = {"family": "auto", "families": {"ensemble": 12, "lstm": 3}, "trained": 15}
    (shown,) = _status(_plan(_with_report(report)))["versions"]
    assert (shown["algorithm"], shown["families"]) == ("auto", {"ensemble": 12, "lstm": 3})


def _mebibytes(observed: Observed) -> int:
    text = _status(_plan(observed))["estimatedDetectorMemory"]
    assert text.endswith("Mi")
    return int(text.removesuffix("Mi"))


def test_memory_is_estimated_before_anything_was_trained() -> None:
    def new(*watches: dict[str, Any], **spec: Any) -> Observed:
        return Observed("shop", "checkout", model=make_model(**spec), watches=watches)

    alone = _mebibytes(new(make_watch(maxSeries=100)))
    many = _mebibytes(new(make_watch(maxSeries=100_000)))
    assert alone < 100
    assert many > 800
    lstm = {"type": "lstm", "lstm": {"hidden": 64}}
    assert _mebibytes(new(make_watch(maxSeries=100_000), algorithm=lstm)) > many + 1000
    two = _mebibytes(new(make_watch(maxSeries=100_000), detector={"shards": 2}))
    assert two < 0.6 * many
    assert "estimatedDetectorMemory" not in _status(_plan(new()))


def test_one_network_for_all_series_needs_less_memory() -> None:
    def new(**spec: Any) -> int:
        watch = make_watch(maxSeries=100_000)
        return _mebibytes(Observed("shop", "a", model=make_model(**spec), watches=(watch,)))

    for name, given in (("lstm", {"lstm": {"hidden": 64}}), ("tcn", {})):
        algorithm = {"type": name} | given
        assert new(scope="shared", algorithm=algorithm) < new(algorithm=algorithm) - 200


def test_memory_is_that_of_the_series_that_are_known() -> None:
    observed = make_serving_world()
    few = _mebibytes(_without_status(_with_health(observed, make_health(series=5))))
    more = _mebibytes(_without_status(_with_health(observed, make_health(series=50_000))))
    assert few < 90 < 400 < more


def test_what_auto_chose_last_is_what_memory_is_estimated_of() -> None:
    cheap = _with_report({"families": {"zscore": 10}})
    dear = _with_report({"families": {"zscore": 5, "lstm": 5}})
    # A thousand series are assumed until somebody has counted them.
    assert _mebibytes(dear) - _mebibytes(cheap) == pytest.approx(500 * 6400 / 2**20, abs=1.1)
    other = _with_report({"families": {"lstm": 10}}, algorithm={"type": "zscore"})
    assert _mebibytes(other) > _mebibytes(cheap)


def test_the_estimate_stays_while_the_database_is_away() -> None:
    observed = make_serving_world()
    model = {**(observed.model or {}), "status": {"estimatedDetectorMemory": "123Mi"}}
    away = replace(observed, model=model, overview=None, store_problem=AWAY)
    assert _status(_plan(away))["estimatedDetectorMemory"] == "123Mi"


def test_a_settled_world_needs_nothing_and_is_looked_at_again() -> None:
    steps = _plan(make_serving_world())
    assert steps.is_empty
    assert 0 < (steps.requeue_after or 0) <= REST_SECONDS


def test_a_new_model_gets_its_finalizer_before_any_row() -> None:
    model = make_model()
    model["metadata"]["finalizers"] = []
    steps = _plan(Observed("shop", "checkout", model=model, watches=(make_watch(),)))
    assert steps.finalizer is True
    assert [type(write) for write in steps.writes] == [Assign]


def test_a_serving_model_is_ready() -> None:
    conditions = _conditions(_plan(_without_status(make_serving_world())))
    assert conditions == {
        "Ready": ("True", "Serving"),
        "Trained": ("True", "Trained"),
        "GatePassed": ("Unknown", "GateInconclusive"),
        "DetectorAvailable": ("True", "DetectorReady"),
        "DataAvailable": ("True", "DataReceived"),
        "Drifted": ("Unknown", "Pending"),
        "StoreAvailable": ("True", "StoreReachable"),
    }


def test_a_scored_watch_is_ready() -> None:
    steps = _plan(_without_status(make_serving_world()))
    assert _conditions(steps, "MetricWatch") == {
        "Ready": ("True", "Scoring"),
        "ModelResolved": ("True", "ModelFound"),
        "DataAvailable": ("True", "DataReceived"),
        "DataFresh": ("True", "Fresh"),
        "SeriesWithinLimit": ("True", "WithinLimit"),
    }
    assert _status(steps, "MetricWatch")["series"] == 5


@pytest.mark.parametrize(
    "state",
    [
        HealthState.SECRET_MISSING,
        HealthState.SOURCE_UNAUTHORIZED,
        HealthState.QUERY_REFUSED,
        HealthState.SOURCE_UNAVAILABLE,
        HealthState.NO_DATA,
    ],
)
def test_a_watch_in_trouble_says_which_and_so_does_its_model(state: HealthState) -> None:
    observed = _with_health(make_serving_world(), make_health(state=state, message="it said so"))
    steps = _plan(observed)
    assert _conditions(steps, "MetricWatch")["Ready"] == ("False", state.value)
    assert _conditions(steps)["DataAvailable"] == ("False", state.value)
    assert _conditions(steps)["Ready"] == ("True", "Serving")


@pytest.mark.parametrize(
    ("state", "abnormal"),
    [(HealthState.QUERY_REFUSED, "Stalled"), (HealthState.SOURCE_UNAVAILABLE, "Reconciling")],
)
def test_a_watch_is_stalled_only_when_waiting_does_not_help(
    state: HealthState, abnormal: str
) -> None:
    observed = _with_health(make_serving_world(), make_health(state=state))
    found = _conditions(_plan(observed), "MetricWatch")
    assert {"Stalled", "Reconciling"} & set(found) == {abnormal}


def test_what_two_conditions_say_is_one_event() -> None:
    refused = make_health(state=HealthState.QUERY_REFUSED, message="parse error at char 3")
    steps = _plan(_with_health(make_serving_world(), refused))
    told = [(one.subject["kind"], one.reason) for one in steps.news]
    assert told == [("AnomalyModel", "QueryRefused"), ("MetricWatch", "QueryRefused")]


def test_the_worst_shard_speaks_for_its_watch() -> None:
    well, ill = make_health(), make_health(state=HealthState.SOURCE_UNAVAILABLE)
    steps = _plan(_with_health(make_serving_world(), well, ill))
    assert _conditions(steps, "MetricWatch")["DataAvailable"][1] == "SourceUnavailable"
    assert _status(steps, "MetricWatch")["series"] == 10


def test_more_series_than_allowed_are_told() -> None:
    steps = _plan(_with_health(make_serving_world(), make_health(left_out=4)))
    assert _conditions(steps, "MetricWatch")["SeriesWithinLimit"] == ("False", "LimitExceeded")


def test_samples_that_stop_are_stale_after_the_time_allowed() -> None:
    world = make_serving_world()
    assert _plan(world, minutes=5).is_empty
    steps = _plan(world, minutes=8)
    assert _conditions(steps, "MetricWatch")["DataFresh"] == ("False", "Stale")


def test_sample_times_alone_are_not_told_however_long_samples_come() -> None:
    world = make_serving_world()
    for hours in (1, 1000):
        newest = NOW_SECONDS + 3600 * hours - 10
        soon = _with_health(world, make_health(last_sample_at=newest, lag_seconds=9.0))
        assert _plan(soon, minutes=60 * hours).statuses == ()


def test_sample_times_are_told_with_whatever_else_is_new() -> None:
    newest = make_health(last_sample_at=NOW_SECONDS - 1, series=11)
    status = _status(_plan(_with_health(make_serving_world(), newest)), "MetricWatch")
    assert (status["series"], status["lastSampleTime"]) == (
        11,
        format_time(time_of(NOW_SECONDS - 1)),
    )


def test_a_lag_that_is_quite_another_one_is_told() -> None:
    newest = make_health(last_sample_at=NOW_SECONDS - 1, lag_seconds=70.0)
    status = _status(_plan(_with_health(make_serving_world(), newest)), "MetricWatch")
    assert status["lagSeconds"] == 70


def test_the_first_sample_is_told() -> None:
    world = make_serving_world()
    told = {k: v for k, v in world.watches[0]["status"].items() if k != "lastSampleTime"}
    world = replace(world, watches=({**world.watches[0], "status": told},))
    assert "lastSampleTime" in _status(_plan(world), "MetricWatch")


def test_an_open_anomaly_is_told_at_once() -> None:
    observed = _with_health(
        make_serving_world(),
        make_health(last_sample_at=NOW_SECONDS),
        open_anomalies={"warning": 2, "critical": 1},
        last_anomaly_at=NOW_SECONDS - 5,
    )
    status = _status(_plan(observed), "MetricWatch")
    assert status["openAnomalies"] == 3
    assert status["lastAnomalyTime"] == format_time(time_of(NOW_SECONDS - 5))


def test_no_anomaly_is_counted_where_nobody_has_looked() -> None:
    silent = _without_status(_with_health(make_serving_world()))
    assert "openAnomalies" not in _status(_plan(silent), "MetricWatch")
    left = _with_health(silent, open_anomalies={"warning": 1})
    assert _status(_plan(left), "MetricWatch")["openAnomalies"] == 1


def test_while_the_database_is_away_children_and_facts_stay() -> None:
    world = make_serving_world()
    blind = replace(world, overview=None, store_problem=AWAY)
    steps = _plan(blind)
    assert (steps.writes, steps.applies, steps.creates, steps.deletions) == ((), (), (), ())
    status = _status(steps)
    assert (status["servingVersion"], status["series"]) == (1, 5)
    conditions = _conditions(steps)
    assert conditions["StoreAvailable"] == ("False", "StoreUnavailable")
    assert conditions["Ready"] == ("False", "StoreUnavailable")
    assert conditions["Trained"] == ("True", "Trained")
    assert ("Warning", "StoreUnavailable") in [(one.type, one.reason) for one in steps.news]


def test_a_database_that_is_back_makes_everything_true_again() -> None:
    world = make_serving_world()
    blind = settle(replace(world, overview=None, store_problem=AWAY))
    steps = _plan(replace(blind, overview=world.overview, store_problem=None))
    assert _conditions(steps)["Ready"] == ("True", "Serving")


def test_an_invalid_model_is_stalled_and_its_children_stay() -> None:
    world = make_serving_world()
    broken = {**make_model(training={"window": "a week"}), "status": (world.model or {})["status"]}
    steps = _plan(replace(world, model=broken))
    assert _conditions(steps)["Stalled"] == ("True", "InvalidSpec")
    assert (steps.applies, steps.deletions) == ((), ())


def test_a_watch_without_a_source_says_what_to_set() -> None:
    model = make_model()
    model["spec"]["source"] = {}
    steps = _plan(Observed("shop", "checkout", model=model, watches=(make_watch(),)))
    conditions = {one["type"]: one for one in _status(steps, "MetricWatch")["conditions"]}
    assert conditions["Stalled"]["reason"] == "SourceMissing"
    assert "spec.source.url" in conditions["Stalled"]["message"]


@pytest.mark.parametrize(
    ("hosts", "stalled"),
    [
        ((), None),
        (("vm.example",), None),
        (("*.example",), None),
        (("prometheus.example", "*.vm.example"), "SourceNotAllowed"),
    ],
)
def test_a_source_that_may_not_be_read_stalls_the_watch_and_says_which_may(
    hosts: tuple[str, ...], stalled: str | None
) -> None:
    model = make_model(source={"url": "http://VM.example:8428/select"})
    observed = Observed("shop", "checkout", model=model, watches=(make_watch(),))
    config = replace(CONFIG, allowed_source_hosts=hosts)
    steps = plan(observed, now=NOW, config=config)
    conditions = {one["type"]: one for one in _status(steps, "MetricWatch")["conditions"]}
    assert conditions.get("Stalled", {}).get("reason") == stalled
    if stalled:
        assert "vm.example is not among" in conditions["Stalled"]["message"]
        assert "prometheus.example, *.vm.example" in conditions["Stalled"]["message"]
        assert steps.creates == ()


def test_a_watch_that_cannot_be_brought_about_leaves_others_alone() -> None:
    model, good = make_model(), make_watch()
    bad = make_watch("errors", notifications=NOTIFICATIONS)
    steps = _plan(Observed("shop", "checkout", model=model, watches=(bad, good)))
    (assign,) = steps.writes
    assert isinstance(assign, Assign)
    assert [watch.name for watch in assign.watches] == ["latency"]
    assert set(assign.keep) == {"uid-latency", "uid-errors"}


def test_a_watch_tells_why_its_model_does_not_serve() -> None:
    model, watch = make_model(), make_watch()
    failed = make_version(
        make_request(model, watch),
        1,
        "Failed",
        reason="QueryRefused",
        message="parse error",
        created_at=NOW_SECONDS,
    )
    overview = make_overview(model, (failed,), (make_row(watch),))
    observed = Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)
    conditions = {
        one["type"]: one for one in _status(_plan(observed), "MetricWatch")["conditions"]
    }
    assert conditions["Ready"]["reason"] == "ModelNotReady"
    assert "parse error" in conditions["Ready"]["message"]


def test_what_the_api_server_refuses_is_told() -> None:
    refusal = Problem("Invalid", "quota exceeded")
    observed = make_serving_world()
    refused = replace(observed, memory=replace(observed.memory, refusal=refusal))
    assert _conditions(_plan(refused))["Stalled"] == ("True", "Invalid")


def test_settings_go_to_the_database_again_when_they_change() -> None:
    world = make_serving_world()
    watch = {**make_watch(detection={"cooldown": "1h"}), "status": world.watches[0]["status"]}
    (assign,) = _plan(replace(world, watches=(watch,))).writes
    assert isinstance(assign, Assign)
    assert assign.watches[0].settings.detection.cooldown == "1h"


def test_a_watch_that_went_is_no_longer_kept() -> None:
    (assign, *_) = _plan(replace(make_serving_world(), watches=())).writes
    assert isinstance(assign, Assign)
    assert assign.keep == ()


def _deleting(observed: Observed, seconds: int = 1) -> Observed:
    since = format_time(time_of(NOW_SECONDS - seconds))
    model = dict(observed.model or {})
    model["metadata"] = {**model["metadata"], "deletionTimestamp": since}
    return replace(observed, model=model)


def test_a_model_that_goes_takes_its_children_first() -> None:
    steps = _plan(_deleting(make_serving_world()))
    assert [ref.kind for ref in steps.deletions] == ["Deployment"]
    assert (steps.writes, steps.finalizer) == ((), None)
    assert _conditions(steps, "MetricWatch")["ModelResolved"] == ("False", "ModelNotFound")


def test_then_its_rows_and_then_its_finalizer() -> None:
    steps = _plan(_deleting(replace(make_serving_world(), deployments=())))
    assert steps.writes == (Forget("uid-checkout"),)
    assert steps.finalizer is False


def test_children_that_do_not_go_are_not_waited_for_longer_than_a_minute() -> None:
    steps = _plan(_deleting(make_serving_world(), seconds=61))
    assert steps.finalizer is False


def test_a_model_that_goes_waits_for_the_database_and_then_gives_up() -> None:
    gone = replace(make_serving_world(), deployments=(), overview=None, store_problem=AWAY)
    assert _plan(_deleting(gone, seconds=599)).finalizer is None
    steps = _plan(_deleting(gone, seconds=601))
    assert (steps.writes, steps.finalizer) == ((), False)
    assert [one.reason for one in steps.news if one.subject["kind"] == "AnomalyModel"] == [
        "RowsLeftBehind"
    ]


def test_a_model_that_goes_without_our_finalizer_is_left_alone() -> None:
    model = make_model()
    model["metadata"]["finalizers"] = ["somebody/else"]
    observed = Observed("shop", "checkout", model=model, memory=Memory())
    assert _plan(_deleting(observed)).is_empty


def test_statuses_name_the_objects_they_were_made_for() -> None:
    steps = _plan(_without_status(make_serving_world()))
    assert {one["metadata"]["uid"] for one in steps.statuses} == {"uid-checkout", "uid-latency"}
    assert FINALIZER not in str(steps.statuses)
