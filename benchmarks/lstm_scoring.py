"""Samples scored per CPU second by banks of networks, beside ONNX Runtime and torch modules.

usage: python benchmarks/lstm_scoring.py [--series N ...] [--hidden H] [--peer-python PATH]

`kernel` is the networks alone, `step` a tick of the bank from values to expectations, `history` a
backtest. Weights are random: what networks say makes no difference to how long they take. Bytes
are all that a bank holds for a series, state included.

`--peer-python` is the interpreter of an environment of its own:
`python -m venv peers && peers/bin/pip install onnx onnxruntime torch`. It scores 200 series with a
model each, in the same run.
"""

import argparse
import json
import os
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.autoregressive import AutoregressiveBank
from metricwatch.algorithms.lstm import LstmBank
from metricwatch.algorithms.lstm_cells import Cells, Recurrence
from metricwatch.algorithms.network_bank import NetworkBank, NetworkState
from metricwatch.algorithms.tcn import TcnBank
from metricwatch.algorithms.tcn_layers import Convolution, Layers
from metricwatch.series import Grid

STEP, LAGS, PATTERNS = 60, 32, 16
PEER = Path(__file__).parent / "peers" / "network_scoring.py"
PEER_MODELS = 200
Draw = Callable[..., NDArray[np.float32]]


def draw(*shape: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(len(shape)).standard_normal(shape)).astype(np.float32)


def autoregressions(series: int) -> AutoregressiveBank:
    return AutoregressiveBank(
        centre=np.zeros(series),
        scale=np.ones(series),
        weights=draw(series, LAGS),
        bias=draw(series),
        innovation=np.ones(series),
    )


def lstm(series: int, hidden: int, *, shared: bool) -> tuple[NetworkState, NetworkBank]:
    weights = draw(series, hidden + 2, 4 * hidden)
    cells = Cells.of_weights(weights, draw(series, hidden), draw(series), shared=shared)
    return Recurrence(cells), LstmBank(autoregressions(series), cells, reach=100)


def tcn(series: int, channels: int = 16, layers: int = 6) -> tuple[NetworkState, NetworkBank]:
    networks = Layers.of_weights(
        draw(series, layers, 2 * channels, channels),
        draw(series, layers, channels),
        draw(series, 2, channels),
        draw(series, channels),
        draw(series),
        shared=False,
    )
    return Convolution(networks), TcnBank(autoregressions(series), networks)


def rate(tick: Callable[[int], object], samples: int, seconds: float) -> float:
    for warm in range(3):
        tick(warm)
    count, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        tick(3 + count)
        count += 1
    return count * samples / (time.process_time() - began)


def measure(
    title: str, make: Callable[[], tuple[NetworkState, NetworkBank]], series: int, seconds: float
) -> float:
    tracemalloc.start()
    state, bank = make()
    del state
    size = tracemalloc.get_traced_memory()[0] / series
    tracemalloc.stop()
    state, bank = make()
    values = np.random.default_rng(1).standard_normal((PATTERNS, series))
    values[:, ::97] = np.nan
    taken = np.nan_to_num(values).astype(np.float32)
    ticks = max(64, 100_000 // series)
    history = np.resize(values.T, (series, ticks))
    kernel = rate(lambda at: state.step(taken[at % PATTERNS]), series, seconds)
    step = rate(lambda at: bank.step(at * STEP, values[at % PATTERNS]), series, seconds)
    grid = Grid(0, STEP, ticks)
    whole = rate(lambda _: bank.backtest(grid, history), history.size, seconds)
    print(
        f"{title:18} S={series:6}  kernel {kernel / 1e3:6.0f}  step {step / 1e3:6.0f}  "
        f"history {whole / 1e3:6.0f} thousand samples/s  {size:6.0f} bytes/series",
        flush=True,
    )
    return kernel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--peer-python")
    chosen = parser.parse_args()
    hidden, seconds = chosen.hidden, chosen.seconds
    print(f"one core, CPU time, load {os.getloadavg()[0]:.1f}")
    for series in chosen.series:
        ours = measure(
            f"lstm H={hidden}", lambda n=series: lstm(n, hidden, shared=False), series, seconds
        )
        measure(
            f"lstm H={hidden} shared",
            lambda n=series: lstm(n, hidden, shared=True),
            series,
            seconds,
        )
        measure("tcn C=16 L=6", lambda n=series: tcn(n), series, seconds)
    if chosen.peer_python is None:
        return
    answer = subprocess.run(
        [chosen.peer_python, str(PEER), str(hidden), str(PEER_MODELS), str(seconds)],
        capture_output=True,
        text=True,
        check=True,
        env={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    for title, peer in json.loads(answer.stdout.splitlines()[-1]).items():
        print(f"{title:28} {peer / 1e3:8.1f} thousand samples/s, lstm {ours / peer:5.0f} times it")


if __name__ == "__main__":
    main()
