"""What the next training run is said to need and to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import CONFIG, NOW, make_model, make_serving_world, make_watch

from metricwatch.durations import parse_duration
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.plan import plan

MIB = 2**20


def status(observed: Observed) -> dict[str, Any]:
    shown = [one for one in plan(observed, now=NOW, config=CONFIG).statuses]
    return dict(next(one for one in shown if one["kind"] == "AnomalyModel")["status"])


def mebibytes(observed: Observed) -> int:
    return int(status(observed)["estimatedTrainingMemory"].removesuffix("Mi"))


def seconds(observed: Observed) -> float:
    return parse_duration(status(observed)["estimatedTrainingTime"])


def new(*watches: dict[str, Any], **spec: Any) -> Observed:
    return Observed("shop", "checkout", model=make_model(**spec), watches=watches)


def make_report(*, found: int = 100, days: int = 14, **changes: Any) -> dict[str, Any]:
    end = days * 86_400
    watch = {"uid": "w", "found": found, "start": 0, "end": end - 60, "intervalSeconds": 60}
    watch |= changes.pop("watch", {})
    return {
        "families": {"seasonal": found},
        "watches": [watch],
        "seconds": {"total": 100.0},
        "peakBytes": 400 * MIB,
        "shards": 1,
    } | changes


def trained(report: dict[str, Any] | None = None, *, series: int = 100, **spec: Any) -> Observed:
    """A model whose version told `report`, and whose watch lets in `series`."""
    world = make_serving_world(**spec)
    assert world.overview is not None
    (version,) = world.overview.versions
    versions = (replace(version, report=report or make_report()),)
    watches = tuple(replace(one, health=()) for one in world.overview.watches)
    overview = replace(world.overview, versions=versions, watches=watches)
    watch = make_watch(maxSeries=series)
    return replace(
        world, overview=overview, watches=(watch,), model={**(world.model or {}), "status": {}}
    )


def test_before_anything_was_trained_memory_follows_from_the_sizes() -> None:
    few = mebibytes(new(make_watch(maxSeries=1)))
    # What a trainer of 1,000 series of 14 days at a minute held.
    many = mebibytes(new(make_watch(maxSeries=1000)))
    assert 120 < few < 130
    assert many == pytest.approx(1000, rel=0.1)
    assert "estimatedTrainingTime" not in status(new(make_watch()))


def test_watches_are_learned_one_after_the_other_so_the_largest_counts() -> None:
    small, large = make_watch("small", maxSeries=100), make_watch("large", maxSeries=10_000)
    assert mebibytes(new(small, large)) == mebibytes(new(large))


def test_more_pods_need_less_each_but_all_read_everything() -> None:
    def pods(count: int, series: int) -> int:
        return mebibytes(new(make_watch(maxSeries=series), training={"parallelism": count}))

    assert pods(1, 100) > 2 * pods(4, 100)
    assert pods(64, 10_000) > 5000


def test_a_longer_window_needs_more_up_to_what_a_trainer_looks_at() -> None:
    def window(length: str) -> int:
        return mebibytes(new(make_watch(maxSeries=1000), training={"window": length}))

    assert window("28d") > 1.7 * window("14d")
    assert window("200d") == window("400d")


def test_without_watches_there_is_nothing_to_estimate() -> None:
    shown = status(new())
    assert not {"estimatedTrainingMemory", "estimatedTrainingTime"} & shown.keys()


def test_a_run_that_is_over_knows_better() -> None:
    low = trained(make_report(peakBytes=340 * MIB), series=200)
    high = trained(make_report(peakBytes=520 * MIB), series=200)
    assert mebibytes(high) > 520
    assert mebibytes(low) < mebibytes(high)


def test_what_a_tiny_run_needed_is_not_blown_up() -> None:
    tiny = make_report(found=1, days=1, peakBytes=2000 * MIB)
    assert mebibytes(trained(tiny, series=1000)) < 6000


def test_twice_as_many_series_take_twice_as_long() -> None:
    assert seconds(trained(series=100)) == pytest.approx(100, rel=0.05)
    assert seconds(trained(series=200)) == pytest.approx(200, rel=0.05)


def test_more_pods_are_faster() -> None:
    report = make_report(shards=2)
    assert seconds(trained(report, training={"parallelism": 4})) == pytest.approx(50, rel=0.05)
    assert seconds(trained(report, training={"parallelism": 1})) == pytest.approx(200, rel=0.05)


def test_a_search_takes_as_long_as_the_last_or_as_it_may() -> None:
    tuning = {"enabled": True, "timeout": "10m"}
    assert seconds(trained(tuning=tuning)) == pytest.approx(700, rel=0.05)
    searched = make_report(watch={"tuning": {"seconds": 60.0}})
    assert seconds(trained(searched, tuning=tuning)) == pytest.approx(100, rel=0.05)
    assert seconds(trained(searched)) == pytest.approx(40, rel=0.1)


def test_a_run_of_another_algorithm_says_nothing() -> None:
    world = trained()
    assert world.overview is not None
    (version,) = world.overview.versions
    asked = {**version.request, "algorithm": {"type": "lstm"}}
    other = replace(world.overview, versions=(replace(version, request=asked),))
    assert "estimatedTrainingTime" not in status(replace(world, overview=other))


def test_a_run_that_took_watches_over_says_nothing_of_one_that_learns_everything() -> None:
    shown = status(trained(make_report(watch={"from": 1})))
    assert "estimatedTrainingTime" not in shown


def test_a_report_of_an_earlier_release_is_no_trouble() -> None:
    report = {"families": {"seasonal": 3}, "trained": 3}
    shown = status(trained(report))
    assert "estimatedTrainingMemory" in shown
    assert "estimatedTrainingTime" not in shown
