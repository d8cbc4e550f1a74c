"""Seconds to train a series, and the error against ridge autoregression and against darts.

usage: python benchmarks/training.py [--data DIR] [--samples T] [--peer-python PATH]

On the aiops_kpi series, averaged to five minutes: fit on the first T samples, one-step error on
the 1,008 after them. Geometric mean and worst of RMSE / RMSE(autoregression) are over series; one
series whose later samples hardly move decides a mean, so that there is a median as well.
Without the data, a synthetic shop stands in and only times mean anything.

`--peer-python` is the interpreter of an environment of its own with darts in it:
`python -m venv darts && darts/bin/pip install darts torch pytorch-lightning`. Its RNNModel learns
the first `--peer-series` of the series, with its defaults but for 32 units, and as well tuned as
we could: longer windows, larger batches and steps, a fifth of the passes.
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.resources.algorithm import LstmParameters, TcnParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.series import Grid

STEP = 300
VALIDATION = 1_008
SHARD = 50
"""Networks of so many series are trained at once, so that this many are timed."""
PEER = Path(__file__).parent / "peers" / "darts_training.py"
DARTS: dict[str, dict[str, Any]] = {
    "darts default": {"input_chunk_length": 24, "training_length": 24, "hidden_dim": 32},
    "darts tuned": {
        "input_chunk_length": 60,
        "training_length": 60,
        "hidden_dim": 32,
        "n_epochs": 20,
        "batch_size": 256,
        "optimizer_kwargs": {"lr": 5e-3},
    },
}
Values = NDArray[np.float64]


def recorded(folder: Path, ticks: int) -> tuple[Grid, Values]:
    rows = []
    for path in sorted(folder.glob("*.csv.gz")):
        frame = pd.read_csv(path)
        frame = frame[frame.part == "train"]
        mean = frame.value.groupby(frame.timestamp // STEP).mean()
        rows.append(mean.reindex(range(mean.index[0], mean.index[0] + ticks)).to_numpy())
    return Grid(0, STEP, ticks), np.stack(rows)


def synthetic(ticks: int) -> tuple[Grid, Values]:
    grid = Grid(0, STEP, ticks)
    day = np.sin(2 * np.pi * grid.timestamps() / 86400)
    return grid, day + 0.1 * np.random.default_rng(0).standard_normal((14, ticks))


def train(
    name: str, parameters: ApiModel | None, grid: Grid, values: Values, ticks: int
) -> tuple[float, Values]:
    """Returns CPU seconds a series of a full shard, and the error of each of `values`."""
    family = FAMILIES[name]
    shard = np.resize(values, (max(SHARD, len(values)), values.shape[1]))
    began = time.process_time()
    bank = family.fit(shard[:, :ticks], grid.part(0, ticks), parameters, seed=0)
    seconds = (time.process_time() - began) / len(shard)
    run_up = bank.warmup
    bank.backtest(grid.part(ticks - run_up, run_up), shard[:, ticks - run_up : ticks])
    residual = bank.backtest(grid.part(ticks, VALIDATION), shard[:, ticks:]).residual
    return seconds, np.sqrt(np.nanmean(residual**2, axis=1))[: len(values)]


def darts(
    python: str, options: dict[str, Any], values: Values, ticks: int
) -> tuple[float, Values]:
    cleared = np.where(np.isnan(values), None, values)
    request = {
        "history": cleared[:, :ticks].tolist(),
        "later": cleared[:, ticks:].tolist(),
        "options": options,
    }
    answer = subprocess.run(
        [python, str(PEER)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
        env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    result = json.loads(answer.stdout.splitlines()[-1])
    return float(np.mean(result["seconds"])), np.array(result["error"])


def show(title: str, seconds: float, error: Values, base: Values) -> None:
    ratio = error / base[: len(error)]
    print(
        f"{title:15} {seconds:8.4f} s/series  RMSE / autoregressive: geometric mean "
        f"{np.exp(np.log(ratio).mean()):.3f}, median {np.median(ratio):.3f}, "
        f"worst {ratio.max():.3f}, not worse on {np.count_nonzero(ratio <= 1.0005)} of "
        f"{len(ratio)}",
        flush=True,
    )


def compare(
    chosen: argparse.Namespace, values: Values, ours: dict[str, tuple[float, Values]], base: Values
) -> None:
    few = values[: chosen.peer_series]
    for title, options in DARTS.items():
        seconds, error = darts(chosen.peer_python, options, few, chosen.samples)
        show(title, seconds, error, base)
        for name, (own_seconds, own_error) in ours.items():
            ratio = own_error[: len(few)] / error
            print(
                f"{name:15} {seconds / own_seconds:8.0f} times as fast as {title}, "
                f"RMSE {np.exp(np.log(ratio).mean()):.3f} of its",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/bench/data/aiops_kpi"))
    parser.add_argument("--samples", type=int, default=4_032)
    parser.add_argument("--peer-python")
    parser.add_argument("--peer-series", type=int, default=4)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    ticks = chosen.samples
    grid, values = (
        recorded(chosen.data, ticks + VALIDATION)
        if chosen.data.exists()
        else synthetic(ticks + VALIDATION)
    )
    print(f"{len(values)} series, {ticks} samples each, CPU time, load {os.getloadavg()[0]:.1f}")
    seconds, base = train("autoregressive", None, grid, values, ticks)
    print(f"{'autoregressive':15} {seconds:8.4f} s/series")
    runs: dict[str, tuple[str, ApiModel | None]] = {
        "lstm H=16": ("lstm", LstmParameters(hidden=16)),
        "lstm H=32": ("lstm", LstmParameters()),
        "lstm shared": ("lstm", LstmParameters(shared=True)),
        "tcn C=8": ("tcn", TcnParameters(channels=8)),
        "tcn C=16": ("tcn", TcnParameters()),
    }
    ours = {}
    for title, (name, parameters) in runs.items():
        ours[title] = train(name, parameters, grid, values, ticks)
        show(title, *ours[title], base)
    if chosen.peer_python is not None:
        compare(chosen, values, ours, base)


if __name__ == "__main__":
    main()
