"""Exponentially weighted mean and variance of S series that a spike hardly moves.

A spike that enters a mean unclipped comes back as an echo in what is expected next; a mean that
never moves by more than a few deviations never accepts a new level. So the bound on one innovation
doubles with every sample in a row that passes it and shrinks by a fifth with every one that does
not (after Huber 1964; Tukey's winsorising): a spike is cut, a level a thousand deviations away
enters in full after some eight samples. The variance takes a few deviations at most whatever the
bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray

FIRST_SAMPLES = 3
"""So many samples enter as they are; only then is anything expected."""
_CLIP = 4.0
_SHRINK = 0.8
_LEAST_RELATIVE_VARIANCE = 1e-6
_LEAST_VARIANCE = 1e-30
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int32]


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
        variance: float64[T, S], the least that can mean anything or more; infinite where the mean
            is NaN.
        average: float64[T, S], 1 / (n + 1) after n samples.
    """

    mean: FloatArray
    variance: FloatArray
    average: FloatArray


class MovingMoments:
    """Mean, variance, number of samples and present bound of S series."""

    __slots__ = ("_any_young", "_count", "_mean", "_stretch", "_variance", "rates")

    def __init__(
        self, mean: FloatArray, variance: FloatArray, count: IntArray, rates: Rates
    ) -> None:
        """Takes the state over as it is; every bound starts at its least.

        Args:
            mean: float64[S].
            variance: float64[S], at least 0.
            count: int32[S], samples seen.
            rates: how quickly samples are forgotten.
        """
        self._mean = mean
        self._variance = variance
        self._count = count
        self._stretch = np.ones(len(mean))
        self._any_young = True
        self.rates = rates

    @classmethod
    def unseen(cls, series: int, rates: Rates) -> MovingMoments:
        """Returns moments of `series` series that have seen nothing."""
        count = np.zeros(series, dtype=np.int32)
        return cls(np.zeros(series), np.zeros(series), count, rates)

    @property
    def series(self) -> int:
        """S."""
        return len(self._mean)

    def grow(self, count: int) -> None:
        """Adds `count` series that have seen nothing."""
        self._mean = np.concatenate([self._mean, np.zeros(count)])
        self._variance = np.concatenate([self._variance, np.zeros(count)])
        self._count = np.concatenate([self._count, np.zeros(count, dtype=np.int32)])
        self._stretch = np.concatenate([self._stretch, np.ones(count)])
        self._any_young = True

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns mean, variance and count."""
        return {"mean": self._mean, "variance": self._variance, "count": self._count}

    def learn(self, values: FloatArray) -> Moments:
        """Takes in samples float64[T, S], NaN for none, and returns what was known before each.

        Their squares must be numbers.

        Whatever no tick needs from the one before is worked out for all of them together.
        """
        known = ~np.isnan(values)
        seen = np.cumsum(known, axis=0, dtype=np.int32) if len(values) > 1 else known
        after = self._count + seen
        average = 1.0 / (after - known + 1)
        rate = np.maximum(average, self.rates.mean)
        # A missing sample is one at the mean; that it must not narrow the spread is seen to here.
        spread_rate = np.maximum(average, self.rates.variance) * known
        keep = 1.0 - spread_rate
        before = Moments(np.empty_like(values), np.empty_like(values), average)
        young = after - known < FIRST_SAMPLES if self._any_young else None
        for tick in range(len(values)):
            before.mean[tick] = self._mean
            variance = self._floored(before.variance[tick], None if young is None else young[tick])
            innovation = np.where(known[tick], values[tick] - self._mean, 0.0)
            reach = _CLIP * _CLIP * variance
            inner = np.minimum(innovation * innovation, reach)
            self._mean = self._mean + rate[tick] * self._pull(innovation, reach)
            self._variance = keep[tick] * (self._variance + spread_rate[tick] * inner)
        self._count = after[-1]
        if young is not None:
            np.copyto(before.mean, np.nan, where=young)
            self._any_young = bool((self._count < FIRST_SAMPLES).any())
        return before

    def _floored(self, variance: FloatArray, young: BoolArray | None) -> FloatArray:
        """Writes the variances, infinity for series that take anything as it is."""
        np.multiply(self._mean, self._mean, out=variance)
        variance *= _LEAST_RELATIVE_VARIANCE
        variance += _LEAST_VARIANCE
        np.maximum(variance, self._variance, out=variance)
        if young is not None:
            np.copyto(variance, np.inf, where=young)
        return variance

    def _pull(self, innovation: FloatArray, reach: FloatArray) -> FloatArray:
        """Returns the innovations within their bounds and moves the bounds; reach is squared."""
        bound = np.sqrt(reach)
        bound *= self._stretch
        pull = np.minimum(innovation, bound)
        np.maximum(pull, -bound, out=pull)
        self._stretch = self._stretch * np.where(pull == innovation, _SHRINK, 2.0)
        np.maximum(self._stretch, 1.0, out=self._stretch)
        return pull
