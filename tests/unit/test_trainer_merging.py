"""One result of those of several pods."""

from __future__ import annotations

from typing import Any

import pytest

from metricwatch.gate import GateMeasurement, Side, WatchMeasured
from metricwatch.store.rows import TrainingResult
from metricwatch.verdict import ExitCode
from metricwatch_trainer.merging import merge_reports, merge_results
from metricwatch_trainer.refusal import Refusal


def make_row(pod: str, *, rmse: float | None = 0.5, **more: Any) -> dict[str, Any]:
    return {"watch": "u1", "labels": {"pod": pod}, "rmse": rmse, "persistenceRmse": 1.0} | more


def make_left_out(pod: str) -> dict[str, Any]:
    why = {"reason": "TooFewSamples", "message": "has 5 samples"}
    return {"watch": "u1", "labels": {"pod": pod}, "samples": 5, "leftOut": why}


def make_report(*rows: dict[str, Any], family: str = "seasonal", **watch: Any) -> dict[str, Any]:
    trained = sum("leftOut" not in row for row in rows)
    summary = {
        "uid": "u1",
        "namespace": "shop",
        "name": "latency",
        "start": 0,
        "end": 600,
        "intervalSeconds": 60,
        "found": len(rows),
        "beyondLimit": 3,
        "trained": trained,
        "leftOut": len(rows) - trained,
        "notes": ["2 recorded anomalies lie in the window"],
    }
    return {
        "requested": "auto",
        "family": family,
        "families": {family: trained} if trained else {},
        "trained": trained,
        "leftOut": len(rows) - trained,
        "watches": [summary | watch],
        "seconds": {"read": 1.0, "total": 2.0},
        "peakBytes": 100,
        "series": list(rows),
    }


def make_result(report: dict[str, Any], **changes: Any) -> TrainingResult:
    values: dict[str, Any] = {
        "window_start": 0,
        "window_end": 600,
        "data_hash": "a",
        "seed": 7,
        "code_version": "0.1.0",
        "report": report,
    }
    return TrainingResult(**(values | changes))


def test_counts_add_up_and_what_pods_count_alike_stays() -> None:
    merged = merge_reports(
        [make_report(make_row("a"), make_left_out("b")), make_report(make_row("c"))]
    )
    (watch,) = merged["watches"]
    assert (merged["trained"], merged["leftOut"], merged["shards"]) == (2, 1, 2)
    assert (watch["found"], watch["trained"], watch["leftOut"]) == (3, 2, 1)
    assert watch["beyondLimit"] == 3
    assert watch["notes"] == ["2 recorded anomalies lie in the window"]
    assert [row["labels"]["pod"] for row in merged["series"]] == ["a", "b", "c"]


def test_a_run_took_as_long_and_as_much_as_its_largest_pod() -> None:
    slow = make_report(make_row("a")) | {"seconds": {"total": 9.0, "gate": 4.0}, "peakBytes": 300}
    merged = merge_reports([slow, make_report(make_row("b"))])
    assert merged["seconds"] == {"total": 9.0, "gate": 4.0, "read": 1.0}
    assert merged["peakBytes"] == 300


def test_families_of_several_pods_are_counted_together() -> None:
    one = make_report(make_row("a"), family="lstm")
    merged = merge_reports([one, make_report(make_row("b"), make_row("c"))])
    assert merged["families"] == {"seasonal": 2, "lstm": 1}
    assert merged["family"] == "auto"
    assert merge_reports([one, one])["family"] == "lstm"


def test_the_error_of_a_watch_is_that_of_all_its_series() -> None:
    one = make_report(make_row("a", rmse=0.1), make_row("b", rmse=0.2), errorToPersistence=0.15)
    other = make_report(make_row("c", rmse=0.9), errorToPersistence=0.9)
    assert merge_reports([one, other])["watches"][0]["errorToPersistence"] == 0.2


