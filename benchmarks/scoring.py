"""Samples scored per second on one core: every family, with calibration, at several sizes.

usage: python benchmarks/scoring.py [--series N ...] [--seconds S]

`step` is a bank alone, from values to expectations; `scored` adds rarity, band and adaptation,
which is what a tick of a detector costs before anything is stored or exported.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank
from metricwatch.algorithms.autoregressive import AutoregressiveBank
from metricwatch.algorithms.lstm import LstmBank
from metricwatch.algorithms.lstm_cells import Cells
from metricwatch.calibration import Calibration
from metricwatch.series import Grid

STEP = 60
PATTERNS = 16


def banks(series: int) -> dict[str, Bank]:
    rng = np.random.default_rng(0)
    history = rng.standard_normal((min(series, 64), 4 * 1440))
    grid = Grid(0, STEP, history.shape[1])
    made: dict[str, Bank] = {}
    for name in ("seasonal", "autoregressive", "zscore"):
        family = FAMILIES[name]
        bank = family.fit(history, grid)
        repeat = -(-series // len(history))
        tensors = {
            key: np.concatenate([value] * repeat)[:series] for key, value in bank.tensors().items()
        }
        made[name] = family.restore(bank.header(), tensors)
    made |= {f"lstm H={hidden}": lstm_bank(series, hidden) for hidden in (16, 32, 64)}
    return made


def lstm_bank(series: int, hidden: int) -> LstmBank:
    """Random networks: what they say makes no difference to how long they take."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> NDArray[np.float32]:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)

    base = AutoregressiveBank(
        centre=np.zeros(series),
        scale=np.ones(series),
        weights=draw(series, 32),
        bias=draw(series),
        innovation=np.ones(series),
    )
    weights = draw(series, hidden + 2, 4 * hidden)
    cells = Cells.of_weights(weights, draw(series, hidden), draw(series), shared=False)
    return LstmBank(base, cells, reach=100)


def rate(tick: Callable[[int, NDArray[np.float64]], None], series: int, seconds: float) -> float:
    values = np.random.default_rng(1).standard_normal((PATTERNS, series))
    values[:, ::97] = np.nan
    for warm in range(3):
        tick(warm, values[warm])
    count, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        tick(3 + count, values[count % PATTERNS])
        count += 1
    return count * series / (time.process_time() - began)


def measure(name: str, bank: Bank, series: int, seconds: float) -> None:
    residuals = np.random.default_rng(2).standard_normal((series, 500))
    calibration = Calibration.fit(residuals, Grid(0, STEP, 500))
    nobody = np.zeros(series, dtype=np.bool_)
    origin = 10**6 * STEP

    def step(tick: int, values: NDArray[np.float64]) -> None:
        bank.step(origin + tick * STEP, values)

    def scored(tick: int, values: NDArray[np.float64]) -> None:
        prediction = bank.step(origin + (10**6 + tick) * STEP, values)
        rarity = calibration.rarity(prediction.residual)
        calibration.reach(4.3)
        calibration.adapt(prediction.residual, rarity, excluded=nobody)

    alone = rate(step, series, seconds)
    whole = rate(scored, series, seconds)
    size = sum(value.nbytes for value in bank.tensors().values()) / series
    print(
        f"{name:15} S={series:6}  step {alone / 1e6:7.2f} M/s  scored {whole / 1e6:6.2f} M/s  "
        f"{size:8.0f} bytes/series",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--seconds", type=float, default=0.5)
    chosen = parser.parse_args()
    print(f"one core, CPU time, load {os.getloadavg()[0]:.1f}")
    for series in chosen.series:
        for name, bank in banks(series).items():
            measure(name, bank, series, chosen.seconds)


if __name__ == "__main__":
    main()
