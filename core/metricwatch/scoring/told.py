"""What one sample told by itself, and whether it is over.

A sample is *loud* where the short scale alone alerts. It needs no long window to be found, but a
long window holds it for as long as it is wide. So the latest loud time of each series is followed:
what had been expected where it began, by a bank that had seen nothing of it, and how far samples
went. It is *over* at a sample that is not loud and has come more than half of the way back. A bank
that has got used to an incident finds its samples ordinary too, but those are not back.

A sample that is still off by half as far is part of it even where it does not alert, as in an hour
in which large sizes recur: it would stay in the windows when the others have been left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.scoring.tails import Bools

_BACK = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Lately:
    """Of the N series in which a window may still hold something loud, over B ticks.

    Attributes:
        series: int[N], which they are.
        part: bool[N, B], samples that are told: the loud ones and those nearly as far off.
        over: bool[N, B], where something loud may be held that is over.
        lasts: bool[N, B], where something loud may be held that is not.
        since: int32[N, B], ticks since the latest sample that is told.
    """

    series: NDArray[np.intp]
    part: Bools
    over: Bools
    lasts: Bools
    since: NDArray[np.int32]


class Told:
    """The latest loud time of S series, for as long as a window may hold it."""

    __slots__ = ("_far", "_memory", "_place", "_since")

    def __init__(self, series: int, *, memory: int) -> None:
        """Starts without anything loud.

        Args:
            series: S.
            memory: ticks of the longest window.
        """
        self._memory = memory
        self._since = np.full(series, memory, np.int32)
        self._place = np.full(series, np.nan)
        self._far = np.zeros(series)

    def follow(
        self, loud: Bools, residual: FloatArray | None, expected: FloatArray | None
    ) -> Lately:
        """Takes B ticks in.

        Args:
            loud: bool[S, B].
            residual: float[S, B]; None for a bank without any.
            expected: float[S, B]; None where it is not known, and what is not loud is over.
        """
        series = np.flatnonzero(loud.any(axis=1) | (self._since < self._memory))
        part = loud[series]
        over = ~part
        since = np.empty(part.shape, np.int32)
        if not len(series):
            return Lately(series, part, over, over, since)
        now, place, far = self._since[series], self._place[series], self._far[series]
        for tick in range(loud.shape[1]):
            hit = part[:, tick]
            begins = hit & (now >= self._memory)
            if residual is not None and expected is not None:
                hit |= (now < self._memory) & (np.abs(residual[series, tick]) >= _BACK * far)
            now = np.where(hit, 0, np.minimum(now + 1, self._memory)).astype(np.int32)
            since[:, tick] = now
            if residual is None or expected is None:
                continue
            off, there = residual[series, tick], expected[series, tick]
            place = np.where(begins, there, place)
            far = np.where(hit, np.maximum(np.where(begins, 0.0, far), np.abs(off)), far)
            over[:, tick] &= ~hit & (np.abs(there + off - place) < _BACK * far)
        self._since[series], self._place[series], self._far[series] = now, place, far
        held = since < self._memory
        return Lately(series, part, over & held, ~over & held, since)

    def grow(self, count: int) -> None:
        """Adds `count` series of which nothing loud is known."""
        self._since = np.pad(self._since, (0, count), constant_values=self._memory)
        self._place = np.pad(self._place, (0, count), constant_values=np.nan)
        self._far = np.pad(self._far, (0, count))
