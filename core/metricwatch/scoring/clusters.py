"""Clusters of large sizes: what comes soon after another is the same event, and counts once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats32 = NDArray[np.float32]
Peaks = list[tuple[Bools, Floats32]]


def follow_clusters(
    large: Bools, height: Floats32, *, peak: Floats32, since: NDArray[np.int32], gap: int
) -> Peaks:
    """Follows the clusters of any number of series through B ticks.

    Args:
        large: bool[..., B].
        height: float32[..., B], above 0 where large.
        peak: float32[...], largest height of the cluster that is open, 0 without one; changed in
            place.
        since: int32[...], ticks since the last large one; changed in place.
        gap: ticks without a large one that end a cluster.

    Returns:
        The peaks of the clusters that ended, the first of each series and then the next: where one
        did, bool[...], and how high it was, float32[...].
    """
    if not large.any() and not peak.any():
        since += large.shape[-1]
        return []
    if large.shape[-1] == 1:
        return _follow_tick(large[..., 0], height[..., 0], peak, since, gap)
    at = np.arange(large.shape[-1])
    last = np.where(large, at, -1 - since[..., None])
    np.maximum.accumulate(last, axis=-1, out=last)
    ends = (at - last == gap) & ((last >= 0) | (peak > 0)[..., None])
    since[...] = at[-1] - last[..., -1]
    height = np.where(large, height, np.float32(0))
    if not ends.any():
        np.maximum(peak, height.max(axis=-1), out=peak)
        return []
    return _cut(height, ends, peak)


def _follow_tick(
    large: Bools, height: Floats32, peak: Floats32, since: NDArray[np.int32], gap: int
) -> Peaks:
    np.maximum(peak, height, out=peak, where=large)
    since += 1
    since[large] = 0
    ended = (since == gap) & (peak > 0)
    if not ended.any():
        return []
    high = peak.copy()
    peak[ended] = 0.0
    return [(ended, high)]


def _cut(height: Floats32, ends: Bools, peak: Floats32) -> Peaks:
    """Cuts spans where clusters end; what is left is the cluster that is open."""
    before: NDArray[Any] = ends.cumsum(axis=-1)
    count = before[..., -1]
    peaks: Peaks = []
    for number in range(int(count.max()) + 1):
        own = np.where(before == number, height, np.float32(0))
        np.maximum(peak, own.max(axis=-1), out=peak)
        ended = count > number
        if ended.any():
            peaks.append((ended, peak.copy()))
            peak[ended] = 0.0
    return peaks
