"""Metrics of watches: they follow what they are told, and go with the watch."""

from __future__ import annotations

from metricwatch_detector.exposition import WatchLabels
from metricwatch_detector.telemetry import Telemetry, Waits

SHOP = WatchLabels("shop", "latency", "checkout")
OWN = {"watch_namespace": "shop", "watch": "latency", "model": "checkout"}
BEHIND = "metricwatch_scoring_behind_seconds"
STORING = "metricwatch_detector_store_waiting_seconds"
LIMIT = "metricwatch_sample_age_limit_seconds"
SYSTEM = "metricwatch_system_anomaly_series"


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, OWN | labels)


def test_what_waits_is_told_as_it_grows() -> None:
    telemetry = Telemetry(version=1, shard=0)
    telemetry.show_waits(SHOP, Waits(scoring=1.0, storing=0.0, longest_age=360))
    telemetry.show_waits(SHOP, Waits(scoring=400.0, storing=390.0, longest_age=360))
    assert [value(telemetry, name) for name in (BEHIND, STORING, LIMIT)] == [400, 390, 360]


def test_a_version_that_does_not_serve_tells_only_what_it_stores() -> None:
    telemetry = Telemetry(version=1, shard=0)
    telemetry.show_waits(SHOP, Waits(1.0, 2.0, 360))
    telemetry.show_waits(SHOP, Waits(storing=3.0))
    assert [value(telemetry, name) for name in (BEHIND, STORING, LIMIT)] == [None, 3, None]


def test_a_system_is_told_with_zero_while_nothing_is_open() -> None:
    telemetry = Telemetry(version=1, shard=0)
    seen = []
    for series in (0, 4, 0):
        telemetry.show_system(SHOP, "checkout", series)
        seen.append(value(telemetry, SYSTEM, system="checkout"))
    assert seen == [0, 4, 0]


def test_a_watch_that_moves_to_another_system_leaves_nothing_behind() -> None:
    telemetry = Telemetry(version=1, shard=0)
    telemetry.show_system(SHOP, "checkout", 4)
    telemetry.show_system(SHOP, "payment", 0)
    assert value(telemetry, SYSTEM, system="checkout") is None
    assert value(telemetry, SYSTEM, system="payment") == 0


def test_a_watch_that_is_gone_has_no_metric_left() -> None:
    telemetry = Telemetry(version=1, shard=0)
    other = WatchLabels("shop", "errors", "checkout")
    for watch in (SHOP, other):
        telemetry.show_waits(watch, Waits(1.0, 2.0, 360))
        telemetry.show_system(watch, "checkout", 4)
        telemetry.show_state(watch, "Scoring")
    telemetry.forget(SHOP)
    text = telemetry.render().decode()
    assert 'watch="latency"' not in text
    assert text.count('watch="errors"') == 5
    telemetry.show_system(SHOP, "payment", 1)
    assert value(telemetry, SYSTEM, system="checkout") is None


def test_the_process_itself_is_told() -> None:
    registry = Telemetry(version=1, shard=0).registry
    assert (registry.get_sample_value("process_resident_memory_bytes") or 0) > 1e6
    assert registry.get_sample_value("process_cpu_seconds_total") is not None
