"""Model versions of any size for benchmarks: a few dozen series are learned, and repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.robust import value_step
from metricwatch.artifact import MOST_SERIES, ModelChunk, pack, unpack
from metricwatch.scoring import Scoring
from metricwatch.series import Grid, Labels

STEP = 10
LEARNED = 24
WATCH_UID = "watch-1"
_TICKS = {"lstm": 4_032, "tcn": 4_032}
"""Networks learn from less: they take longer, and hold the same afterwards."""
_USUAL_TICKS = 3 * 8_640


def normal(rng: np.random.Generator, times: NDArray[np.int64], series: int) -> NDArray[Any]:
    """Returns ordinary samples float64[series, T]: a level, a day, and noise that lingers."""
    return daily(times) + noise(rng, series, len(times))


def daily(times: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the level at each time in unix seconds."""
    return 100 + 5 * np.sin(2 * np.pi * times / 86_400)


def noise(rng: np.random.Generator, series: int, ticks: int) -> NDArray[np.float64]:
    """Returns what lingers for a tick, float64[series, ticks]."""
    drawn = rng.standard_normal((series, ticks))
    drawn[:, 1:] += 0.6 * drawn[:, :-1]
    return drawn


def learn(family_name: str, path: Path, *, until: int) -> None:
    """Fits `LEARNED` series on history that ends at `until`, and writes them to a file."""
    ticks = _TICKS.get(family_name, _USUAL_TICKS)
    grid = Grid(until - ticks * STEP, STEP, ticks)
    values = normal(np.random.default_rng(0), grid.timestamps(), LEARNED)
    family = FAMILIES[family_name]
    bank = family.fit(values, grid)
    evidence = family.restore(bank.header(), bank.tensors()).backtest(grid, values).evidence
    scoring = Scoring.fit(bank.streams, evidence, grid, value_step=value_step(values))
    path.write_bytes(pack(ModelChunk(WATCH_UID, STEP, tuple(labels_of(LEARNED)), bank, scoring)))


def labels_of(series: int) -> list[Labels]:
    """Returns labels such as pods have."""
    return [
        (
            ("__name__", "http_request_duration_seconds"),
            ("instance", f"10.{number // 62_500}.{number // 250 % 250}.{number % 250}:8080"),
            ("job", "checkout"),
            ("pod", f"checkout-7d9f8b6c5d-{number:06d}"),
        )
        for number in range(series)
    ]


def tiled(path: Path, series: int) -> Iterator[ModelChunk]:
    """Yields chunks of so many series in all, made of those in a file."""
    learned = unpack(path.read_bytes())
    header, labels = learned.scoring.header(), labels_of(series)
    for first in range(0, series, MOST_SERIES):
        own = labels[first : first + MOST_SERIES]
        bank = FAMILIES[learned.family].restore(
            learned.bank.header(), _repeated(learned.bank.tensors(), len(own))
        )
        scoring = Scoring.restore(
            bank.streams, header, _repeated(learned.scoring.tensors(), len(own))
        )
        yield ModelChunk(WATCH_UID, STEP, tuple(own), bank, scoring)


def _repeated(tensors: dict[str, NDArray[Any]], series: int) -> dict[str, NDArray[Any]]:
    copies = -(-series // LEARNED)
    return {
        name: np.ascontiguousarray(np.concatenate([value] * copies)[:series])
        for name, value in tensors.items()
    }
