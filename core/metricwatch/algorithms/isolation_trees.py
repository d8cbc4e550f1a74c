"""Isolation trees of many series, grown and walked level by level (Liu, Ting & Zhou 2008).

A tree is a complete binary tree of `DEPTH` levels of cuts on features rounded to eighths of a
standard deviation. Cut i has the children 2i + 1 and 2i + 2. A cut is one number, 16 times the
threshold plus the feature; a window goes right when its feature is above the threshold. A node
that needs no cut has a threshold that nothing is above, so that its windows go left to the end.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.window_features import FloatArray32

SAMPLE = 64
"""Windows that a tree is grown on."""
DEPTH = 6
CUTS = 2**DEPTH - 1
LEAVES = 2**DEPTH
_STEPS = 127 / 16
"""Whole numbers per standard deviation: features within 16 of them fill a signed byte."""
_NOTHING_ABOVE = 127
_DEPTH_STEPS = 16
_EULER = 0.5772156649
_WINDOWS_AT_ONCE = 1 << 17


@cache
def ordinary_depth(size: int) -> float:
    """Returns the mean path length of an unsuccessful search among `size`: c(n) of the paper."""
    if size <= 1:
        return 0.0
    if size == 2:
        return 1.0
    return 2.0 * (math.log(size - 1) + _EULER) - 2.0 * (size - 1) / size


def whole(features: FloatArray32) -> NDArray[np.int8]:
    """Returns features, within `FARTHEST`, as the whole numbers that trees compare."""
    rounded: NDArray[np.int8] = np.rint(features * np.float32(_STEPS)).astype(np.int8)
    return rounded


def path_lengths(
    features: FloatArray32, cuts: NDArray[np.int16], depths: NDArray[np.uint8]
) -> FloatArray:
    """Returns the mean path length of windows in the trees of their series, float64[S, n].

    Args:
        features: float32[S, n, d].
        cuts: int16[S, trees, CUTS].
        depths: uint8[S, trees, LEAVES], path lengths in sixteenths.
    """
    series, count, width = features.shape
    trees = cuts.shape[1]
    samples = whole(features).ravel()
    first = np.arange(series * count, dtype=np.int32).reshape(series, count, 1) * width
    tree = np.arange(series * trees, dtype=np.int32).reshape(series, 1, trees)
    flat = cuts.ravel()
    node = np.zeros((series, count, trees), dtype=np.int32)
    for _ in range(DEPTH):
        code = flat[tree * CUTS + node]
        right = samples[first + (code & 15)] > (code >> 4)
        node = 2 * node + 1 + right
    reached = depths.ravel()[tree * LEAVES + (node - CUTS)]
    mean: FloatArray = reached.sum(axis=2, dtype=np.int64) / (_DEPTH_STEPS * trees)
    return mean


def grow(
    features: FloatArray32,
    clear: NDArray[np.bool_],
    *,
    trees: int,
    seed: int,
    favour: FloatArray | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Returns the trees of S series: cuts int16[S, trees, CUTS], depths uint8[S, trees, LEAVES].

    Chance is the same for every series, so that a series does not depend on its neighbours.

    Args:
        features: float32[S, n, d].
        clear: bool[S, n], windows that may be used.
        trees: trees of each series.
        seed: of the chance.
        favour: float64[d], above 0, how likely a cut is on each feature, in proportion to the
            others (drawn as by Efraimidis & Spirakis 2006); None for all alike.
    """
    if features.shape[1] == 0:
        features = np.zeros((len(features), 1, features.shape[2]), dtype=np.float32)
        clear = np.zeros((len(features), 1), dtype=np.bool_)
    series, _, width = features.shape
    chance = np.random.default_rng(seed)
    # One from each part of the history, so that none comes twice.
    draw = (np.arange(SAMPLE) + chance.random((trees, SAMPLE))) / SAMPLE
    choice = chance.random((trees, CUTS, width + 1))
    if favour is not None:
        choice[..., :width] **= 1.0 / favour
    cuts = np.empty((series, trees, CUTS), dtype=np.int16)
    depths = np.empty((series, trees, LEAVES), dtype=np.uint8)
    usable = np.count_nonzero(clear, axis=1)
    order = np.argsort(~clear, axis=1, kind="stable")
    block = max(1, _WINDOWS_AT_ONCE // (trees * SAMPLE))
    for start in range(0, series, block):
        rows = slice(start, start + block)
        chosen = (draw * usable[rows, None, None]).astype(np.intp).reshape(-1, trees * SAMPLE)
        chosen = np.take_along_axis(order[rows], chosen, axis=1)
        points = np.take_along_axis(whole(features[rows]), chosen[..., None], axis=1)
        cuts[rows], depths[rows] = _grow_block(points.reshape(-1, width), choice)
    return cuts, depths


def _grow_block(
    points: NDArray[np.int8], choice: FloatArray
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Returns cuts [s, trees, CUTS] and depths [s, trees, LEAVES].

    Args:
        points: int8[s * trees * SAMPLE, d], those of a tree together.
        choice: float64[trees, CUTS, d + 1]: which feature each cut would like, and where it cuts.
    """
    trees = len(choice)
    total = len(points) // SAMPLE
    cuts = np.full((total, CUTS), _NOTHING_ABOVE * 16, dtype=np.int16)
    node = np.repeat(np.arange(total), SAMPLE)
    passed = np.zeros(len(points))
    for level in range(DEPTH):
        starts = np.flatnonzero(np.diff(node, prepend=-1))
        low = np.minimum.reduceat(points, starts, axis=0)
        high = np.maximum.reduceat(points, starts, axis=0)
        owner, place = np.divmod(node[starts], 2**level)
        place += 2**level - 1
        luck = choice[owner % trees, place]
        feature = np.where(high > low, luck[:, :-1], -1.0).argmax(axis=1)
        pick = (np.arange(len(starts)), feature)
        span = high[pick].astype(np.int16) - low[pick]
        at = low[pick] + np.floor(luck[:, -1] * span).astype(np.int16)
        at = np.where(span > 0, at, _NOTHING_ABOVE)
        cuts[owner, place] = at * 16 + feature
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(points)))
        right = points[np.arange(len(points)), feature[group]] > at[group]
        node = 2 * node + right
        passed += span[group] > 0
        order = np.argsort(node, kind="stable")
        points, node, passed = points[order], node[order], passed[order]
    size = np.bincount(node, minlength=total * LEAVES)
    length = np.zeros(total * LEAVES)
    length[node] = passed
    length += np.array([ordinary_depth(n) for n in range(SAMPLE + 1)])[size]
    depths = np.rint(length * _DEPTH_STEPS).astype(np.uint8)
    return cuts.reshape(-1, trees, CUTS), depths.reshape(-1, trees, LEAVES)
