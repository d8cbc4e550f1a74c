"""Samples scored per second on one core: banks and their scoring, at several sizes.

usage: python benchmarks/scoring.py [--series N ...] [--seconds S]

`step` is a bank alone, from values to evidence; `scored` adds rarity, band and adaptation, which
is what a tick of a detector costs before anything is stored or exported; `span` is the same for
twenty ticks at once, as a backtest goes.
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
from metricwatch.algorithms.robust import value_step
from metricwatch.scoring import Scoring, threshold
from metricwatch.series import Grid

STEP = 60
PATTERNS = 16
SPAN = 20
HISTORY = 500


def banks(series: int) -> dict[str, Bank]:
    rng = np.random.default_rng(0)
    history = rng.standard_normal((min(series, 64), 4 * 1440))
    grid = Grid(0, STEP, history.shape[1])
    made: dict[str, Bank] = {}
    for name in ("seasonal", "autoregressive", "zscore", "ensemble"):
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


def scoring_of(bank: Bank) -> Scoring:
    """A scoring of made-up evidence of the size that the bank gives."""
    series = bank.series
    few = np.random.default_rng(2).standard_normal((len(bank.streams), min(series, 64), HISTORY))
    fitted = Scoring.fit(bank.streams, few, Grid(0, STEP, HISTORY), value_step=value_step(few[0]))
    repeat = -(-series // few.shape[1])
    tensors = {
        key: np.concatenate([value] * repeat)[:series] for key, value in fitted.tensors().items()
    }
    return Scoring.restore(bank.streams, fitted.header(), tensors)


def measure(name: str, bank: Bank, series: int, seconds: float) -> None:
    scoring = scoring_of(bank)
    limit = threshold(0.5, STEP)
    nobody = np.zeros((series, 1), dtype=np.bool_)
    origin = 10**6 * STEP

    def step(tick: int, values: NDArray[np.float64]) -> None:
        bank.step(origin + tick * STEP, values)

    def scored(tick: int, values: NDArray[np.float64]) -> None:
        time_ = 2 * origin + tick * STEP
        scoring.score(time_, bank.step(time_, values).evidence[..., None])
        scoring.reach(limit)
        scoring.learn(nobody)

    def spanned(tick: int, values: NDArray[np.float64]) -> None:
        grid = Grid(3 * origin + tick * SPAN * STEP, STEP, SPAN)
        said = bank.backtest(grid, np.repeat(values[:, None], SPAN, axis=1))
        scoring.score(grid.start, said.evidence)
        scoring.reach(limit)
        scoring.learn(np.repeat(nobody, SPAN, axis=1))

    alone, whole = rate(step, series, seconds), rate(scored, series, seconds)
    spans = SPAN * rate(spanned, series, seconds)
    kept = [*bank.tensors().values(), *scoring.tensors().values()]
    size = sum(value.nbytes for value in kept) / series
    print(
        f"{name:15} S={series:6}  step {alone / 1e6:7.2f} M/s  scored {whole / 1e6:6.2f} M/s  "
        f"span {spans / 1e6:6.2f} M/s  {size:8.0f} bytes/series",
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
