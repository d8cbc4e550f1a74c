"""How odd things have been lately: all streams together, with memory, to rank and to draw.

An alert is decided tick by tick; a person wants to see which of many series is worst, and for how
long it has been. The largest root mean square of rarities, fading, and a slow mean of it do that.
"""

from __future__ import annotations

import numpy as np

from metricwatch.scoring.tails import Floats32

_FADING = np.float32(0.95)
_SLOW = np.float32(0.02)


class Severity:
    """Fading maximum and slow mean over S series."""

    __slots__ = ("_largest", "_mean")

    def __init__(self, series: int) -> None:
        """Starts calm."""
        self._largest = np.zeros(series, dtype=np.float32)
        self._mean = np.zeros(series, dtype=np.float32)

    def follow(self, rarity: Floats32) -> Floats32:
        """Takes rarities float32[K, S, B] in and returns severities float32[S, B]."""
        squares = rarity * rarity
        if np.isnan(squares).any():
            known = np.maximum((~np.isnan(rarity)).sum(axis=0), 1)
            odd = np.sqrt(np.nansum(squares, axis=0) / known).astype(np.float32)
        else:
            odd = np.sqrt(squares.mean(axis=0))
        severity: Floats32 = np.empty(odd.shape[::-1], dtype=np.float32)
        largest, mean = self._largest, self._mean
        # A tick is a row here: numpy walks a row several times as fast as a column.
        for now, said in zip(np.ascontiguousarray(odd.T), severity, strict=True):
            largest *= _FADING
            np.maximum(largest, now, out=largest)
            now -= mean
            now *= _SLOW
            mean += now
            np.add(largest, mean, out=said)
        return severity.T

    def grow(self, count: int) -> None:
        """Adds `count` calm series."""
        self._largest = np.pad(self._largest, (0, count))
        self._mean = np.pad(self._mean, (0, count))
