"""The latest samples of S series as `subspace_pca` sees them: held, and rid of spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REACH = 50.0
"""How far from its level a sample counts within a window, in scales."""
MEDIAN_OF = 5
_SPIKE = 8.0
"""How far from the median of five a sample may lie and still be believed in a forecast."""

FloatArray32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of consecutive ticks, what was carried first.

    Attributes:
        held: float32[S, N], the latest sample in place of a missing one; NaN before the first.
        believed: float32[S, N], the same without spikes.
        known: bool[S, N], whether there was a sample.
    """

    held: FloatArray32
    believed: FloatArray32
    known: NDArray[np.bool_]


class LatestSamples:
    """The last samples of each series, as many as a window and a median need."""

    __slots__ = ("_believed", "_held", "_jitter", "_known")

    def __init__(self, jitter: FloatArray32, *, width: int) -> None:
        """Starts with nothing known.

        Args:
            jitter: float32[S], how far a sample ordinarily lies from the median of five.
            width: samples of a window.
        """
        carried = (len(jitter), max(width, MEDIAN_OF) - 1)
        self._jitter = jitter
        self._held = np.full(carried, np.nan, dtype=np.float32)
        self._believed = self._held.copy()
        self._known = np.zeros(carried, dtype=np.bool_)

    def extended(self, scaled: FloatArray32) -> Samples:
        """Takes in samples float32[S, T], NaN for none, and returns those carried and them."""
        carried = self._held.shape[1]
        held = np.concatenate([self._held, scaled], axis=1)
        known = np.concatenate([self._known, scaled == scaled], axis=1)
        if not known[:, carried:].all():
            held[:, carried - 1 :] = hold(held[:, carried - 1 :])
        new = held[:, carried:]
        middle = five_medians(held[:, carried - MEDIAN_OF + 1 :])
        within = (_SPIKE * self._jitter)[:, None]
        fresh = np.minimum(np.maximum(new, middle - within), middle + within)
        believed = np.concatenate([self._believed, fresh], axis=1)
        self._held = held[:, -carried:].copy()
        self._believed = believed[:, -carried:].copy()
        self._known = known[:, -carried:].copy()
        return Samples(held=held, believed=believed, known=known)


def hold(samples: FloatArray32) -> FloatArray32:
    """Returns float32[S, T] with the latest sample in place of NaN; NaN before the first."""
    position = np.where(np.isnan(samples), 0, np.arange(samples.shape[1]))
    latest = np.maximum.accumulate(position, axis=1)
    return np.take_along_axis(samples, latest, axis=1)


def five_medians(samples: FloatArray32) -> FloatArray32:
    """Returns the median of every five samples in a row, float32[S, T - 4]; NaN where one is.

    By comparisons alone: of two pairs, the larger of the lower ends and the smaller of the upper
    ends leave three candidates.
    """
    count = samples.shape[1] - MEDIAN_OF + 1
    first, second, third, fourth, fifth = (
        samples[:, offset : offset + count] for offset in range(MEDIAN_OF)
    )
    low = np.maximum(np.minimum(first, second), np.minimum(third, fourth))
    high = np.minimum(np.maximum(first, second), np.maximum(third, fourth))
    lower, upper = np.minimum(low, high), np.maximum(low, high)
    return np.maximum(lower, np.minimum(upper, fifth))
