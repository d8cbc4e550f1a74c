"""Distance of a window to the nearest of the ordinary kinds of windows of its series.

The kinds are the centres of k-means on window features (Lloyd 1982), seeded far apart (k-means++,
Arthur & Vassilvitskii 2007), while the windows farthest from every centre move none (k-means--,
Chawla & Gionis 2013): an incident in the history gets no centre of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    Family,
    FloatArray,
    Header,
    Horizon,
    Report,
    ShouldStop,
    Stream,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.robust import quantiles
from metricwatch.algorithms.window_bank import (
    WindowBank,
    joined_scales,
    learned_length,
    lessons,
)
from metricwatch.algorithms.window_features import FloatArray32
from metricwatch.algorithms.windows import LEAST_WINDOW, Windows, restore_windows
from metricwatch.resources.algorithm import KmeansParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_MOST_CHOSEN = 8
_MOST_CLUSTERS = 32
_WINDOWS_A_CLUSTER = 8
_PASSES = 12
_ELEMENTS_AT_ONCE = 1 << 20


class KmeansBank(WindowBank):
    """Centres of S series."""

    family = "kmeans"
    streams = (Stream("distance", Horizon.LONG, signed=False),)

    def __init__(self, windows: Windows, centres: FloatArray32) -> None:
        """Takes parameters over.

        Args:
            windows: of S series.
            centres: float32[S, k, d], in standardised features.
        """
        super().__init__(windows)
        self._centres = centres

    def oddness(self, features: FloatArray32) -> FloatArray:
        """Returns the distance to the nearest centre, as root mean square over the features."""
        nearest = np.full(features.shape[:2], np.inf, dtype=np.float32)
        for cluster in range(self._centres.shape[1]):
            difference = features - self._centres[:, cluster, None]
            np.minimum(nearest, np.vecdot(difference, difference), out=nearest)
        distance: FloatArray = np.sqrt(nearest / features.shape[2], dtype=np.float64)
        return distance

    def header(self) -> dict[str, Any]:
        """Returns the shape of windows and centres."""
        return {**self.windows.header(), "clusters": self._centres.shape[1]}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        return {**self.windows.tensors(), "centres": self._centres}


def fit(
    values: FloatArray,
    grid: Grid,
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    labels: NDArray[np.bool_] | None = None,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> KmeansBank:
    """Returns the centres of every series."""
    del scaling, labels  # features have scales of their own
    check_history(values, grid)
    own = own_parameters(KmeansParameters, parameters)
    length = learned_length(values, grid, own.window)
    clusters = own.clusters or _cluster_count(grid.count, length)
    scales, centres = [], []
    for lesson in lessons(
        values,
        grid,
        length=length,
        family=KmeansBank.family,
        progress=progress,
        should_stop=should_stop,
    ):
        scales.append(lesson.scales)
        found = find_centres(
            lesson.features, lesson.clear, clusters=clusters, trim=own.trim, seed=seed
        )
        centres.append(found)
    windows = Windows(joined_scales(scales), step=grid.step, length=length)
    return KmeansBank(windows, np.concatenate(centres))


def find_centres(
    features: FloatArray32,
    clear: NDArray[np.bool_],
    *,
    clusters: int,
    trim: float,
    seed: int,
) -> FloatArray32:
    """Returns the centres of S series, float32[S, k, d]; zeros for a series without windows.

    Chance is the same for every series, so that a series does not depend on its neighbours.

    Args:
        features: float32[S, n, d].
        clear: bool[S, n], windows that count.
        clusters: k.
        trim: share of the windows, the farthest, that moves no centre.
        seed: of the chance.
    """
    series, count, width = features.shape
    centres = np.zeros((series, clusters, width), dtype=np.float32)
    if count == 0:
        return centres
    chance = np.random.default_rng(seed).random(clusters)
    block = max(1, _ELEMENTS_AT_ONCE // (count * max(width, clusters)))
    for first in range(0, series, block):
        rows = slice(first, first + block)
        points, weight = features[rows], clear[rows].astype(np.float32)
        centre = _seeds(points, weight, chance, trim)
        for _ in range(_PASSES):
            centre = _moved(points, weight, centre, trim)
        centres[rows] = centre
    return centres


def _seeds(
    points: FloatArray32, weight: FloatArray32, chance: FloatArray, trim: float
) -> FloatArray32:
    """Returns first centres, each drawn by its squared distance from those before it."""
    series = np.arange(len(points))
    pull = weight
    chosen = []
    for luck in chance:
        total = np.cumsum(pull, axis=1, dtype=np.float64)
        index = (total < luck * total[:, -1:]).sum(axis=1)
        chosen.append(points[series, np.minimum(index, points.shape[1] - 1)])
        nearest = _squares(points, np.stack(chosen, axis=1)).min(axis=2)
        pull = weight * np.minimum(nearest, _edge(nearest, weight, trim)[:, None])
    centres: FloatArray32 = np.stack(chosen, axis=1)
    centres *= (weight.sum(axis=1) > 0)[:, None, None]
    return centres


def _moved(
    points: FloatArray32, weight: FloatArray32, centres: FloatArray32, trim: float
) -> FloatArray32:
    """Returns centres in the middle of the windows nearest to them, the farthest left out."""
    squares = _squares(points, centres)
    nearest = squares.min(axis=2)
    counted = weight * (nearest <= _edge(nearest, weight, trim)[:, None])
    member = (squares.argmin(axis=2)[..., None] == np.arange(centres.shape[1])) * counted[
        ..., None
    ]
    size = member.sum(axis=1)[..., None]
    middle = member.transpose(0, 2, 1) @ points / np.maximum(size, 1)
    return np.where(size > 0, middle, centres).astype(np.float32)


def _squares(points: FloatArray32, centres: FloatArray32) -> FloatArray32:
    """Returns squared distances float32[s, n, k]."""
    product = points @ centres.transpose(0, 2, 1)
    own = np.vecdot(points, points)[..., None] + np.vecdot(centres, centres)[:, None]
    squares: FloatArray32 = np.maximum(own - 2 * product, 0)
    return squares


def _edge(squares: FloatArray32, weight: FloatArray32, trim: float) -> FloatArray:
    """Returns the squared distance that a share of `trim` of the windows is beyond."""
    counted = np.where(weight > 0, squares, np.nan).astype(np.float64)
    return np.nan_to_num(quantiles(counted, 1.0 - trim)[0])


def _cluster_count(ticks: int, length: int) -> int:
    """Returns k: one for each eight windows side by side, 1 to 8."""
    return min(_MOST_CHOSEN, max(1, ticks // (_WINDOWS_A_CLUSTER * length)))


def restore(header: Header, tensors: Tensors) -> KmeansBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    windows = restore_windows(header, tensors, lagged=False)
    clusters = header.get("clusters")
    if not isinstance(clusters, int) or not 1 <= clusters <= _MOST_CLUSTERS:
        raise ValueError(f"clusters is {clusters!r}, expected 1 to {_MOST_CLUSTERS}")
    shape = (windows.series, clusters, windows.width)
    return KmeansBank(windows, take_tensor(tensors, "centres", shape, np.float32))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns enough samples for eight windows of the least length side by side."""
    own_parameters(KmeansParameters, parameters)
    return 2 * _WINDOWS_A_CLUSTER * LEAST_WINDOW


def search(suggest: Suggest) -> KmeansParameters:
    """Returns parameters to try."""
    return KmeansParameters(
        window=suggest.suggest_categorical("window", [None, 16, 32, 64, 128]),
        clusters=suggest.suggest_int("clusters", 1, 16, log=True),
        trim=suggest.suggest_float("trim", 0.0, 0.2),
    )


KMEANS = Family(
    name="kmeans",
    parameters=KmeansParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
