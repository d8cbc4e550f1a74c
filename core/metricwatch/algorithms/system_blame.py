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


def blame_of(deviations: FloatArray, rarities: FloatArray, left: FloatArray) -> FloatArray:
    """Returns float64[S, T], how much each channel has to do with what is odd, 0 where missing.

    How rare it is by its own past, and to a lesser degree how large: among channels that are all
    as rare as can be, the one that moved furthest comes first, and one that only fails to follow
    the others is named too. The contribution to the residual alone blames channels that merely
    share a direction with the culprit (smearing; Alcala & Qin 2009).

    Args:
        deviations: float64[S, T], in scales.
        rarities: float64[2, S, T], of deviations and of jumps.
        left: float64[S, T], what the directions of the system leave of each channel.
    """
    sizes = np.log1p(np.abs(deviations)) + np.log1p(np.abs(left))
    return np.asarray(np.nan_to_num(rarities).sum(axis=0) + np.nan_to_num(sizes))
