"""One tick of a watch, from the bytes of the source's answer to gauges, decisions and text.

    python benchmarks/detector_tick.py [series ...]

CPU time of this process by step, the median of several ticks. Series are scored by the online
family; `benchmarks/scoring.py` has the cost of a step of the others.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from metricwatch.anomalies import Policy
from metricwatch.scorer import Scorer
from metricwatch.series import Grid
from metricwatch.sources.decode import LabelOrder, decode_vector
from metricwatch_detector.exposition import SeriesGauges, WatchExposition, WatchLabels, render
from metricwatch_detector.ledger import Ledger
from metricwatch_detector.slots import SlotIndex

START = 1_700_000_040
HISTORY, TICKS = 120, 15
# A short history makes a cautious calibration: at this threshold the raised series are anomalous.
POLICY = Policy(interval=60, threshold=2.5)


def make_answer(time_: int, values: np.ndarray) -> bytes:
    """What a server sends for an instant query."""
    result = [
        {
            "metric": {
                "__name__": "http_request_duration_seconds",
                "instance": f"10.0.{number // 250}.{number % 250}:8080",
                "job": "checkout",
                "pod": f"checkout-7d9f8b6c5d-{number:05d}",
            },
            "value": [time_, repr(value)],
        }
        for number, value in enumerate(values.tolist())
    ]
    return msgspec.json.encode(
        {"status": "success", "data": {"resultType": "vector", "result": result}}
    )


class Stopwatch:
    """CPU time by step."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Adds the CPU time of the block to a step."""
        begun = time.process_time()
        yield
        self.milliseconds[step].append(1000 * (time.process_time() - begun))


def run(series: int) -> Stopwatch:
    rng = np.random.default_rng(0)
    scorer, index, ledger = Scorer([], interval=60), SlotIndex(limit=series), Ledger()
    order, exposition = LabelOrder(), WatchExposition(WatchLabels("shop", "latency", "checkout"))
    history = 100 + rng.normal(size=(series, HISTORY))
    scorer.warm(Grid(START - 60 * HISTORY, 60, HISTORY), history)
    stopwatch = Stopwatch()
    for tick in range(TICKS):
        at = START + 60 * tick
        now = 100 + rng.normal(size=series)
        # One series in a hundred is anomalous: those are what costs objects.
        now[: series // 100] += 80
        body = make_answer(at, now)
        with stopwatch.measure("decode the answer, labels in order"):
            answer = decode_vector(body)
            labels, positions = order.arrange(answer.metrics)
        with stopwatch.measure("labels to slots"):
            placement = index.place([("", labels)])
            values = np.full(len(index), np.nan)
            values[placement.slots] = answer.values[positions][placement.rows]
        with stopwatch.measure("score"):
            verdicts = scorer.step(POLICY, time=at, values=values)
        with stopwatch.measure("lifecycle now"):
            ledger.add(POLICY, verdicts)
        with stopwatch.measure("calibrate"):
            scorer.learn(excluded=ledger.head.open)
        with stopwatch.measure("decide"):
            decision = ledger.decide(POLICY, late_before=0)
            assert decision is not None
            ledger.commit(decision)
        with stopwatch.measure("render the gauges"):
            exposition.update(
                index.labels,
                SeriesGauges(
                    verdicts.value,
                    verdicts.expected,
                    verdicts.lower,
                    verdicts.upper,
                    verdicts.score,
                    ledger.head.open,
                ),
            )
            render([exposition])
    assert len(decision.changes) >= series // 100
    return stopwatch


def main() -> None:
    for series in [int(word) for word in sys.argv[1:]] or [1_000, 10_000]:
        steps = run(series).milliseconds
        # The first tick learns the labels and renders them.
        medians = {step: statistics.median(took[1:]) for step, took in steps.items()}
        total = sum(medians.values())
        print(f"{series:,} series, one tick: {total:.1f} ms CPU, {series / total * 1000:,.0f}/s")
        for step, took in medians.items():
            print(f"  {step:<36}{took:8.2f} ms   first {steps[step][0]:8.1f} ms")


if __name__ == "__main__":
    main()
