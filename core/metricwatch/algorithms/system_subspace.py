"""Where the channels of a system usually move together, and how far a tick is from that.

The leading directions of a robust principal component analysis split a tick in two. Within them
counts how far it goes (Hotelling's T2, 1933), outside of them whether the channels still hang
together (Jackson & Mudholkar 1979): a pressure that rises while its flow falls is nowhere near the
edge of either. What is left of each channel outside is compared with what usually is left of it,
because a channel that the others explain well may say more by a tenth of a deviation than one of
its own by three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import quantiles
from metricwatch.algorithms.system_layout import Layout

MOST_DEVIATION = 20.0
"""Deviations further out count as if they were here, in scales."""
_LEARNED_DEVIATION = 5.0
"""Incidents in the history bend nothing: they teach as if they were here."""
_EXPLAINED = 0.9
_SAMPLES_PER_DIRECTION = 50
_LEAST_VARIANCE = 1e-6
_Q95_TO_SD = 1 / 1.96
_LEAST_REST = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """The leading directions of every system.

    Attributes:
        mean: float64[S], usual deviation of each channel, in scales.
        axes: float32[S, K], the part of each channel in each direction, of unit length over the
            channels of a system; 0 in columns that a system does not need.
        lengths: float32[S, K], standard deviation along each direction times the root of their
            number, the same for all channels of a system, above 0.
        rest: float64[S], usual size of what the directions leave of each channel, in scales.
    """

    mean: FloatArray
    axes: NDArray[np.float32]
    lengths: NDArray[np.float32]
    rest: FloatArray


def learn_subspace(deviations: FloatArray, layout: Layout, *, directions: int) -> Subspace:
    """Returns as many directions as explain 0.9 of each system's variance.

    At most one for 50 samples, so that short histories give few.

    Args:
        deviations: float64[S, T], in scales, NaN where there is no sample.
        layout: the systems.
        directions: most of them, K.
    """
    series = len(deviations)
    bounded = np.clip(deviations, -_LEARNED_DEVIATION, _LEARNED_DEVIATION)
    count = np.count_nonzero(~np.isnan(bounded), axis=1)
    mean = np.nan_to_num(bounded).sum(axis=1) / np.maximum(count, 1)
    centred = np.nan_to_num(bounded - mean[:, None])
    axes = np.zeros((series, directions), dtype=np.float32)
    lengths = np.ones((series, directions), dtype=np.float32)
    for batch in layout.batches:
        for channels in batch.channels:
            most = max(1, int(count[channels].max()) // _SAMPLES_PER_DIRECTION)
            # As many directions as channels would leave no relation between them to look at.
            most = min(directions, most, max(1, len(channels) - 1))
            found, variances = _directions(centred[channels], most)
            axes[channels, : len(variances)] = found
            lengths[channels, : len(variances)] = np.sqrt(variances * len(variances))
    unknown = Subspace(mean=mean, axes=axes, lengths=lengths, rest=np.ones(series))
    left = split(deviations, unknown, layout)[1]
    usual = np.nan_to_num(_Q95_TO_SD * quantiles(np.abs(left), 0.95)[0])
    return Subspace(mean=mean, axes=axes, lengths=lengths, rest=np.maximum(usual, _LEAST_REST))


def _directions(centred: FloatArray, most: int) -> tuple[FloatArray, FloatArray]:
    """Returns axes float64[C, k] and variances float64[k], largest first."""
    covariance = centred @ centred.T / max(centred.shape[1], 1)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1], axes[:, ::-1]
    explained = np.cumsum(variances)
    enough = int(np.searchsorted(explained, _EXPLAINED * explained[-1])) + 1
    count = min(enough, most, int(np.count_nonzero(variances > _LEAST_VARIANCE)))
    return axes[:, :count], variances[:count]


def split(
    deviations: FloatArray, subspace: Subspace, layout: Layout
) -> tuple[FloatArray, FloatArray]:
    """Returns how far each system goes within its directions, and what they leave.

    Args:
        deviations: float64[S, T], in scales; a missing channel counts as usual.
        subspace: of the systems.
        layout: the systems.

    Returns:
        float64[G, T], the root of Hotelling's T2 over the number of directions; and float64[S, T],
        the residual of each channel in its usual size, NaN where it is missing.
    """
    bounded = np.clip(deviations, -MOST_DEVIATION, MOST_DEVIATION) - subspace.mean[:, None]
    centred = np.nan_to_num(bounded)
    within = np.empty((layout.systems, deviations.shape[1]))
    left = np.empty_like(bounded)
    for batch in layout.batches:
        axes = subspace.axes[batch.channels].astype(np.float64)
        along = axes.transpose(0, 2, 1) @ centred[batch.channels]
        left[batch.channels] = bounded[batch.channels] - axes @ along
        along /= subspace.lengths[batch.channels[:, 0]][:, :, None]
        within[batch.systems] = np.sqrt((along**2).sum(axis=1))
    return within, left / subspace.rest[:, None]


def distance(deviations: FloatArray, layout: Layout) -> FloatArray:
    """Returns float64[G, T], the root mean square over the channels that are there.

    Args:
        deviations: float64[S, T], NaN where a channel is missing.
        layout: the systems.
    """
    squares = np.minimum(np.abs(deviations), MOST_DEVIATION) ** 2
    result = np.empty((layout.systems, deviations.shape[1]))
    for batch in layout.batches:
        own = squares[batch.channels]
        known = np.count_nonzero(~np.isnan(own), axis=1)
        result[batch.systems] = np.sqrt(np.nan_to_num(own).sum(axis=1) / np.maximum(known, 1))
    return result
