"""False alarms against the promised budget, and events found, on labelled series replayed as live.

usage: python benchmarks/false_alarms.py [--data DIR] [--family NAME ...] [--budget N ...] [SET]

DIR/SET/SERIES.csv.gz has timestamp, value, label and part (train, test). A family is fitted on the
train part with all defaults and calibrated on the last fifth of it; the test part goes by sample
by sample, calibration adapting, samples of an alarm and ten samples after it teaching nothing.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.robust import value_step
from metricwatch.calibration import Calibration, threshold
from metricwatch.series import Grid

JOIN_ALARMS, JOIN_LABELS, AFTERMATH = 10, 3, 10
WEEK = 7 * 86400


@dataclass
class Replay:
    """Residuals of one series: the tail that calibrates, and the test part with its labels."""

    step: int
    tail: NDArray[np.float64]
    test: NDArray[np.float64]
    label: NDArray[np.bool_]
    floor: float


def replay(path: Path, family_name: str) -> Replay:
    frame = pd.read_csv(path)
    step = int(np.median(np.diff(frame.timestamp)))
    frame = frame.assign(tick=frame.timestamp // step).drop_duplicates("tick").set_index("tick")
    frame = frame.reindex(range(frame.index[0], frame.index[-1] + 1))
    values = frame.value.to_numpy(dtype=np.float64)[None]
    grid = Grid(start=int(frame.index[0]) * step, step=step, count=len(frame))
    count = int(np.flatnonzero(frame.part.to_numpy() == "train")[-1]) + 1
    head = round(0.8 * count)
    family = FAMILIES[family_name]
    bank = family.fit(values[:, :head], grid.part(0, head))
    run_up = min(bank.warmup, head)
    bank.backtest(grid.part(head - run_up, run_up), values[:, head - run_up : head])
    tail = bank.backtest(grid.part(head, count - head), values[:, head:count]).residual
    if family.cheap:
        bank = family.fit(values[:, :count], grid.part(0, count))
        bank.backtest(grid.part(count - run_up, run_up), values[:, count - run_up : count])
    test = bank.backtest(grid.part(count, len(frame) - count), values[:, count:]).residual
    label = frame.label.fillna(0).to_numpy()[count:] > 0
    return Replay(step, tail[0], test[0], label, float(value_step(values[:, :count])[0]))


def scores(replays: list[Replay], rarity: float) -> list[NDArray[np.float64]]:
    """Scores of series of one step, tick by tick, all of them at once."""
    step = replays[0].step
    longest = max(len(one.tail) for one in replays)
    tails = np.stack(
        [np.pad(r.tail, (longest - len(r.tail), 0), constant_values=np.nan) for r in replays]
    )
    ticks = max(len(one.test) for one in replays)
    tests = np.stack(
        [np.pad(r.test, (0, ticks - len(r.test)), constant_values=np.nan) for r in replays]
    )
    calibration = Calibration.fit(
        tails, Grid(0, step, longest), floor=np.array([one.floor for one in replays])
    )
    result = np.zeros_like(tests)
    quiet = np.full(len(replays), AFTERMATH)
    for tick, residual in enumerate(np.ascontiguousarray(tests.T)):
        rare = calibration.rarity(residual)
        score = np.nan_to_num(rare / rarity)
        quiet = np.where(score > 1, 0, quiet + 1)
        calibration.adapt(residual, rare, excluded=quiet < AFTERMATH)
        result[:, tick] = score
    return [row[: len(one.test)] for row, one in zip(result, replays, strict=True)]


def runs(mask: NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    edges = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    joined: list[tuple[int, int]] = []
    for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], int(end))
        else:
            joined.append((int(start), int(end)))
    return joined


def evaluate(folder: Path, family: str, budgets: list[float]) -> None:
    replays = [replay(path, family) for path in sorted(folder.glob("*.csv.gz"))]
    for budget in budgets:
        false = alarms = events = found = 0
        weeks = 0.0
        for step in sorted({one.step for one in replays}):
            group = [one for one in replays if one.step == step]
            for one, score in zip(group, scores(group, threshold(budget, step)), strict=True):
                episodes, truth = runs(score > 1, JOIN_ALARMS), runs(one.label, JOIN_LABELS)
                false += sum(not one.label[a:b].any() for a, b in episodes)
                found += sum(bool((score[a:b] > 1).any()) for a, b in truth)
                alarms, events = alarms + len(episodes), events + len(truth)
                weeks += len(score) * step / WEEK
        precision, recall = 1 - false / max(alarms, 1), found / max(events, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        print(
            f"{folder.name:10} {family:15} budget {budget:4} per week: "
            f"observed {false / weeks:5.2f}, precision {precision:.2f} recall {recall:.2f} "
            f"F1 {f1:.2f} ({len(replays)} series)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--family", nargs="*", default=["seasonal", "autoregressive"])
    parser.add_argument("--budget", type=float, nargs="*", default=[0.5, 5.0])
    parser.add_argument("dataset", nargs="*", default=["nab", "nab_other"])
    chosen = parser.parse_args()
    for dataset in chosen.dataset:
        for family in chosen.family:
            evaluate(chosen.data / dataset, family, chosen.budget)


if __name__ == "__main__":
    main()
