"""What a training run says about the version it made."""

from __future__ import annotations

from typing import Any

import pytest

from metricwatch.assignments import TrainingWatch
from metricwatch.series import Grid, Labels
from metricwatch.verdict import ExitCode
from metricwatch_trainer.learning import Learned
from metricwatch_trainer.preparation import LeftOut
from metricwatch_trainer.refusal import nothing_learned
from metricwatch_trainer.report import WatchReport, build_report

WATCH = TrainingWatch.from_row(
    {
        "uid": "u1",
        "namespace": "shop",
        "name": "latency",
        "queries": [{"expr": "up"}],
        "source": {"url": "http://prometheus:9090"},
        "intervalSeconds": 60,
    }
)


def make_labels(pod: str) -> Labels:
    return (("pod", pod),)


def make_learned(pod: str, family: str = "seasonal", gain: float | None = None) -> Learned:
    return Learned(
        labels=make_labels(pod),
        family=family,
        samples=100,
        rmse=0.5,
        persistence_rmse=1.0,
        normal_within=2.0,
        gain=gain,
    )


def make_watch(*learned: Learned, **changes: Any) -> WatchReport:
    report = WatchReport(watch=WATCH, grid=Grid(0, 60, 100), trained=list(learned))
    for name, value in changes.items():
        setattr(report, name, value)
    return report


def built(*watches: WatchReport, requested: str = "auto") -> dict[str, Any]:
    return build_report(watches, requested=requested, seconds={})


def test_families_are_counted_over_all_watches_the_largest_first() -> None:
    report = built(
        make_watch(make_learned("a", "lstm"), make_learned("b", "ensemble")),
        make_watch(make_learned("c", "ensemble")),
    )
    assert list(report["families"].items()) == [("ensemble", 2), ("lstm", 1)]
    assert report["family"] == "auto"


def test_one_family_for_all_is_the_family_of_the_version() -> None:
    report = built(make_watch(make_learned("a"), make_learned("b")))
    assert (report["requested"], report["family"]) == ("auto", "seasonal")
    assert report["families"] == {"seasonal": 2}


def test_a_series_says_by_how_much_its_family_won() -> None:
    watch = make_watch(make_learned("a", "lstm", gain=0.12), make_learned("b"))
    first, second = built(watch)["series"]
    assert (first["family"], first["gain"]) == ("lstm", 0.12)
    assert "gain" not in second


def test_a_watch_says_what_its_search_brought() -> None:
    searched, other = built(make_watch(tuning={"gain": 0.1}), make_watch())["watches"]
    assert searched["tuning"] == {"gain": 0.1}
    assert "tuning" not in other


@pytest.mark.parametrize(
    ("problem", "code"),
    [("NoLabels", ExitCode.DATA), ("QueryRefused", ExitCode.REQUEST)],
)
def test_why_no_watch_was_learned_decides_the_exit_code(problem: str, code: ExitCode) -> None:
    refusal = nothing_learned(built(make_watch(problem=(problem, "sentence"))))
    assert (refusal.code, refusal.reason) == (code, problem)
    assert "watch latency: sentence" in f"{refusal}"
    assert refusal.retry_after_seconds is None


def test_too_little_history_is_tried_again() -> None:
    left_out = LeftOut(make_labels("a"), 5, "TooFewSamples", "has 5 samples")
    refusal = nothing_learned(built(make_watch(found=1, left_out=[left_out])))
    assert (refusal.code, refusal.reason) == (ExitCode.DATA, "TooLittleHistory")
    assert refusal.retry_after_seconds is not None
