"""The quality gate on versions whose worth is known: what it counts, and what it costs.

usage: python benchmarks/gate.py [--series N] [--days N] [--interval SECONDS] [--family NAME]

Simulated series with a daily and a weekly rhythm. The serving version learned until a day ago.
Beside it stand an equal version, which learned from today's history, one that learned from the
same samples in a random order, one that learned from the history of other series, and one that
learned from a history with noise four times as large. For each the counts of the gate, what its
rules say, and the seconds of fitting and of measuring.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.anomalies import Policy
from metricwatch.artifact import pack, unpack
from metricwatch.gate import Side, WatchMeasured
from metricwatch.resources.detection import Detection
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid, Panel
from metricwatch.sources.simulation import Simulation
from metricwatch_trainer.gate.measuring import Trial, measure
from metricwatch_trainer.gate.tail import hold_back
from metricwatch_trainer.learning import Lesson, learn_group
from metricwatch_trainer.preparation import Group, head_of

DAY = 86_400
START = 1_760_000_400
GROUP_SERIES, GROUP_POINTS = 1000, 1_500_000


@dataclass(frozen=True)
class Measurement:
    """What came of one candidate."""

    name: str
    row: WatchMeasured
    fit_seconds: float
    gate_seconds: float


def history(series: int, grid: Grid) -> Panel:
    simulation = Simulation(series=series)
    return Panel(grid, simulation.labels(), simulation.values(grid.timestamps()))


def learn(panel: Panel, family: str) -> list[bytes]:
    lesson = Lesson(
        FAMILIES["ensemble" if family == "auto" else family],
        None,
        Scaling.ROBUST,
        seed=0,
        choose=family == "auto",
    )
    size = min(GROUP_SERIES, max(1, GROUP_POINTS // panel.grid.count))
    contents: list[bytes] = []
    for first in range(0, len(panel.labels), size):
        part = panel.select(np.arange(first, min(first + size, len(panel.labels))))
        chunks, _ = learn_group(
            Group(part, head_of(part.grid.count)),
            lesson,
            watch_uid="watch",
            progress=lambda _: None,
            should_stop=lambda: False,
        )
        contents += (pack(chunk) for chunk in chunks)
    return contents


def changed(name: str, head: Panel) -> Panel:
    """What a candidate learns from instead of the history."""
    rng = np.random.default_rng(1)
    values: NDArray[np.float64] = head.values.copy()
    match name:
        case "shuffled":
            values = rng.permuted(values, axis=1)
        case "of other series":
            values = np.roll(values, 1, axis=0)
        case "noisy":
            values += 4 * 0.03 * values.mean(axis=1, keepdims=True) * rng.normal(size=values.shape)
    return Panel(head.grid, head.labels, values)


def compare(
    name: str, panel: Panel, serving: Sequence[bytes], seen_until: int, family: str
) -> Measurement:
    tail = hold_back(panel.grid, began=0, seen_until=seen_until)
    head = panel.window(panel.grid.part(0, tail.head))
    began = time.process_time()
    contents = learn(changed(name, head), family)
    fitted = time.process_time()
    detection = Detection()
    trial = Trial(
        uid="watch",
        name="watch",
        policy=Policy.from_detection(detection, interval_seconds=panel.grid.step),
        per_week=detection.false_alarms_per_week,
        panel=panel,
        tail=tail,
        serving=tuple(unpack(one) for one in serving),
    )
    row, _ = measure(trial, contents, seed=20, progress=lambda *_: None, should_stop=lambda: False)
    return Measurement(name, row, fitted - began, time.process_time() - fitted)


def shown(side: Side) -> str:
    rate = side.anomaly_rate or 0.0
    kinds = " ".join(f"{kind} {one.share or 0:.2f}" for kind, one in side.injected.items())
    return (
        f"rate {rate:.5f}  episodes {side.episodes:4d} of {side.promised:6.1f} promised  "
        f"recall {side.recall or 0:.3f} ({kinds})"
    )


def report(one: Measurement) -> None:
    row = one.row
    error = np.exp(row.log_error_ratio / row.error_series) if row.error_series else float("nan")
    samples = (row.end - row.start) // 60
    print(f"{one.name}: error x {error:.3f} over {row.error_series} series, tail {samples} min")
    print(f"  candidate  {shown(row.candidate)}")
    if row.serving is not None:
        print(f"  serving    {shown(row.serving)}")
    share = one.gate_seconds / (one.fit_seconds + one.gate_seconds)
    print(f"  fit {one.fit_seconds:.1f} s, gate {one.gate_seconds:.1f} s: {share:.0%} of both")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--days", type=float, default=14)
    parser.add_argument("--interval", type=int, default=300)
    parser.add_argument("--family", default="ensemble")
    options = parser.parse_args()
    step = options.interval
    count = round(options.days * DAY / step)
    start = START // step * step
    before = history(options.series, Grid(start - DAY // step * step, step, count))
    panel = history(options.series, Grid(start, step, count))
    tail = hold_back(before.grid, began=0, seen_until=None)
    learned = before.window(before.grid.part(0, tail.head))
    serving = learn(learned, options.family)
    for name in ("equal", "shuffled", "of other series", "noisy"):
        report(compare(name, panel, serving, learned.grid.end, options.family))


if __name__ == "__main__":
    main()
