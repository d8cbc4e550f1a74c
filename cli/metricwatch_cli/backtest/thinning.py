"""Fewer points that look the same: what plots of long series are drawn from. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Positions = NDArray[np.int64]
_AROUND = 12
_OF_A_BUCKET = 4


def thin(values: Floats, score: Floats, important: Flags, *, most: int) -> Positions:
    """Returns positions that keep every spike: about `most` of them, rising.

    Of each stretch of time the first sample, the lowest, the highest and the one with the highest
    score stay, and where it is `important` every sample, as far as half of `most` allows.

    Args:
        values: float64[T], NaN where there is none.
        score: float64[T], NaN where there is none.
        important: bool[T], such as anomalies.
        most: about how many positions.
    """
    count = len(values)
    if count <= most:
        return np.arange(count, dtype=np.int64)
    close = _near(important)
    enough = np.count_nonzero(close) <= most // 2
    kept = np.flatnonzero(close) if enough else np.zeros(0, np.int64)
    buckets = max(1, (most - len(kept)) // _OF_A_BUCKET)
    width = -(-count // buckets)
    firsts = np.arange(0, count, width)
    extremes = [_lowest(one, width) for one in (values, -values, -score)]
    chosen = np.unique(np.concatenate([kept, firsts, *extremes, [count - 1]]))
    return chosen.astype(np.int64)


def _near(flags: Flags) -> Flags:
    """Returns where a flag is within a few positions."""
    window = np.ones(2 * _AROUND + 1)
    near: Flags = np.convolve(flags.astype(np.float64), window, mode="same") > 0.5
    return near


def _lowest(values: Floats, width: int) -> Positions:
    """Returns the position of the lowest value of each stretch of `width`."""
    known = np.where(np.isnan(values), np.inf, values)
    blocks = np.concatenate([known, np.full(-len(known) % width, np.inf)]).reshape(-1, width)
    found: Positions = blocks.argmin(axis=1) + width * np.arange(len(blocks), dtype=np.int64)
    return np.minimum(found, len(values) - 1)
