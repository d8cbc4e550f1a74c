"""Seconds to train a series, and the error against ridge autoregression.

usage: python benchmarks/training.py [--data DIR] [--hidden H ...] [--samples T]

On the aiops_kpi series, averaged to five minutes: fit on the first T samples, one-step error on
the 1,008 after them. Geometric mean and worst of RMSE / RMSE(autoregression) are over series.
Without the data, a synthetic shop stands in and only times mean anything.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.resources.algorithm import LstmParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid

STEP = 300
VALIDATION = 1_008


def recorded(folder: Path, ticks: int) -> tuple[Grid, NDArray[np.float64]]:
    rows = []
    for path in sorted(folder.glob("*.csv.gz")):
        frame = pd.read_csv(path)
        frame = frame[frame.part == "train"]
        mean = frame.value.groupby(frame.timestamp // STEP).mean()
        rows.append(mean.reindex(range(mean.index[0], mean.index[0] + ticks)).to_numpy())
    return Grid(0, STEP, ticks), np.stack(rows)


def synthetic(ticks: int) -> tuple[Grid, NDArray[np.float64]]:
    grid = Grid(0, STEP, ticks)
    day = np.sin(2 * np.pi * grid.timestamps() / 86400)
    return grid, day + 0.1 * np.random.default_rng(0).standard_normal((14, ticks))


def train(
    name: str, parameters: ApiModel | None, grid: Grid, values: NDArray[np.float64], ticks: int
) -> tuple[float, NDArray[np.float64]]:
    family = FAMILIES[name]
    began = time.process_time()
    bank = family.fit(values[:, :ticks], grid.part(0, ticks), parameters, seed=0)
    seconds = (time.process_time() - began) / len(values)
    run_up = bank.warmup
    bank.backtest(grid.part(ticks - run_up, run_up), values[:, ticks - run_up : ticks])
    residual = bank.backtest(grid.part(ticks, VALIDATION), values[:, ticks:]).residual
    return seconds, np.sqrt(np.nanmean(residual**2, axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data/aiops_kpi"))
    parser.add_argument("--hidden", type=int, nargs="*", default=[16, 32])
    parser.add_argument("--samples", type=int, default=4_032)
    chosen = parser.parse_args()
    ticks = chosen.samples
    grid, values = (
        recorded(chosen.data, ticks + VALIDATION)
        if chosen.data.exists()
        else synthetic(ticks + VALIDATION)
    )
    print(f"{len(values)} series, {ticks} samples each, CPU time, load {os.getloadavg()[0]:.1f}")
    seconds, base = train("autoregressive", None, grid, values, ticks)
    print(f"{'autoregressive':14}  {seconds:7.4f} s/series")
    runs: list[tuple[str, str, ApiModel | None]] = [("seasonal", "seasonal", None)]
    runs += [(f"lstm H={h}", "lstm", LstmParameters(hidden=h)) for h in chosen.hidden]
    for title, name, parameters in runs:
        seconds, error = train(name, parameters, grid, values, ticks)
        ratio = error / base
        print(
            f"{title:14}  {seconds:7.4f} s/series  RMSE / autoregressive: geometric mean "
            f"{np.exp(np.log(ratio).mean()):.3f}, worst {ratio.max():.3f}, "
            f"not worse on {np.count_nonzero(ratio <= 1.0005)} of {len(ratio)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
