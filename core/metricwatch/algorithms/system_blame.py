"""From how rare each channel is to how odd their system is, and to whom that is due.

A few channels out of many move in an incident. The mean of all of them hides that, and the rarest
one alone is odd all the time when there are many. Between the two lies a mean of the channels in
the order of their rarity with weights that fall by a fixed factor from rank to rank: it reads the
same for 2 channels as for 200 and needs no number of channels that must be odd.
"""

from __future__ import annotations

import numpy as np

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.system_layout import Layout

_WEIGHT_OF_NEXT = 0.7
_RANKS = 16
"""What comes after weighs less than 0.4 % together."""


def rarest(rarities: FloatArray, layout: Layout) -> FloatArray:
    """Returns float64[G, T], the weighted mean over the rarest channels of each system.

    Args:
        rarities: float64[S, T], no NaN.
        layout: the systems.
    """
    result = np.empty((layout.systems, rarities.shape[1]))
    for batch in layout.batches:
        ranks = min(batch.channels.shape[1], _RANKS)
        weights = _WEIGHT_OF_NEXT ** np.arange(ranks, dtype=np.float64)
        own = -rarities[batch.channels]
        if ranks < own.shape[1]:
            own = np.partition(own, ranks - 1, axis=1)[:, :ranks]
        ordered = -np.sort(own, axis=1)
        result[batch.systems] = np.einsum("r,grt->gt", weights / weights.sum(), ordered)
    return result
