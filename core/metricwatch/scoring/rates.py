"""How often a week ordinary samples give so much evidence: from a number to a promise.

Evidence is a mean and a maximum of rarities, and no probability any more. How often normal series
pass some evidence was measured on recordings of many kinds (docs/decisions/0007): the logarithm
of episodes a week falls on a straight line. Where the line lies for a series is learned from
episodes that are large but not rare, in its history and live; rare ones have no say, so that
incidents teach nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, take_tensor
from metricwatch.scoring.tails import CLUSTER_GAP

Floats32 = NDArray[np.float32]

WEEK = 604_800.0
_USUAL_TICKS = 2016.0

SLOPE = 1.15
"""Decades of episodes a week for each unit of evidence."""
_AT_THREE = 0.0
"""log10 of episodes a week with evidence above 3, of a series with a sample every five minutes."""
_BY_TICKS = 0.4
"""Decades for each decade of ticks a week."""
_BAND = (1.75, 2.75)
_BELIEF = 10.0
"""Episodes in the band that what is known of all series counts for."""


class Rates:
    """Episodes a week of S series."""

    __slots__ = ("_count", "_interval", "_peak", "_since", "_weeks")

    def __init__(self, count: Floats32, weeks: Floats32, *, interval: int) -> None:
        """Takes stored arrays over.

        Args:
            count: float32[S], episodes whose peak lay in the band.
            weeks: float32[S], in so many weeks.
            interval: seconds between samples.
        """
        self._count = count
        self._weeks = weeks
        self._interval = interval
        self._peak = np.zeros_like(count)
        self._since = np.full(count.shape, CLUSTER_GAP, dtype=np.int32)

    @classmethod
    def blank(cls, series: int, *, interval: int) -> Rates:
        """Returns rates of series of which nothing is known."""
        nothing = np.zeros(series, dtype=np.float32)
        return cls(nothing, nothing.copy(), interval=interval)

    @property
    def series(self) -> int:
        """S."""
        return len(self._count)

    def rarity(self, evidence: Floats32) -> FloatArray:
        """Returns -log10 of the share of intervals in which an ordinary series passes `evidence`.

        Args:
            evidence: float32[S, B].

        Returns:
            float64[S, B], at least 0: 4.3 is once in two weeks at a sample a minute.
        """
        return np.maximum(SLOPE * evidence.astype(np.float64) - self._offset()[:, None], 0.0)

    def evidence(self, rarity: FloatArray) -> FloatArray:
        """Returns the evidence float64[S] at which `rarity` float64[S] is reached."""
        return np.asarray((rarity + self._offset()) / SLOPE)

    def learn(self, evidence: Floats32) -> None:
        """Follows episodes of evidence float32[S, B]."""
        ticks = evidence.shape[1]
        self._weeks += (~np.isnan(evidence)).sum(axis=1) * np.float32(self._interval / WEEK)
        with np.errstate(invalid="ignore"):
            large = evidence > _BAND[0]
        if not large.any() and not self._peak.any():
            self._since += ticks
            return
        for tick in range(ticks):
            self._since += 1
            over = large[:, tick]
            self._since[over] = 0
            self._peak[over] = np.maximum(self._peak[over], evidence[over, tick])
            closed = (self._since == CLUSTER_GAP) & (self._peak > 0)
            if closed.any():
                self._count += closed & (self._peak <= _BAND[1])
                self._peak[closed] = 0.0

    def grow(self, count: int) -> None:
        """Adds `count` series of which nothing is known."""
        added = Rates.blank(count, interval=self._interval)
        for name in ("_count", "_weeks", "_peak", "_since"):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(added, name)]))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what was learned."""
        return {"episodes": self._count, "weeks": self._weeks}

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]], *, interval: int) -> Rates:
        """Returns the rates that `tensors` describe.

        Raises:
            ValueError: they do not fit together.
        """
        series = len(tensors["weeks"]) if "weeks" in tensors else 0
        count = take_tensor(tensors, "episodes", (series,), np.float32).copy()
        weeks = take_tensor(tensors, "weeks", (series,), np.float32).copy()
        if (count < 0).any() or (weeks < 0).any():
            raise ValueError("episodes and weeks cannot be negative")
        return cls(count, weeks, interval=interval)

    def _offset(self) -> FloatArray:
        """Returns float64[S]: rarity = SLOPE x evidence - offset."""
        ticks = WEEK / self._interval
        at_zero = _AT_THREE + SLOPE * 3.0 + _BY_TICKS * math.log10(ticks / _USUAL_TICKS)
        in_band = 10.0 ** (at_zero - SLOPE * _BAND[0]) - 10.0 ** (at_zero - SLOPE * _BAND[1])
        expected = self._weeks.astype(np.float64) * in_band
        own = np.log10((self._count + _BELIEF) / (expected + _BELIEF))
        return np.asarray(at_zero + own - math.log10(ticks))
