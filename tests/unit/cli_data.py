"""Recorded data for tests of the command line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

START = 1_700_000_100
STEP = 300
TICKS = 1200
SPIKES = (900, 1100)


def write_csv(
    path: Path,
    *,
    columns: Sequence[str] = ("value",),
    spikes: Sequence[int] = SPIKES,
    labels: bool = False,
    part: bool = False,
    ticks: int = TICKS,
    seed: int = 0,
) -> Path:
    """A noisy rhythm of four hours; the first column jumps far up at each of `spikes`."""
    rng = np.random.default_rng(seed)
    at = np.arange(ticks)
    values = 50 + 5 * np.sin(2 * np.pi * at / 48) + rng.normal(0, 1, (len(columns), ticks))
    values[0, list(spikes)] += 120
    header = ["timestamp", *columns, *(["label"] if labels else []), *(["part"] if part else [])]
    rows = [",".join(header)]
    for tick in at.tolist():
        row = [str(START + STEP * tick), *(f"{one:.4f}" for one in values[:, tick])]
        if labels:
            row.append(str(int(tick in spikes)))
        if part:
            row.append("train" if tick < ticks // 2 else "test")
        rows.append(",".join(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")
    return path
