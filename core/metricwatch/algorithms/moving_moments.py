"""Exponentially weighted mean and variance of S series that a spike hardly moves.

A spike that enters a mean unclipped comes back as an echo in what is expected next; a mean that
never moves by more than a few deviations never accepts a new level. So the bound on one innovation
doubles with every sample that passes it and halves with every one that does not (after Huber 1964;
Tukey's winsorising): a spike is cut, a level a thousand deviations away enters after some eight
samples. The variance takes a few deviations at most whatever the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray

FIRST_SAMPLES = 3
"""So many samples enter as they are; only then is anything expected."""
_CLIP_SQUARED = np.float32(4.0**2)
_GROW, _SHRINK = np.float32(2.0**2), np.float32(0.5**2)
_LEAST_RELATIVE_VARIANCE = np.float32(1e-6)
_LEAST_VARIANCE = np.float32(1e-30)
_ANYTHING = np.float32(1e37)
BoolArray = NDArray[np.bool_]
FloatArray32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rates:
    """How much of mean and variance a sample replaces, each in (0, 1]."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What was known before each of T ticks.

    Attributes:
        mean: float64[T, S], NaN for a series with fewer than `FIRST_SAMPLES`.
        square: float32[T, S], squared distances of the samples from it, NaN for none.
        variance: float32[T, S], the least that can mean anything or more, NaN where the mean is.
        average: float32[T, S], 1 / (n + 1) after n samples.
    """

    mean: FloatArray
    square: FloatArray32
    variance: FloatArray32
    average: FloatArray32


class MovingMoments:
    """Mean, variance, number of samples and present bound of S series.

    Only the mean is in float64: what is far from zero and hardly moves needs it.
    """

    __slots__ = ("_any_young", "_count", "_mean", "_stretch", "_variance", "rates")

    def __init__(
        self, mean: FloatArray, variance: FloatArray32, count: FloatArray32, rates: Rates
    ) -> None:
        """Takes the state over as it is; every bound starts at its least.

        Args:
            mean: float64[S].
            variance: float32[S], at least 0.
            count: float32[S], samples seen; after 2^24 it stands still.
            rates: how quickly samples are forgotten.
        """
        self._mean = mean
        self._variance = variance
        self._count = count
        self._stretch = np.ones(len(mean), dtype=np.float32)
        self._any_young = True
        self.rates = rates

    @classmethod
    def unseen(cls, series: int, rates: Rates) -> MovingMoments:
        """Returns moments of `series` series that have seen nothing."""
        nothing = np.zeros(series, dtype=np.float32)
        return cls(np.zeros(series), nothing, nothing.copy(), rates)

    @property
    def series(self) -> int:
        """S."""
        return len(self._mean)

    def grow(self, count: int) -> None:
        """Adds `count` series that have seen nothing."""
        nothing = np.zeros(count, dtype=np.float32)
        self._mean = np.concatenate([self._mean, np.zeros(count)])
        self._variance = np.concatenate([self._variance, nothing])
        self._count = np.concatenate([self._count, nothing])
        self._stretch = np.concatenate([self._stretch, nothing + np.float32(1.0)])
        self._any_young = True

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns mean, variance and count."""
        return {"mean": self._mean, "variance": self._variance, "count": self._count}

    def learn(self, values: FloatArray) -> Moments:
        """Takes in samples float64[T, S], NaN for none, and returns what was known before each.

        Whatever no tick needs from the one before is worked out for all of them together. The
        squares of samples must be numbers in float32.
        """
        # As numbers: NumPy takes several times as long where it has to mix types.
        known = (values == values).astype(np.float32)
        seen = np.cumsum(known, axis=0, dtype=np.float32) if len(values) > 1 else known
        after = self._count + seen
        count = after - known
        average = np.reciprocal(count + np.float32(1.0))
        # A missing sample moves nothing.
        rate = np.maximum(average, np.float32(self.rates.mean)) * known
        spread_rate = np.maximum(average, np.float32(self.rates.variance)) * known
        keep = np.float32(1.0) - spread_rate
        young = count < FIRST_SAMPLES if self._any_young else None
        before = Moments(
            np.empty_like(values), np.empty_like(average), np.empty_like(average), average
        )
        for tick in range(len(values)):
            before.mean[tick] = self._mean
            variance = self._floored(before.variance[tick], None if young is None else young[tick])
            innovation = (values[tick] - self._mean).astype(np.float32)
            square = np.multiply(innovation, innovation, out=before.square[tick])
            reach = variance * _CLIP_SQUARED
            added = self._variance + spread_rate[tick] * np.fmin(square, reach)
            self._variance = keep[tick] * added
            moved = rate[tick] * self._pull(innovation, square, reach)
            self._mean = self._mean + moved.astype(np.float64)
        self._count = after[-1]
        if young is not None:
            np.copyto(before.mean, np.nan, where=young)
            np.copyto(before.variance, np.nan, where=young)
            self._any_young = bool((self._count < FIRST_SAMPLES).any())
        return before

    def _floored(self, variance: FloatArray32, young: BoolArray | None) -> FloatArray32:
        """Writes the variances, a huge one for series that take anything as it is."""
        mean = self._mean.astype(np.float32)
        np.multiply(mean, mean, out=variance)
        variance *= _LEAST_RELATIVE_VARIANCE
        variance += _LEAST_VARIANCE
        np.maximum(variance, self._variance, out=variance)
        if young is not None:
            np.copyto(variance, _ANYTHING, where=young)
        return variance

    def _pull(
        self, innovation: FloatArray32, square: FloatArray32, reach: FloatArray32
    ) -> FloatArray32:
        """Returns the innovations within their bounds and moves these; reach is squared."""
        bound = reach * self._stretch
        self._stretch = self._stretch * np.where(square > bound, _GROW, _SHRINK)
        np.maximum(self._stretch, np.float32(1.0), out=self._stretch)
        np.fmin(square, bound, out=bound)
        np.sqrt(bound, out=bound)
        np.copysign(bound, innovation, out=bound)
        return bound
