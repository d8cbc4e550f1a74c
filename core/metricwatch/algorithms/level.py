"""A trailing robust level: the mean of the middle half of the last day's block means.

Over a whole day such a midmean (Tukey 1977) does not move with a daily rhythm. An incident of up
to six hours leaves it where it was; a level that stays is accepted between six and eighteen hours.
Unlike a median it hardly moves when one block changes its rank in a series that swings between
two values. Blocks last half an hour, or one sample where samples are further apart.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.series import Grid

_DAY = 86400
_BLOCK = 1800
_LEAST_BLOCKS = 8
_MOST_WARMUP = 3000
_WINDOW_BYTES = 16 * 1024 * 1024

FloatArray32 = NDArray[np.float32]


class TrailingLevel:
    """The level of S series, the same throughout a block; ticks may come singly or many at once.

    How the ticks are cut into calls makes no difference, not even in the last bit: sums run from
    one sample to the next in either case.
    """

    __slots__ = ("_count", "_current", "_level", "_recent", "_step", "_sum", "block")

    def __init__(self, initial: FloatArray | FloatArray32, step: int) -> None:
        """Starts as if the last day had been spent at `initial`.

        Args:
            initial: float[S]; kept in float32, so values should be centred and scaled.
            step: seconds between samples.
        """
        self.block = max(_BLOCK, step)
        """Seconds throughout which the level is the same."""
        self._step = step
        blocks = max(_LEAST_BLOCKS, _DAY // self.block)
        self._level = initial.astype(np.float32)
        self._recent = np.repeat(self._level[:, None], blocks, axis=1)
        self._current: int | None = None
        self._sum = np.zeros(len(initial))
        self._count = np.zeros(len(initial), dtype=np.int32)

    @property
    def warmup(self) -> int:
        """The day that the level looks back on, or as much of it as is cheap to read."""
        day = self._recent.shape[1] * self.block
        return min(_MOST_WARMUP, int(day) // self._step)

    @property
    def level(self) -> FloatArray32:
        """Where the series are now, float32[S], never NaN."""
        return self._level

    def step(self, time: int, values: FloatArray | FloatArray32) -> FloatArray32:
        """Returns the level before the tick, float32[S], and takes in its samples."""
        self._enter(time // self.block)
        known = values == values
        self._sum += np.where(known, values, 0.0).astype(np.float64)
        self._count += known.astype(np.int32)
        return self._level

    def follow(self, grid: Grid, values: FloatArray | FloatArray32) -> FloatArray32:
        """Returns the level before each tick, and takes in the samples.

        Args:
            grid: T ticks, at least one.
            values: float[S, T], NaN for no sample.

        Returns:
            float32[S, T]; a level uses samples of earlier blocks only.
        """
        self._enter(grid.start // self.block)
        block = grid.timestamps() // self.block
        starts = np.flatnonzero(np.diff(block, prepend=block[0] - 1))
        known = values == values
        samples = np.zeros((len(values), grid.count + 1))
        np.copyto(samples[:, 1:], values, where=known)
        means = np.empty((len(values), len(starts) - 1), dtype=np.float32)
        for index, (first, end) in enumerate(zip(starts, [*starts[1:], grid.count], strict=True)):
            # One after the other as single steps do it: `sum` adds in pairs, which gives other
            # bits. The slot before the first sample is read already: it holds what is carried.
            samples[:, first] = self._sum
            self._sum = np.add.accumulate(samples[:, first : end + 1], axis=1)[:, -1]
            self._count += np.count_nonzero(known[:, first:end], axis=1)
            if index < len(starts) - 1:
                means[:, index] = self._close()
        levels = self._levels(means)
        self._level, self._current = levels[:, -1].copy(), int(block[-1])
        return np.repeat(levels, np.diff(starts, append=grid.count), axis=1)

    def _enter(self, block: int) -> None:
        """Closes the current block when `block` is a later one; blocks in between are empty."""
        if block == self._current:
            return
        if self._current is not None:
            skipped = min(max(block - self._current - 1, 0), self._recent.shape[1])
            means = np.full((len(self._sum), 1 + skipped), np.nan, dtype=np.float32)
            means[:, 0] = self._close()
            self._level = self._levels(means)[:, -1].copy()
        self._current = block

    def _close(self) -> FloatArray:
        """Returns the means of the current block, NaN without samples, and starts another."""
        means = np.full(len(self._sum), np.nan)
        np.divide(self._sum, self._count, out=means, where=self._count > 0)
        self._sum = np.zeros_like(self._sum)
        self._count = np.zeros_like(self._count)
        return means

    def _levels(self, means: FloatArray32) -> FloatArray32:
        """Returns the levels before the first and after each of N more blocks, [S, N + 1]."""
        added = means.shape[1]
        if not added:
            return self._level[:, None]
        span = self._recent.shape[1]
        past = np.concatenate([self._recent, means], axis=1)
        self._recent = past[:, -span:].copy()
        windows = sliding_window_view(past, span, axis=1)[:, 1:]
        levels = np.empty((len(means), added + 1), dtype=np.float32)
        levels[:, 0] = self._level
        at_once = max(1, _WINDOW_BYTES // (windows.itemsize * span * len(means) or 1))
        for first in range(0, added, at_once):
            part = slice(first, min(first + at_once, added))
            levels[:, 1:][:, part] = _midmeans(windows[:, part])
        return _held(levels)


def _midmeans(values: FloatArray32) -> FloatArray:
    """Returns the mean of the middle half along the last axis, NaN for a row without samples."""
    ordered = np.sort(values, axis=-1)  # NaN comes last
    count = np.count_nonzero(values == values, axis=-1)[..., None]
    until = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(np.nan_to_num(ordered), axis=-1, dtype=np.float64, out=until[..., 1:])
    low = count // 4
    middle = np.maximum(count - 2 * low, 1)
    total = np.take_along_axis(until, count - low, -1) - np.take_along_axis(until, low, -1)
    means: FloatArray = np.where(count > 0, total / middle, np.nan)[..., 0]
    return means


def _held(levels: FloatArray32) -> FloatArray32:
    """Returns the levels with the latest known one in place of NaN; the first is never NaN."""
    position = np.where(np.isnan(levels), 0, np.arange(levels.shape[1]))
    latest = np.maximum.accumulate(position, axis=1)
    return np.take_along_axis(levels, latest, axis=1)
