"""The level that a series is at, robust and followed within a day, as carried state.

The level is the median of the block means of a day: a drifted level is followed within a day, an
incident of some hours is not, and one sample has no weight however large it is. A block without
samples is passed over, so that after an outage the level is what it was, until half a day of
samples says otherwise.
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

    __slots__ = ("_count", "_current", "_oldest", "_ordered", "_recent", "_sum", "block", "value")

    def __init__(self, level: FloatArray, *, step: int) -> None:
        """Starts as if every block of the last day had been at `level` float64[S]."""
        self.block = max(_BLOCK, step)
        """Seconds over which one mean is taken."""
        self.value = level.copy()
        """float64[S], the level that holds for the present block."""
        self._recent = np.repeat(level[None], blocks_of_day(step), axis=0)
        self._ordered = self._recent.copy()
        self._oldest = np.zeros(len(level), dtype=np.intp)
        self._current: int | None = None
        self._sum = np.zeros(len(level))
        self._count = np.zeros(len(level))

    def enter(self, block: int) -> None:
        """Closes the last block when `block` is another one; its mean then counts."""
        if block == self._current:
            return
        if self._current is not None and self._count.any():
            self._close()
        self._current = block

    def take(self, unexplained: FloatArray) -> None:
        """Adds samples of the present block, float64[S] or [t, S], NaN for none."""
        known = ~np.isnan(unexplained)
        samples = np.where(known, unexplained, 0.0)
        if samples.ndim == 2:
            samples, known = samples.sum(axis=0), known.sum(axis=0)
        self._sum += samples
        self._count += known

    def _close(self) -> None:
        series = np.arange(len(self.value))
        old = self._recent[self._oldest, series]
        known = self._count > 0
        mean = np.where(known, self._sum / np.maximum(self._count, 1), old)
        self._recent[self._oldest, series] = mean
        self._oldest = (self._oldest + known) % len(self._recent)
        ordered = self._ordered
        without = np.where(ordered[:-1] < old, ordered[:-1], ordered[1:])
        np.minimum(without[0], mean, out=ordered[0])
        np.maximum(without[:-1], np.minimum(without[1:], mean), out=ordered[1:-1])
        np.maximum(without[-1], mean, out=ordered[-1])
        blocks = len(ordered)
        self.value = 0.5 * ordered[(blocks - 1) // 2] + 0.5 * ordered[blocks // 2]
        self._sum = np.zeros(len(self.value))
        self._count = np.zeros(len(self.value))


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


def blocks_of_day(step: int) -> int:
    """Returns how many block means the level is a median of."""
    return max(_LEAST_BLOCKS, DAY // max(_BLOCK, step))
