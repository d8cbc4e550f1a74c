"""What may become normal: no anomaly, unless it has lasted for most of a day."""

from __future__ import annotations

import math

import numpy as np

from metricwatch.scoring.tails import Bools

_DAY = 86_400
_NEW_NORMAL_SHARE = 0.5


class Teaching:
    """For how long S series have been abnormal."""

    __slots__ = ("_abnormal_share", "_rate")

    def __init__(self, series: int, *, step: int) -> None:
        """Starts with nothing abnormal; `step` seconds lie between samples."""
        self._rate = math.log(2.0) * min(1.0, step / _DAY)
        self._abnormal_share = np.zeros(series)

    def taught(self, known: Bools, excluded: Bools) -> Bools:
        """Returns what may become normal, bool[S, B], and notes for how long it may not.

        Args:
            known: bool[S, B], where there is evidence.
            excluded: bool[S, B], what belongs to an anomaly.
        """
        if not excluded.any() and not self._abnormal_share.any():
            return np.asarray(~excluded)
        taught = np.empty_like(excluded)
        for tick in range(excluded.shape[1]):
            out = excluded[:, tick]
            self._abnormal_share += self._rate * known[:, tick] * (out - self._abnormal_share)
            taught[:, tick] = ~out | (self._abnormal_share >= _NEW_NORMAL_SHARE)
        self._abnormal_share[self._abnormal_share < self._rate / 100] = 0.0
        return taught

    def grow(self, count: int) -> None:
        """Adds `count` series that have never been abnormal."""
        self._abnormal_share = np.pad(self._abnormal_share, (0, count))
