"""Median and tails of S series, followed online by stochastic approximation.

A quantile moves up by the share of samples it should have below it and down for each that it has
(Robbins & Monro 1951; Tierney 1983), in steps of the width of its tail. So one sample counts as
much as any other, and a spike moves nothing further than an ordinary sample does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray32 = NDArray[np.float32]

_TAIL_GAIN = 6.0
_MEDIAN_GAIN = 1.5
"""1 over the density of a normal distribution there, in widths of a tail of 5 %."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantiles:
    """Where the middle and the tails of S series are.

    Attributes:
        low: float32[S], what a given share of samples is below.
        middle: float32[S], the median.
        high: float32[S], what the same share is above.
    """

    low: FloatArray32
    middle: FloatArray32
    high: FloatArray32


class MovingQuantiles:
    """Three quantiles of S series; samples are counted against them, and then they move."""

    __slots__ = ("_above", "_below", "_count", "_least", "_rate", "_tail", "_under", "now")

    def __init__(
        self, initial: Quantiles, least: FloatArray32, *, tail: float, memory: float
    ) -> None:
        """Starts at `initial`.

        Args:
            initial: low to high in order.
            least: float32[S], above 0, the least width of a tail.
            tail: share of samples in either tail.
            memory: how many samples are remembered.
        """
        self.now = initial
        self._least = least
        self._tail = tail
        self._rate = 1.0 / memory
        self._clear()

    def widths(self) -> tuple[FloatArray32, FloatArray32]:
        """Returns the widths of lower and upper tail, float32[S] each, above 0."""
        lower = np.maximum(self.now.middle - self.now.low, self._least)
        upper = np.maximum(self.now.high - self.now.middle, self._least)
        return lower, upper

    def take(self, samples: FloatArray32) -> None:
        """Counts samples float32[S] or [S, T], NaN for none, against the quantiles."""
        if samples.ndim == 1:
            # As numbers of one type: NumPy takes several times as long where it has to mix them.
            self._count += (samples == samples).astype(np.int32)
            self._below += (samples < self.now.low).astype(np.int32)
            self._under += (samples < self.now.middle).astype(np.int32)
            self._above += (samples > self.now.high).astype(np.int32)
            return
        self._count += np.count_nonzero(samples == samples, axis=1)
        self._below += np.count_nonzero(samples < self.now.low[:, None], axis=1)
        self._under += np.count_nonzero(samples < self.now.middle[:, None], axis=1)
        self._above += np.count_nonzero(samples > self.now.high[:, None], axis=1)

    def move(self) -> None:
        """Moves the quantiles by what was counted since the last time."""
        lower, upper = self.widths()
        ordinary = self._tail * self._count
        tail, centre = _TAIL_GAIN * self._rate, _MEDIAN_GAIN * self._rate
        middle = self.now.middle + centre * (lower + upper) * (0.5 * self._count - self._under)
        low = self.now.low - tail * lower * (self._below - ordinary)
        high = self.now.high + tail * upper * (self._above - ordinary)
        self.now = Quantiles(
            low=np.minimum(low, middle).astype(np.float32),
            middle=middle.astype(np.float32),
            high=np.maximum(high, middle).astype(np.float32),
        )
        self._clear()

    def _clear(self) -> None:
        series = len(self._least)
        self._count, self._below, self._under, self._above = np.zeros((4, series), dtype=np.int32)
