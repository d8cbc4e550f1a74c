"""How far one sample may pull a carried state.

A spike that enters a state unclipped comes back as an echo in the next predictions; a state that
never moves by more than a few deviations never accepts a new level. So the bound on one innovation
doubles with every sample in a row that passes it and halves with every one that does not: a spike
is cut, a level a thousand deviations away is accepted within some eight samples.
"""

from __future__ import annotations

import numpy as np

from metricwatch.algorithms.base import FloatArray

_MOST_DOUBLINGS = 60


class Winsor:
    """Growing bounds for the innovations of S series (after Huber 1964; Tukey's winsorising)."""

    __slots__ = ("_doublings", "_limit")

    def __init__(self, series: int, *, limit: float) -> None:
        """Starts with every bound at `limit` scales."""
        self._limit = limit
        self._doublings = np.zeros(series, dtype=np.int32)

    def clip(self, innovation: FloatArray, scale: FloatArray) -> FloatArray:
        """Returns the innovations within their bounds and moves the bounds; NaN gives 0.

        Args:
            innovation: float64[S].
            scale: float64[S], size of an ordinary innovation.
        """
        bound = np.ldexp(self._limit * scale, self._doublings)
        known = ~np.isnan(innovation)
        pull = np.where(known, innovation, 0.0)
        beyond = np.abs(pull) > bound
        change = np.where(beyond, 1, -1) * known
        np.clip(self._doublings + change, 0, _MOST_DOUBLINGS, out=self._doublings)
        return np.clip(pull, -bound, bound)

    def grow(self, count: int) -> None:
        """Adds `count` series."""
        self._doublings = np.concatenate([self._doublings, np.zeros(count, dtype=np.int32)])
