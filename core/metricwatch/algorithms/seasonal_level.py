"""The level that a series is at, robust and followed within a day, as carried state.

The level is the median of the last day's block means: a drifted level is followed within a day,
an incident of some hours is not, and one sample has no weight however large it is.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.wall_clock import DAY, Seconds

_BLOCK = 1800
_LEAST_BLOCKS = 8


class DayLevel:
    """Median of the block means of a day for each of S series.

    The means are kept in order, so that a new one costs a few passes over them and not a sort: to
    insert v into a row in order, each place takes the middle of its left neighbour, itself and v.
    """

    __slots__ = ("_count", "_current", "_known", "_ordered", "_recent", "_sum", "block", "value")

    def __init__(self, level: FloatArray, *, step: int) -> None:
        """Starts as if every block of the last day had been at `level` float64[S]."""
        self.block = max(_BLOCK, step)
        """Seconds over which one mean is taken."""
        self.value = level.copy()
        """float64[S], the level that holds for the present block."""
        blocks = blocks_of_day(step)
        # A missing block is infinity: it comes last in the order, whatever the others are.
        self._recent = np.repeat(level[None], blocks, axis=0)
        self._ordered = self._recent.copy()
        self._known = np.full(len(level), blocks)
        self._current: int | None = None
        self._sum = np.zeros(len(level))
        self._count = np.zeros(len(level))

    def enter(self, block: int) -> None:
        """Closes the last block when `block` is a later one; its mean then counts."""
        if self._current is None:
            self._current = block
        if block == self._current:
            return
        blocks = len(self._recent)
        mean = np.where(self._count > 0, self._sum / np.maximum(self._count, 1), np.inf)
        self._replace(self._current % blocks, mean)
        missing = np.full(len(self.value), np.inf)
        for passed in range(max(self._current + 1, block - blocks), block):
            self._replace(passed % blocks, missing)
        self._current = block
        self._sum = np.zeros(len(self.value))
        self._count = np.zeros(len(self.value))
        self._refresh()

    def take(self, unexplained: FloatArray) -> None:
        """Adds samples of the present block, float64[S] or [t, S], NaN for none."""
        rows = np.atleast_2d(unexplained)
        known = ~np.isnan(rows)
        self._sum += np.where(known, rows, 0.0).sum(axis=0)
        self._count += known.sum(axis=0)

    def _replace(self, place: int, mean: FloatArray) -> None:
        old = self._recent[place].copy()
        self._known += np.isfinite(mean).astype(np.int64) - np.isfinite(old)
        self._recent[place] = mean
        ordered = self._ordered
        without = np.where(ordered[:-1] < old, ordered[:-1], ordered[1:])
        ordered[0] = np.minimum(without[0], mean)
        np.maximum(without[:-1], np.minimum(without[1:], mean), out=ordered[1:-1])
        ordered[-1] = np.maximum(without[-1], mean)

    def _refresh(self) -> None:
        """Takes the median of what is known; a day without samples leaves the level as it is."""
        last = np.maximum(self._known - 1, 0)
        column = np.arange(len(self.value))
        low, high = self._ordered[last // 2, column], self._ordered[(last + 1) // 2, column]
        self.value = np.where(self._known > 0, 0.5 * low + 0.5 * high, self.value)


def blocks_of_day(step: int) -> int:
    """Returns how many block means the level is a median of."""
    return max(_LEAST_BLOCKS, DAY // max(_BLOCK, step))


def follow(level: DayLevel, times: Seconds, unexplained: FloatArray) -> FloatArray:
    """Returns the level that held at each tick, float64[T, S], and brings `level` up to date.

    Args:
        level: the carried state.
        times: int64[T], unix seconds.
        unexplained: float64[T, S], NaN for no sample and for one that the level must not see.
    """
    held = np.empty_like(unexplained)
    block = times // level.block
    starts = np.flatnonzero(np.diff(block, prepend=block[:1] - 1)).tolist()
    for first, end in pairwise([*starts, len(times)]):
        level.enter(int(block[first]))
        held[first:end] = level.value
        level.take(unexplained[first:end])
    return held
