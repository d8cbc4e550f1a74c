"""Rendering per-series gauges: ours beside prometheus_client, and compression.

    python benchmarks/exposition.py [series]

CPU time of this process, the median of several runs; both texts are parsed and compared first.
"""

from __future__ import annotations

import statistics
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from metricwatch.series import Labels
from metricwatch_detector.exposition import (
    GAUGES,
    SeriesGauges,
    WatchExposition,
    WatchLabels,
    render,
)

WATCH = WatchLabels("shop", "checkout-latency", "checkout")


def make_labels(series: int) -> list[Labels]:
    return [
        (
            ("__name__", "http_request_duration_seconds"),
            ("instance", f"10.0.{number // 250}.{number % 250}:8080"),
            ("job", "checkout"),
            ("pod", f"checkout-7d9f8b6c5d-{number:05d}"),
        )
        for number in range(series)
    ]


def make_gauges(series: int, seed: int) -> SeriesGauges:
    rng = np.random.default_rng(seed)
    value, expected, lower, upper, score = rng.normal(100, 20, (5, series))
    return SeriesGauges(value, expected, lower, upper, score, rng.random(series) < 0.01)


def columns_of(gauges: SeriesGauges) -> list[np.ndarray]:
    return [
        gauges.value,
        gauges.expected,
        gauges.lower,
        gauges.upper,
        gauges.score,
        gauges.anomalous.astype(float),
    ]


class Ordinary:
    """The same with one child of a Gauge for each series."""

    def __init__(self, labels: list[Labels]) -> None:
        self.registry = CollectorRegistry()
        names = [name for name, _ in WATCH.pairs()] + ["metric", "instance", "job", "pod"]
        own = [value for _, value in WATCH.pairs()]
        self.children = []
        for name, explanation in GAUGES:
            gauge = Gauge(name, explanation, names, registry=self.registry)
            self.children.append([gauge.labels(*own, *dict(one).values()) for one in labels])

    def render(self, gauges: SeriesGauges) -> bytes:
        """Sets every child and renders them."""
        for children, column in zip(self.children, columns_of(gauges), strict=True):
            for child, value in zip(children, column.tolist(), strict=True):
                child.set(value)
        return generate_latest(self.registry)


def samples_of(text: bytes) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    return {
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def cpu_milliseconds(work: Callable[[int], object], runs: int) -> float:
    took = []
    for run in range(runs):
        begun = time.process_time()
        work(run)
        took.append(1000 * (time.process_time() - begun))
    return statistics.median(took)


def main() -> None:
    series = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    labels = make_labels(series)
    ticks = [make_gauges(series, seed) for seed in range(7)]
    ordinary, ours = Ordinary(labels), WatchExposition(WATCH)

    def render_ours(run: int) -> bytes:
        ours.update(labels, ticks[run])
        return render([ours])

    text = render_ours(0)
    assert samples_of(text) == samples_of(ordinary.render(ticks[0])), "not the same samples"
    theirs = cpu_milliseconds(lambda run: ordinary.render(ticks[run]), 3)
    own = cpu_milliseconds(render_ours, 7)
    packing = cpu_milliseconds(lambda _: zlib.compress(text, 1), 5)
    print(f"{series:,} series, {series * len(GAUGES):,} lines, {len(text) / 1e6:.1f} MB")
    print(f"prometheus_client   {theirs:8.1f} ms CPU")
    print(f"metricwatch         {own:8.1f} ms CPU   {theirs / own:.0f} times faster")
    print(f"gzip level 1        {packing:8.1f} ms CPU")


if __name__ == "__main__":
    main()
