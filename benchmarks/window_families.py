"""Families on window features: what they cost, and how well they rank labelled series.

usage: python benchmarks/window_families.py [--data DIR] [--series S] [--cost-only] [SET ...]

Cost: fit per series, step at S series, bytes per series. Quality: fitted on the train part with
all defaults, scored on the test part; the mean area under the precision-recall curve over series,
of the evidence as it is, before any calibration. Beside it: scikit-learn's isolation forest (which
pyod wraps) and random forest on plain windows of the latest 20 samples, and chance. Series of one
set and interval make one bank, whose labels of the train part teach what learns from labels.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank
from metricwatch.series import Grid

Values = NDArray[np.float64]
NAMES = ("isolationForest", "kmeans", "randomForest", "xgboost", "helm")
PLAIN_LAGS = 20
STEP, HISTORY = 300, 4032


@dataclass
class Records:
    """Series of one interval, aligned at their first sample; NaN after the last one."""

    grid: Grid
    values: Values
    label: NDArray[np.bool_]
    train: NDArray[np.bool_]
    there: NDArray[np.bool_]


def recorded(folder: Path) -> Iterator[Records]:
    frames: dict[int, list[pd.DataFrame]] = {}
    for path in sorted(folder.glob("*.csv.gz")):
        frame = pd.read_csv(path)
        step = int(np.median(np.diff(frame.timestamp)))
        tick = (frame.timestamp - frame.timestamp.iloc[0]) // step
        frame = frame.assign(tick=tick).drop_duplicates("tick").set_index("tick")
        frames.setdefault(step, []).append(frame.reindex(range(frame.index[-1] + 1)))
    for step, group in sorted(frames.items()):
        ticks = max(len(frame) for frame in group)
        whole = [frame.reindex(range(ticks)) for frame in group]
        yield Records(
            grid=Grid(0, step, ticks),
            values=np.stack([frame.value.to_numpy(float) for frame in whole]),
            label=np.stack([frame.label.to_numpy(float) > 0 for frame in whole]),
            train=np.stack([(frame.part == "train").to_numpy() for frame in whole]),
            there=np.stack([frame.part.notna().to_numpy() for frame in whole]),
        )


def evidence(name: str, records: Records, seed: int) -> Values:
    family = FAMILIES[name]
    learned = np.where(records.train, records.values, np.nan)
    last = int(np.flatnonzero(records.train.any(axis=0))[-1]) + 1
    bank = family.fit(
        learned[:, :last],
        records.grid.part(0, last),
        seed=seed,
        labels=(records.label & records.train)[:, :last] if family.learns_from_labels else None,
    )
    return bank.backtest(records.grid, records.values).evidence[0]


def plain_windows(records: Records) -> NDArray[np.float32]:
    """The latest samples, in robust standard deviations of the train part, gaps filled."""
    rows = []
    for values, train in zip(records.values, records.train, strict=True):
        middle = np.nanmedian(values[train])
        scale = np.nanquantile(np.abs(values[train] - middle), 0.9) or 1.0
        filled = pd.Series((values - middle) / scale).ffill().fillna(0.0).to_numpy()
        padded = np.concatenate([np.zeros(PLAIN_LAGS - 1), filled])
        rows.append(sliding_window_view(padded, PLAIN_LAGS))
    return np.clip(np.stack(rows), -1e6, 1e6).astype(np.float32)


def plain_isolation(records: Records, seed: int) -> Values:
    from sklearn.ensemble import IsolationForest

    found = []
    for windows, train in zip(plain_windows(records), records.train, strict=True):
        forest = IsolationForest(random_state=seed).fit(windows[train])
        found.append(-forest.score_samples(windows))
    return np.stack(found)


def plain_forest(records: Records, seed: int) -> Values:
    from sklearn.ensemble import RandomForestClassifier

    windows = plain_windows(records)
    forest = RandomForestClassifier(
        64, max_depth=8, min_samples_leaf=5, class_weight="balanced", random_state=seed
    )
    taught = np.random.default_rng(seed).random(records.train.shape) < 0.2
    taught = records.train & (records.label | taught)
    forest.fit(windows[taught], records.label[taught])
    answers = forest.predict_proba(windows.reshape(-1, PLAIN_LAGS))[:, -1]
    return np.asarray(answers.reshape(records.values.shape))


def chance(records: Records, seed: int) -> Values:
    return np.random.default_rng(seed).random(records.values.shape)


def precision_area(records: Records, found: Values) -> list[float]:
    """Average precision of each series that has labels in its test part."""
    from sklearn.metrics import average_precision_score

    areas = []
    for row, odd in enumerate(np.nan_to_num(found)):
        test = records.there[row] & ~records.train[row]
        if records.label[row, test].any():
            areas.append(float(average_precision_score(records.label[row, test], odd[test])))
    return areas


def quality(folder: Path) -> None:
    everything = list(recorded(folder))
    methods: dict[str, Callable[[Records, int], Values]] = {
        "isolationForest": lambda r, s: evidence("isolationForest", r, s),
        "sklearn IsolationForest": plain_isolation,
        "kmeans": lambda r, s: evidence("kmeans", r, s),
        "randomForest": lambda r, s: evidence("randomForest", r, s),
        "xgboost": lambda r, s: evidence("xgboost", r, s),
        "helm": lambda r, s: evidence("helm", r, s),
        "sklearn RandomForest": plain_forest,
        "chance": chance,
    }
    labelled = all((r.label & r.train).any() for r in everything)
    for title, method in methods.items():
        if not labelled and title in ("randomForest", "xgboost", "helm", "sklearn RandomForest"):
            continue
        began = time.process_time()
        areas = [area for r in everything for area in precision_area(r, method(r, 0))]
        print(
            f"{folder.name:10} {title:24} AUC-PR {np.mean(areas):.3f} ({len(areas)} series, "
            f"{time.process_time() - began:.0f} s)",
            flush=True,
        )
    if not labelled:
        print(f"{folder.name:10} has no labels in the train part of every bank to learn from")


def cost(series: int) -> None:
    rng = np.random.default_rng(0)
    few = 64
    grid = Grid(0, STEP, HISTORY)
    values = rng.standard_normal((few, HISTORY)).cumsum(axis=1) / 10 + rng.standard_normal(
        (few, HISTORY)
    )
    labels = np.zeros(values.shape, dtype=np.bool_)
    for start in range(100, HISTORY - 10, 500):
        values[:, start : start + 6] += 6
        labels[:, start : start + 6] = True
    for name in NAMES:
        family = FAMILIES[name]
        taught = labels if family.learns_from_labels else None
        family.fit(values[:2, :600], grid.part(0, 600), labels=labels[:2, :600])
        began = time.process_time()
        bank = family.fit(values, grid, labels=taught)
        seconds = time.process_time() - began
        shared = getattr(bank, "shared_tensors", frozenset())
        tensors = bank.tensors()
        own = sum(tensor.nbytes for key, tensor in tensors.items() if key not in shared)
        common = sum(tensor.nbytes for key, tensor in tensors.items() if key in shared)
        repeat = -(-series // few)
        many = {
            key: tensor if key in shared else np.concatenate([tensor] * repeat)[:series]
            for key, tensor in tensors.items()
        }
        rate = steps_per_second(family.restore(bank.header(), many))
        print(
            f"{name:16} fit {1e3 * seconds / few:7.2f} ms/series ({few} series, {HISTORY} samples)"
            f"  step {rate / 1e6:6.3f} M samples/s (S={series})"
            f"  {own / few:6.0f} bytes/series + {common / 1024:.0f} KiB for all",
            flush=True,
        )


def steps_per_second(bank: Bank) -> float:
    ticks = 40
    values = np.random.default_rng(1).standard_normal((ticks, bank.series))
    for tick in range(3):
        bank.step(tick * STEP, values[tick])
    began = time.process_time()
    for tick in range(3, ticks):
        bank.step(tick * STEP, values[tick])
    return (ticks - 3) * bank.series / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data"))
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--cost-only", action="store_true")
    parser.add_argument("dataset", nargs="*", default=["nab", "nab_other", "aiops_kpi"])
    chosen = parser.parse_args()
    print(f"one core, CPU time, load {os.getloadavg()[0]:.1f}")
    cost(chosen.series)
    if not chosen.cost_only:
        for dataset in chosen.dataset:
            quality(chosen.data / dataset)


if __name__ == "__main__":
    main()
