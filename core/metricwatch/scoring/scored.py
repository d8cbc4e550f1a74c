"""What a scoring says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.scoring.tails import Bools, Floats32


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What a span of B ticks of S series says.

    Attributes:
        rarity: float64[S, B], -log10 of the share of intervals in which an ordinary series is so
            odd; NaN where nothing can be said.
        severity: float32[S, B], how odd things have been lately, over all streams: for ranking,
            never for alerts.
        side: int8[S, B], 1 too high, -1 too low, 0 odd without a direction.
        long: bool[S, B], many samples together are odd rather than the newest one.
    """

    rarity: FloatArray
    severity: Floats32
    side: NDArray[np.int8]
    long: Bools
