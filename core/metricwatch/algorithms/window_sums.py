"""Sums of the latest values over windows: what adds up although no single sample shows it.

A shift by half a standard deviation is nothing in one residual and seven in the sum of two hundred
(the idea of CUSUM, Page 1954, over fixed windows). Sums are divided by the root of their length,
so that those of independent values stay in the unit of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray


class WindowSums:
    """Windows of several widths over the same values of S series; a missing value counts as 0."""

    __slots__ = ("_at", "_latest", "_sums", "_widths")

    def __init__(self, series: int, widths: Sequence[int]) -> None:
        """Starts with windows full of zeros.

        Args:
            series: S.
            widths: samples of each window.
        """
        self._widths = tuple(widths)
        # Series last: a tick touches few rows of it instead of a cache line of every series.
        self._latest = np.zeros((max(self._widths), series), dtype=np.float32)
        self._sums = np.zeros((len(self._widths), series))
        self._at = 0

    @property
    def longest(self) -> int:
        """Samples of the widest window."""
        return self._latest.shape[0]

    def step(self, values: FloatArray) -> FloatArray:
        """Takes float[S] in and returns float64[K, S], a row for each width."""
        entering = np.where(np.isnan(values), 0.0, values).astype(np.float32)
        for row, width in enumerate(self._widths):
            leaving = self._latest[(self._at - width) % self.longest]
            self._sums[row] += entering.astype(np.float64) - leaving
        self._latest[self._at] = entering
        self._at = (self._at + 1) % self.longest
        if self._at == 0:
            self._count_again()
        return self._sums / np.sqrt(np.array(self._widths, dtype=np.float64))[:, None]

    def run(self, values: FloatArray) -> FloatArray:
        """Takes float[S, T] in and returns float64[K, S, T], what so many steps give."""
        series, ticks = values.shape
        entering = np.nan_to_num(values).astype(np.float32)
        whole = np.concatenate([self._in_order().T, entering], axis=1)
        total = np.zeros((series, whole.shape[1] + 1))
        np.cumsum(whole, axis=1, dtype=np.float64, out=total[:, 1:])
        sums = np.empty((len(self._widths), series, ticks))
        end = self.longest + 1 + np.arange(ticks)
        for row, width in enumerate(self._widths):
            sums[row] = (total[:, end] - total[:, end - width]) / math.sqrt(width)
        self._latest = np.ascontiguousarray(whole[:, whole.shape[1] - self.longest :].T)
        self._at = 0
        self._count_again()
        return sums

    def grow(self, count: int) -> None:
        """Adds `count` series whose windows are full of zeros."""
        self._latest = np.pad(self._latest, ((0, 0), (0, count)))
        self._sums = np.pad(self._sums, ((0, 0), (0, count)))

    def _in_order(self) -> NDArray[np.float32]:
        return np.concatenate([self._latest[self._at :], self._latest[: self._at]])

    def _count_again(self) -> None:
        """Sums from the values themselves, now and then, so that rounding never adds up."""
        ordered = self._in_order()
        for row, width in enumerate(self._widths):
            self._sums[row] = ordered[self.longest - width :].sum(axis=0, dtype=np.float64)