def test_a_slice_without_series_takes_nothing_from_the_run() -> None:
    merged = merge_results([make_result(make_report()), make_result(make_report(make_row("a")))])
    assert merged.report["trained"] == 1
    assert merged.report["family"] == "seasonal"


def test_what_nobody_learned_is_a_refusal_with_everybodys_reasons() -> None:
    results = [make_result(make_report(make_left_out("a"))), make_result(make_report())]
    with pytest.raises(Refusal, match=r'watch latency: {pod="a"} has 5 samples') as refused:
        merge_results(results)
    assert (refused.value.code, refused.value.reason) == (ExitCode.DATA, "TooLittleHistory")


def test_a_query_that_is_refused_is_refused_to_all() -> None:
    problem = {"reason": "QueryRefused", "message": "parse error"}
    results = [make_result(make_report(problem=problem))] * 2
    with pytest.raises(Refusal, match="parse error") as refused:
        merge_results(results)
    assert refused.value.code == ExitCode.REQUEST


@pytest.mark.parametrize(("reason", "kept"), [("NoLabels", False), ("SystemTooLarge", True)])
def test_labels_that_one_slice_lacks_are_no_problem_of_the_watch(reason: str, kept: bool) -> None:
    one = make_report(make_left_out("a"), problem={"reason": reason, "message": "sentence"})
    merged = merge_reports([one, make_report(make_row("b"))])
    assert ("problem" in merged["watches"][0]) is kept


def test_a_window_reaches_from_the_first_to_the_last() -> None:
    report = make_report(make_row("a"))
    results = [make_result(report), make_result(report, window_start=-60, window_end=900)]
    merged = merge_results(results)
    assert (merged.window_start, merged.window_end) == (-60, 900)
    assert (merged.seed, merged.code_version) == (7, "0.1.0")


def test_another_history_in_any_slice_is_another_history() -> None:
    report = make_report(make_row("a"))
    first = merge_results([make_result(report), make_result(report, data_hash="b")])
    other = merge_results([make_result(report), make_result(report, data_hash="c")])
    assert first.data_hash != other.data_hash
    assert len(first.data_hash) == 32


def make_gate(**values: Any) -> dict[str, Any]:
    return GateMeasurement(**values).to_row()


def make_measured(samples: int) -> WatchMeasured:
    return WatchMeasured(uid="u1", candidate=Side(series=1, samples=samples, anomalous=1))


def test_measurements_of_all_slices_count() -> None:
    parts = [
        make_report(make_row("a")) | {"gate": make_gate(serving=4, watches=(make_measured(10),))},
        make_report(make_row("b")) | {"gate": make_gate(watches=(make_measured(30),))},
        make_report(),
    ]
    measured = GateMeasurement.from_report(merge_reports(parts))
    assert measured is not None
    assert measured.serving == 4
    assert measured.total().candidate.anomaly_rate == 0.05


def test_a_slice_that_is_too_short_to_measure_leaves_it_to_the_others() -> None:
    short = make_report(make_row("a")) | {"gate": make_gate(inconclusive="40 ticks")}
    long = make_report(make_row("b")) | {"gate": make_gate(watches=(make_measured(10),))}
    together = GateMeasurement.from_report(merge_reports([short, long]))
    alone = GateMeasurement.from_report(merge_reports([short, short]))
    assert together is not None
    assert alone is not None
    assert (together.inconclusive, alone.inconclusive) == ("", "40 ticks")


def test_a_slice_that_could_not_be_measured_is_told() -> None:
    failed = make_report(make_row("a")) | {"gate": make_gate(error="artifact unreadable")}
    fine = make_report(make_row("b")) | {"gate": make_gate(watches=(make_measured(10),))}
    measured = GateMeasurement.from_report(merge_reports([fine, failed]))
    assert measured is not None
    assert measured.error == "artifact unreadable"


def test_without_a_gate_there_is_no_measurement() -> None:
    assert "gate" not in merge_reports([make_report(make_row("a"))])
