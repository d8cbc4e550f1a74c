"""Two ways in which samples change, told without learning anything: by a jump and by a step.

Both work on samples in robust scales and carry a few numbers for each series.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import median

BLOCK = 12
"""Samples of which a step is the mean: an hour at five minutes."""
_BLOCKS = 12


class Jumps:
    """Difference of each sample to the one before it."""

    __slots__ = ("last",)

    def __init__(self, series: int) -> None:
        """Knows no sample yet."""
        self.last: FloatArray = np.full(series, np.nan)

    def step(self, values: FloatArray) -> FloatArray:
        """Returns float64[S], NaN where there is no sample or was none before."""
        jump = values - self.last
        self.last = np.where(np.isnan(values), self.last, values)
        return jump

    def run(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Returns what so many steps give, and the latest sample before each, float64[S, T]."""
        known = np.concatenate([self.last[:, None], values], axis=1)
        at = np.maximum.accumulate(np.where(np.isnan(known), 0, np.arange(known.shape[1])), axis=1)
        held = np.take_along_axis(known, at, axis=1)
        self.last = held[:, -1].copy()
        return values - held[:, :-1], held[:, :-1]


class Steps:
    """Mean of the latest dozen samples against the median of the dozen such means before.

    Blocks are counted by the clock, so that a backtest may begin anywhere. A step that stays is
    the level after half a dozen blocks.
    """

    __slots__ = ("_block", "_means", "_seconds", "_window")

    def __init__(self, series: int, *, step: int) -> None:
        """Knows no block yet; `step` seconds between samples."""
        self._seconds = BLOCK * step
        self._block: int | None = None
        self._window = np.full((series, BLOCK), np.nan, dtype=np.float32)
        self._means = np.full((series, _BLOCKS), np.nan, dtype=np.float32)

    def run(self, times: np.ndarray, values: FloatArray) -> FloatArray:
        """Takes float64[S, T] at times int64[T] in; returns float64[S, T], NaN while unknown."""
        change = np.empty(values.shape)
        blocks = times // self._seconds
        cuts = np.flatnonzero(np.diff(blocks)) + 1
        for first, end in zip([0, *cuts], [*cuts, len(blocks)], strict=True):
            if end > first:
                self._enter(int(blocks[first]))
                change[:, first:end] = self._follow(values[:, first:end])
        return change

    def _enter(self, block: int) -> None:
        if self._block is not None and block != self._block:
            passed = min(block - self._block, _BLOCKS)
            self._means = np.roll(self._means, -passed, axis=1)
            self._means[:, _BLOCKS - passed :] = np.nan
            self._means[:, _BLOCKS - passed] = _mean(self._window[:, None])[:, 0]
        self._block = block

    def _follow(self, values: FloatArray) -> FloatArray:
        whole = np.concatenate([self._window, values.astype(np.float32)], axis=1)
        self._window = whole[:, whole.shape[1] - BLOCK :]
        windows = sliding_window_view(whole[:, 1:], BLOCK, axis=1)
        level = median(self._means.astype(np.float64))
        return np.asarray(_mean(windows) - level[:, None])


def _mean(windows: np.ndarray) -> np.ndarray:
    """Returns the mean over the last axis of what is known, NaN where half of it is not."""
    known = ~np.isnan(windows)
    count = known.sum(axis=-1)
    total = np.where(known, windows, 0.0).sum(axis=-1, dtype=np.float64)
    return np.where(2 * count >= windows.shape[-1], total / np.maximum(count, 1), np.nan)
