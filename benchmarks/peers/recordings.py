"""What the programs beside it have in common: a data set in, detections and CPU seconds out.

Each is run by the Python of an environment of its own, with one thread, as

    PATH river_detection.py METHOD DATA OUT

DATA is a folder of SERIES.csv.gz with the columns timestamp, value, label and part. Only rows of
part `train` are learned from, labels by nobody. OUT gets a SERIES.csv with score and is_anomaly
for each row of part `test`. The first line of the output is what was run, and each other one the
CPU seconds of a series. Needs numpy only, because not every environment has more.
"""

import csv
import gzip
import json
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Some rows of a series: `times` in unix seconds and `values`, both float64[N]."""

    times: Values
    values: Values


@dataclass(frozen=True)
class Verdicts:
    """What is said of N rows: `scores`, float64[N], and which of them are `anomalous`, bool[N]."""

    scores: Values
    anomalous: NDArray[np.bool_]


Judge = Callable[[Rows], Verdicts]
"""Says of each row what can be said with what was learned and the rows before it."""
Learner = Callable[[Rows], Judge]
"""Learns from the train part, and returns what judges the test part that follows it."""


def read(path: Path) -> tuple[Rows, Rows]:
    """Returns the train and the test part of a file."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    times = np.array([row["timestamp"] for row in rows], dtype=np.float64)
    values = np.array([row["value"] for row in rows], dtype=np.float64)
    later = np.array([row["part"] == "test" for row in rows])
    return Rows(times[~later], values[~later]), Rows(times[later], values[later])


def write(path: Path, verdicts: Verdicts) -> None:
    # The scorer accepts no infinity, which far out in a tail some scores are.
    scores = np.nan_to_num(verdicts.scores, nan=0.0, posinf=1e300, neginf=-1e300)
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["score", "is_anomaly"])
        lines.writerows(zip(scores.tolist(), verdicts.anomalous.astype(int).tolist(), strict=True))


def windows(history: Values, values: Values, length: int) -> Values:
    """Returns float64[N, length]: for each of N values itself and those before it."""
    whole = np.concatenate([history[len(history) - length + 1 :], values])
    return np.lib.stride_tricks.sliding_window_view(whole, length)


def cpu_seconds() -> float:
    """Returns what this process and those it waited for have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def tell(**said: object) -> None:
    print(json.dumps(said), flush=True)


def main(package: str, methods: Mapping[str, Learner]) -> None:
    """Runs one of the methods over a data set."""
    if len(sys.argv) != 4 or sys.argv[1] not in methods:
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(methods)}}} DATA OUT")
    learn, data, out = methods[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    tell(package=package, version=version(package), method=sys.argv[1])
    for path in sorted(data.glob("*.csv.gz")):
        history, later = read(path)
        began = cpu_seconds()
        judge = learn(history)
        learned = cpu_seconds()
        verdicts = judge(later)
        ended = cpu_seconds()
        name = path.name.removesuffix(".csv.gz")
        write(out / f"{name}.csv", verdicts)
        tell(series=name, training=learned - began, scoring=ended - learned)
