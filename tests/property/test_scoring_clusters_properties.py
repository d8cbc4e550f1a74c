"""Clusters followed through spans of any length: what going tick by tick gives."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from metricwatch.scoring.clusters import follow_clusters

GAP = 4
Ended = list[tuple[int, float]]
HEIGHTS = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.5, 2.0, np.nan])


def one_by_one(heights: np.ndarray) -> Ended:
    """The clusters of one series that ended, each by its last tick and its peak."""
    ended: Ended = []
    peak, since = 0.0, GAP
    for tick, height in enumerate(heights.tolist()):
        large = height > 0
        since = 0 if large else since + 1
        peak = max(peak, height) if large else peak
        if since == GAP and peak:
            ended.append((tick, peak))
            peak = 0.0
    return ended


@settings(deadline=None)
@given(
    heights=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=HEIGHTS
    ),
    data=st.data(),
)
def test_every_cluster_ends_once_with_its_peak(heights: np.ndarray, data: st.DataObject) -> None:
    series, ticks = heights.shape
    cuts = data.draw(st.sets(st.integers(1, ticks))) - {ticks}
    peak, since = np.zeros(series, np.float32), np.full(series, GAP, np.int32)
    found: list[list[float]] = [[] for _ in range(series)]
    for first, end in itertools.pairwise([0, *sorted(cuts), ticks]):
        part = heights[:, first:end]
        for ended, high in follow_clusters(part > 0, part, peak=peak, since=since, gap=GAP):
            for row in np.flatnonzero(ended).tolist():
                found[row].append(float(high[row]))
        for row in range(series):
            so_far = one_by_one(heights[row, :end])
            assert found[row] == [high for _, high in so_far]
            large = np.flatnonzero(heights[row, :end] > 0)
            assert since[row] == (end - 1 - large[-1] if len(large) else GAP + end)
            after = large[large > so_far[-1][0]] if so_far else large
            assert peak[row] == max(heights[row, after], default=0.0)
