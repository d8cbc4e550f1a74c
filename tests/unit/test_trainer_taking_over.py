"""Which watches a version takes over from the one that serves, and what its report says then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from metricwatch.assignments import TrainingRequest
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.resources.training import Scope
from metricwatch.series import Grid, labels_from
from metricwatch.store.rows import WHOLE, Slice, Version
from metricwatch_trainer.merging import merge_reports
from metricwatch_trainer.report import WatchReport, build_report
from metricwatch_trainer.taking_over import (
    TakenWatch,
    are_complete,
    in_order,
    rows_of,
    watches_taken_over,
)

Row = dict[str, Any]


def make_watch(uid: str, **changes: Any) -> Row:
    watch = {
        "uid": uid,
        "namespace": "shop",
        "name": f"latency-{uid}",
        "queries": [{"expr": "up"}],
        "source": {"url": "http://prometheus:9090"},
        "intervalSeconds": 60,
    }
    return watch | changes


def make_request(*watches: Row, **changes: Any) -> Row:
    return {"algorithm": {"type": "seasonal"}, "watches": list(watches)} | changes


def make_told(uid: str, **changes: Any) -> Row:
    told = {"uid": uid, "name": f"latency-{uid}", "start": 60, "end": 6000, "intervalSeconds": 60}
    counts = {"found": 3, "beyondLimit": 0, "trained": 2, "leftOut": 1, "notes": ["as it was"]}
    return told | counts | changes


def make_version(request: Row, *, reason: str = "", **changes: Any) -> Version:
    values: dict[str, Any] = {
        "id": 1,
        "version": 1,
        "state": VersionState.SERVING,
        "reason": reason,
        "message": "",
        "request": request,
        "request_hash": "",
        "attempt": 1,
        "code_version": "",
        "window_start": 0,
        "window_end": 6000,
        "data_hash": None,
        "seed": None,
        "report": {
            "shards": 1,
            "watches": [make_told(one["uid"]) for one in request["watches"]],
        },
        "created_at": 0,
        "trained_at": 0,
        "served_at": 0,
        "retired_at": None,
    }
    return Version(**(values | changes))


A, B, C = (make_watch(uid) for uid in "abc")


def taken(
    after: Row,
    before: Row | None,
    *,
    reason: str = "WatchesAdded",
    report: Row | None = None,
    shards: int = 1,
    from_labels: bool = False,
) -> str:
    serving = None if before is None else make_version(before)
    if before is not None and report is not None:
        serving = make_version(before, report=report)
    watches = watches_taken_over(
        make_version(after, reason=reason, version=2),
        serving,
        TrainingRequest.from_row(after),
        shards=shards,
        from_labels=from_labels,
    )
    return "".join(watch.uid for watch in watches)


@pytest.mark.parametrize(
    ("after", "before", "expected"),
    [
        pytest.param(make_request(A, B), make_request(A), "a", id="a watch came"),
        pytest.param(make_request(B, C), make_request(A, B), "b", id="one came, one went"),
        pytest.param(make_request(C, B, A), make_request(A, B), "ba", id="in another order"),
        pytest.param(
            make_request(A, make_watch("b", queries=[{"expr": "down"}])),
            make_request(A, B),
            "a",
            id="the query of one changed",
        ),
        pytest.param(
            make_request(A, make_watch("b", intervalSeconds=30)),
            make_request(A, B),
            "a",
            id="the interval of one changed",
        ),
        pytest.param(
            make_request(make_watch("a", delaySeconds=30), B),
            make_request(A),
            "a",
            id="what has no influence on a watch changed",
        ),
        pytest.param(
            make_request(A, B, training={"schedule": "0 3 * * 0", "timeout": "2h"}),
            make_request(A),
            "a",
            id="what has no influence on the training changed",
        ),
        pytest.param(
            make_request(A, B, training={"window": "7d"}),
            make_request(A),
            "",
            id="the window changed as well",
        ),
        pytest.param(
            make_request(A, B, algorithm={"type": "zscore"}),
            make_request(A),
            "",
            id="the family changed as well",
        ),
        pytest.param(
            make_request(A, B, scope="multivariate"), make_request(A), "", id="another scope"
        ),
        pytest.param(
            make_request(A, B, scope="multivariate"),
            make_request(A, scope="multivariate"),
            "a",
            id="systems",
        ),
        pytest.param(
            make_request(A, B, scope="shared", algorithm={"type": "lstm"}),
            make_request(A, scope="shared", algorithm={"type": "lstm"}),
            "",
            id="one network for all",
        ),
        pytest.param(make_request(B), make_request(A), "", id="every watch is another"),
        pytest.param(make_request(A), make_request(A), "", id="nothing changed"),
        pytest.param(make_request(A), make_request(A, B), "", id="nothing is left to learn"),
        pytest.param(make_request(A, B), None, "", id="nothing serves"),
        pytest.param(
            make_request(A, B),
            make_request(A) | {"scope": "ofAnotherRelease"},
            "",
            id="a request of another release",
        ),
    ],
)
def test_a_watch_is_taken_over_when_it_is_the_same_and_all_else_is(
    after: Row, before: Row | None, expected: str
) -> None:
    assert taken(after, before) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("WatchesAdded", "a"),
        ("SpecChanged", "a"),
        ("Created", ""),
        ("RetrainRequested", ""),
        ("Retry", ""),
        ("Scheduled", ""),
        ("Drifted", ""),
        ("SeriesAdded", ""),
    ],
)
def test_a_run_for_another_reason_learns_everything(reason: str, expected: str) -> None:
    assert taken(make_request(A, B), make_request(A), reason=reason) == expected


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param({"shards": 1, "watches": [make_told("a")]}, "a", id="learned"),
        pytest.param({"shards": 2, "watches": [make_told("a")]}, "", id="in other slices"),
        pytest.param({"watches": [make_told("a")]}, "", id="in nobody knows how many slices"),
        pytest.param({"shards": 1, "watches": [make_told("a", trained=0)]}, "", id="no series"),
        pytest.param({"shards": 1, "watches": []}, "", id="not in the report"),
        pytest.param(
            {"shards": 1, "watches": [make_told("a", problem={"reason": "QueryRefused"})]},
            "",
            id="with a problem that may have gone",
        ),
    ],
)
def test_only_what_the_serving_version_learned_is_taken_over(report: Row, expected: str) -> None:
    assert taken(make_request(A, B), make_request(A), report=report) == expected


def test_a_family_that_learns_from_recorded_anomalies_takes_nothing_over() -> None:
    assert taken(make_request(A, B), make_request(A), from_labels=True) == ""


def make_row(pod: str, *, watch: str = "a", **more: Any) -> Row:
    known = {"watch": watch, "labels": {"pod": pod, "zone": pod[0]}, "family": "seasonal"}
    return known | {"rmse": 0.5, "persistenceRmse": 1.0} | more


def make_left_out(pod: str) -> Row:
    why = {"reason": "TooFewSamples", "message": "has 5 samples"}
    return {"watch": "a", "labels": {"pod": pod}, "leftOut": why}


ROWS = [make_row(f"{zone}{number}") for zone in "xyz" for number in range(5)]
WATCH = TrainingRequest.from_row(make_request(make_watch("a", groupBy=["zone"]))).watches[0]


@pytest.mark.parametrize("scope", [Scope.PER_SERIES, Scope.MULTIVARIATE])
def test_every_series_of_a_watch_is_in_one_slice(scope: Scope) -> None:
    report = {"series": [*ROWS, make_row("other", watch="b")]}
    assert list(rows_of(report, WATCH, scope=scope, part=WHOLE)) == ROWS
    slices = [
        rows_of(report, WATCH, scope=scope, part=Slice(shards=3, shard=one)) for one in range(3)
    ]
    assert sorted(row["labels"]["pod"] for part in slices for row in part) == [
        row["labels"]["pod"] for row in ROWS
    ]
    if scope is Scope.MULTIVARIATE:
        zones = [{row["labels"]["zone"] for row in part} for part in slices]
        assert sum(len(one) for one in zones) == 3


def without_last(labels: list[Any]) -> list[Any]:
    return labels[:-1]


def with_one_twice(labels: list[Any]) -> list[Any]:
    return [*labels, labels[0]]


@pytest.mark.parametrize(
    ("changed", "expected"), [(list, True), (without_last, False), (with_one_twice, False)]
)
def test_chunks_that_are_not_what_the_report_says_are_not_complete(
    changed: Callable[[list[Any]], list[Any]], expected: bool
) -> None:
    labels = [labels_from(row["labels"]) for row in ROWS]
    assert are_complete(changed(labels), [*ROWS, make_left_out("w")]) is expected


def take(*rows: Row, version: int = 7, **told: Any) -> TakenWatch:
    return TakenWatch(WATCH, version, make_told("a", **told), rows, ())


def test_what_was_taken_over_is_marked_with_the_version_that_learned_it() -> None:
    one = take(make_row("x"), make_left_out("y"), tuning={"found": {"lags": 3}})
    assert one.summary() == make_told(
        "a",
        found=2,
        trained=1,
        leftOut=1,
        tuning={"found": {"lags": 3}},
        errorToPersistence=0.5,
        **{"from": 7},
    )
    assert one.rows() == [make_row("x") | {"from": 7}, make_left_out("y") | {"from": 7}]


def test_what_was_taken_over_again_still_names_who_learned_it() -> None:
    again = take(make_row("x") | {"from": 3}, **{"from": 3})
    assert (again.learned_by, again.summary()["from"], again.rows()[0]["from"]) == (3, 3, 3)


def make_report(*watches: Any) -> Row:
    return build_report(watches, requested="seasonal", seconds={})


def test_a_report_counts_what_was_taken_over() -> None:
    watches = TrainingRequest.from_row(make_request(B, A)).watches
    learned = WatchReport(watch=watches[0], grid=Grid(0, 60, 100))
    request = TrainingRequest.from_row(make_request(B, A))
    report = make_report(*in_order(request, [take(make_row("x")), learned]))
    assert (report["trained"], report["families"]) == (1, {"seasonal": 1})
    assert [watch["uid"] for watch in report["watches"]] == ["b", "a"]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(take(make_row("y")), 7, id="both took it over"),
        pytest.param(take(make_row("y"), version=8), None, id="from different versions"),
        pytest.param(
            WatchReport(watch=WATCH, grid=Grid(0, 60, 100)), None, id="one had to learn it"
        ),
    ],
)
def test_pods_together_took_a_watch_over_when_each_did(other: Any, expected: int | None) -> None:
    merged = merge_reports([make_report(take(make_row("x"))), make_report(other)])
    assert merged["watches"][0].get("from") == expected
    assert merged["series"][0]["from"] == 7
