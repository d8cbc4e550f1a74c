"""Systems of several series, replayed as live: ranking, alarms and the channels that are named.

usage: python benchmarks/multivariate_quality.py [--bench DIR] [--budget N ...] [--half-life D]
                                                 [--without STREAM ...] [--out DIR] [SET ...]

DIR has score.py and data/SET/SYSTEM.csv.gz with timestamp, one column for each channel, label and
part (train, test). A bank is fitted on the train part with all defaults, its evidence there
calibrates it, and the test part goes by in order; samples of an alarm teach nothing. The
thresholds are what the budgets promise: no label is looked at before the verdicts are compared
with them. Bounds hold 90 % of 1000 resamplings, of days for episodes and of segments for names.
"""

import argparse
import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metricwatch.algorithms.base import Prediction, Stream
from metricwatch.algorithms.system import SystemParameters, fit_systems
from metricwatch.scoring import Scoring, threshold
from metricwatch.series import Grid

BENCH = Path(__file__).parents[2] / "shared" / "bench"
SETS = ("smd", "skab")
DAY, WEEK = 86_400, 604_800
RESAMPLINGS = 1000
NOT_CHANNELS = ("timestamp", "label", "part")
Values = NDArray[np.float64]


@dataclass
class System:
    """One system on its grid: where its rows lie, where its test part begins, what is labelled."""

    name: str
    channels: list[str]
    grid: Grid
    values: Values
    first: int
    rows: NDArray[np.int64]
    label: NDArray[np.int64]
    segments: list[dict[str, Any]]


@dataclass
class Replay:
    """What was said at each row of the test part."""

    rarity: Values
    severity: Values
    blame: Values


