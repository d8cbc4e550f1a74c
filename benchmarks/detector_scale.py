"""What a tick of a detector costs, by part, from 100 to 100,000 series, and what a series takes.

    python benchmarks/detector_scale.py [--series N ...] [--families F ...] [--ticks T]

Each family and size runs in a process of its own, without server and database: parsed values go
through scorer, ledger, columns for COPY and gauges, tick by tick, and figures are CPU time. `p99`
is of all that is done for one tick. Memory is what the process grew by, from a bare interpreter
with the packages loaded, for the chunks themselves and in the end.

`detector_live.py` runs the detector itself, against PostgreSQL and a server that answers as
Prometheus does.
"""

from __future__ import annotations

import argparse
import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gc
import multiprocessing
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tiled_models import STEP, learn, normal, tiled

from metricwatch.anomalies import Policy
from metricwatch.scorer import Scorer
from metricwatch.scoring import threshold
from metricwatch.series import Grid
from metricwatch.store.scores import Scores
from metricwatch_detector.exposition import SeriesGauges, WatchExposition, WatchLabels, render
from metricwatch_detector.joining import Joiner
from metricwatch_detector.ledger import Ledger

FAMILIES = ("seasonal", "autoregressive", "ensemble", "lstm")
SIZES = (100, 1_000, 10_000, 100_000)
START = 1_700_006_400
POLICY = Policy(interval=STEP, threshold=threshold(0.5, STEP))
PATTERNS, WARMING = 16, 25
VERDICTS = ("score", "learn", "lifecycle")
"""The parts that lead from parsed values to verdicts."""


class Stopwatch:
    """CPU seconds by part, one entry a tick."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Adds the CPU time of the block to a part."""
        begun = time.process_time()
        yield
        self.seconds[part].append(time.process_time() - begun)


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Pieces:
    """The pieces of a detector over one model version."""

    def __init__(self, path: Path, series: int) -> None:
        joiner = Joiner()
        for chunk in tiled(path, series):
            joiner.add(chunk)
        self.scorer = Scorer(joiner.chunks(), interval=STEP)
        self.ledger = Ledger()
        self.exposition = WatchExposition(WatchLabels("shop", "latency", "checkout"))
        self.ids = np.arange(1, series + 1)
        self.watch = Stopwatch()

    def tick(self, at: int, values: np.ndarray) -> None:
        """One tick, from parsed values to all that leaves the process."""
        measure, scorer, ledger = self.watch.measure, self.scorer, self.ledger
        with measure("score"):
            verdicts = scorer.step(POLICY, time=at, values=values)
        with measure("lifecycle"):
            ledger.add(POLICY, verdicts)
        with measure("learn"):
            scorer.learn(excluded=ledger.head.open)
        with measure("decide"):
            decision = ledger.decide(POLICY, late_before=0)
            assert decision is not None
            ledger.commit(decision)
        with measure("columns"):
            Scores(
                metric_id=self.ids,
                ts=at,
                value=verdicts.value,
                expected=verdicts.expected,
                lower=verdicts.lower,
                upper=verdicts.upper,
                rarity=verdicts.rarity,
                score=verdicts.score,
                anomalous=verdicts.score > 1.0,
            ).encode()
        with measure("gauges"):
            shown = SeriesGauges(
                verdicts.value,
                verdicts.expected,
                verdicts.lower,
                verdicts.upper,
                verdicts.score,
                ledger.head.open,
            )
            self.exposition.update(scorer.known, shown)
            render([self.exposition])


def run(path: str, series: int, ticks: int) -> str:
    """Returns a line of figures; works in the process it is called in."""
    rng = np.random.default_rng(1)
    times = START + STEP * np.arange(PATTERNS)
    patterns = normal(rng, times, series)
    patterns[::97, ::3] = np.nan
    # What is loaded at the first use is no series' own.
    Pieces(Path(path), 1).tick(START - STEP, np.zeros(1))
    before = resident()
    pieces = Pieces(Path(path), series)
    loaded = resident()
    pieces.scorer.warm(Grid(START - STEP * 64, STEP, 64), np.resize(patterns, (series, 64)))
    for tick in range(WARMING + ticks):
        values = np.ascontiguousarray(patterns[:, tick % PATTERNS])
        values[tick % 1000 :: 1000] += 50
        pieces.tick(START + STEP * tick, values)
    seconds = {part: np.array(spent[WARMING:]) for part, spent in pieces.watch.seconds.items()}
    whole = sum(seconds.values())
    verdicts = sum(seconds[part] for part in VERDICTS)
    parts = "  ".join(f"{part} {1e3 * spent.mean():.2f}" for part, spent in seconds.items())
    return (
        f"S={series:7}  {1e3 * whole.mean():8.2f} ms/tick, "
        f"p99 {1e3 * np.quantile(whole, 0.99):8.2f}  {1e6 * whole.mean() / series:6.2f} us/series "
        f" verdicts {series / verdicts.mean() / 1e3:6.0f} k/s  [{parts}]  "
        f"{(loaded - before) / series / 1e3:6.2f} kB loaded, "
        f"{(resident() - before) / series / 1e3:6.2f} kB running"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--ticks", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for family in chosen.families:
            path = Path(folder) / family
            apart(learn, family, path, until=START)
            for series in chosen.series:
                line = apart(run, str(path), series, chosen.ticks)
                print(f"{family:14} {line}  load {os.getloadavg()[0]:.0f}", flush=True)


def apart(work, *arguments, **options):
    """Calls a function in a fresh process: torch and earlier sizes leave no memory behind."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(work, *arguments, **options).result()


if __name__ == "__main__":
    sys.exit(main())