def systems_of(directory: Path) -> Iterator[System]:
    segments = json.loads((directory / "dataset.json").read_text()).get("segments", {})
    for path in sorted(directory.glob("*.csv.gz")):
        frame = pd.read_csv(path)
        step = int(np.median(np.diff(frame.timestamp)))
        tick = (frame.timestamp // step).to_numpy()
        channels = [str(name) for name in frame if name not in NOT_CHANNELS]
        grid = Grid(start=int(tick[0]) * step, step=step, count=int(tick[-1] - tick[0]) + 1)
        values = np.full((len(channels), grid.count), np.nan)
        values[:, tick - tick[0]] = frame[channels].to_numpy().T
        test = (frame.part == "test").to_numpy()
        name = path.name.removesuffix(".csv.gz")
        yield System(
            name=name,
            channels=channels,
            grid=grid,
            values=values,
            first=int(tick[test][0] - tick[0]),
            rows=tick[test] - tick[test][0],
            label=frame.label.to_numpy()[test].astype(np.int64),
            segments=segments.get(name, []),
        )


def predicted(
    system: System, parameters: SystemParameters, without: list[str]
) -> tuple[list[Stream], Prediction]:
    """Fits on the train part and goes through everything once."""
    grid, first = system.grid, system.first
    members = np.zeros(len(system.channels), dtype=np.int64)
    bank = fit_systems(system.values[:, :first], grid.part(0, first), members, parameters)
    prediction = bank.backtest(grid, system.values)
    kept = [row for row, stream in enumerate(bank.streams) if stream.name not in without]
    streams = [bank.streams[row] for row in kept]
    return streams, replace(prediction, evidence=prediction.evidence[kept])


def replay(
    system: System, streams: list[Stream], prediction: Prediction, *, budget: float
) -> Replay:
    """Calibrates on the train part, then scores the test part; alarms teach nothing."""
    grid, first, evidence = system.grid, system.first, prediction.evidence
    scoring = Scoring.fit(
        streams, evidence[..., :first], grid.part(0, first), value_step=np.ones(1)
    )
    live = grid.part(first, grid.count - first)
    alarm = threshold(budget, grid.step)
    rarity, severity = np.empty(live.count), np.empty(live.count)
    for part in scoring.spans(live):
        own = evidence[..., first + part.start : first + part.stop]
        scored = scoring.score(live.start + part.start * live.step, own)
        rarity[part], severity[part] = scored.rarity[0], scored.severity[0]
        scoring.learn(scored.rarity >= alarm)
    assert prediction.blame is not None
    rows = system.rows
    return Replay(
        rarity=np.nan_to_num(rarity[rows]),
        severity=severity[rows],
        blame=prediction.blame[:, first + rows],
    )


@dataclass
class Days:
    """Counts of each day of a test part: events, found, episodes, false ones."""

    counts: NDArray[np.int64]
    weeks: float


def days_of(system: System, alarm: NDArray[np.bool_], score: ModuleType) -> Days:
    rows_a_day = max(1, DAY // system.grid.step)
    counts = np.zeros((len(alarm) // rows_a_day + 1, 4), dtype=np.int64)
    inside = np.zeros(len(alarm), dtype=bool)
    for start, end in score.join(score.runs(system.label), 3):
        inside[start : end + 1] = True
        counts[start // rows_a_day, :2] += (1, bool(alarm[start : end + 1].any()))
    for start, end in score.join(score.runs(alarm), 10):
        counts[start // rows_a_day, 2:] += (1, not inside[start : end + 1].any())
    return Days(counts, len(alarm) * system.grid.step / WEEK)


def figures(counts: NDArray[np.int64], weeks: float) -> tuple[float, float, float, float]:
    """Returns precision, recall, F1 and false episodes a week."""
    events, found, episodes, wrong = counts
    precision = 1 - wrong / episodes if episodes else 0.0
    recall = found / events if events else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0, wrong / weeks


def bounds(samples: list[float]) -> str:
    low, high = np.quantile(samples, [0.05, 0.95])
    return f"[{low:.2f} {high:.2f}]"


def print_alarms(systems: list[System], replays: list[Replay], budget: float, score: Any) -> None:
    alarm = threshold(budget, systems[0].grid.step)
    days = [
        days_of(system, one.rarity >= alarm, score)
        for system, one in zip(systems, replays, strict=True)
    ]
    weeks = sum(one.weeks for one in days)
    precision, recall, f1, wrong = figures(sum(one.counts.sum(axis=0) for one in days), weeks)
    generator = np.random.default_rng(0)
    again = []
    for _ in range(RESAMPLINGS):
        picked = [
            one.counts[generator.integers(0, len(one.counts), len(one.counts))] for one in days
        ]
        again.append(figures(sum(one.sum(axis=0) for one in picked), weeks))
    each = " ".join(f"{figures(one.counts.sum(axis=0), one.weeks)[2]:.2f}" for one in days)
    print(
        f"  budget {budget:g} a week: precision {precision:.2f}, recall {recall:.2f}, F1 {f1:.3f} "
        f"{bounds([one[2] for one in again])}, false {wrong:.2f} a week "
        f"{bounds([one[3] for one in again])}; F1 of each {each}",
        flush=True,
    )


def names_at(system: System, one: Replay) -> list[list[str]]:
    """Returns the channels of each labelled segment, most to blame first, where it peaks."""
    named = []
    for segment in system.segments:
        start, end = segment["start"], segment["end"] + 1
        peak = start + int(np.argmax(one.severity[start:end]))
        named.append([system.channels[row] for row in np.argsort(-one.blame[:, peak])])
    return named


def print_ranking(systems: list[System], replays: list[Replay], score: Any) -> None:
    vus = [
        score.vus_pr(system.label, one.severity, 100)
        for system, one in zip(systems, replays, strict=True)
    ]
    each = " ".join(f"{one:.2f}" for one in vus)
    print(f"  VUS-PR of severity {np.mean(vus):.3f}; of each {each}")
    hits = [
        len(set(segment["components"]) & set(names[: len(segment["components"])]))
        / len(segment["components"])
        for system, one in zip(systems, replays, strict=True)
        for segment, names in zip(system.segments, names_at(system, one), strict=True)
    ]
    if hits:
        picked = np.random.default_rng(0).choice(hits, (RESAMPLINGS, len(hits)))
        print(f"  hit@100 {np.mean(hits):.3f} {bounds(picked.mean(axis=1).tolist())}")


def write(system: System, one: Replay, alarm: float, directory: Path) -> None:
    """Writes what score.py reads."""
    order = np.argsort(-one.blame, axis=0, kind="stable").T
    names = np.array(system.channels)
    directory.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "score": one.severity,
            "is_anomaly": (one.rarity >= alarm).astype(int),
            "components": [";".join(names[row]) for row in order],
        }
    ).to_csv(directory / f"{system.name}.csv.gz", index=False)


def scorer(bench: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("score", bench / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--bench", type=Path, default=BENCH)
    parser.add_argument("--budget", type=float, nargs="*", default=[0.3, 1.0, 3.0, 10.0])
    parser.add_argument("--half-life", default="1d")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--out", type=Path, help="detections, for score.py, at the first budget")
    options = parser.parse_args()
    score = scorer(options.bench)
    parameters = SystemParameters(half_life=options.half_life)
    for name in options.sets:
        systems = list(systems_of(options.bench / "data" / name))
        print(f"{name}: {len(systems)} systems")
        seen = [predicted(system, parameters, options.without) for system in systems]
        for budget in options.budget:
            replays = [
                replay(system, streams, prediction, budget=budget)
                for system, (streams, prediction) in zip(systems, seen, strict=True)
            ]
            if budget == options.budget[0]:
                print_ranking(systems, replays, score)
                if options.out:
                    for system, one in zip(systems, replays, strict=True):
                        alarm = threshold(budget, system.grid.step)
                        write(system, one, alarm, options.out / name)
            print_alarms(systems, replays, budget, score)


if __name__ == "__main__":
    main()
