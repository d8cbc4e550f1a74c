"""Isolation forest on window features: how few random cuts separate a window from ordinary ones.

A small forest for each series (Liu, Ting & Zhou 2008): trees on 64 windows each, six cuts deep,
stored as complete binary trees of whole numbers. A forest cannot tell far from very far, because
whatever lies beyond all its cuts falls into the same leaves; so the distance outside the range of
the history is added, in doublings.
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
from metricwatch.algorithms.isolation_trees import (
    CUTS,
    LEAVES,
    SAMPLE,
    grow,
    ordinary_depth,
    path_lengths,
)
from metricwatch.algorithms.robust import quantiles
from metricwatch.algorithms.window_bank import (
    WindowBank,
    joined_scales,
    learned_length,
    lessons,
)
from metricwatch.algorithms.window_features import FARTHEST, FEATURES, FloatArray32
from metricwatch.algorithms.windows import LEAST_WINDOW, Windows, restore_windows
from metricwatch.resources.algorithm import IsolationForestParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_WITHIN = 0.02
_FAVOUR = np.array([3.0 if name in ("departure", "latest_level") else 1.0 for name in FEATURES])
"""Cuts fall three times as often where the newest samples are: ten features of shape drown the few
of level, and what people label is mostly a level (recorded KPIs: area under the precision-recall
curve 0.28 instead of 0.23, other sets unchanged)."""
_MOST_TREES = 256


class IsolationForestBank(WindowBank):
    """S forests and the range of ordinary features of each series."""

    family = "isolationForest"
    streams = (Stream("isolation", Horizon.LONG, signed=False),)

    def __init__(
        self,
        windows: Windows,
        *,
        cuts: NDArray[np.int16],
        depths: NDArray[np.uint8],
        low: FloatArray32,
        high: FloatArray32,
    ) -> None:
        """Takes parameters over.

        Args:
            windows: of S series.
            cuts: int16[S, trees, 63], see `isolation_trees`.
            depths: uint8[S, trees, 64], path length of each leaf.
            low: float32[S, d], below which a feature is outside its range.
            high: float32[S, d], above which it is.
        """
        super().__init__(windows)
        self._cuts = cuts
        self._depths = depths
        self._low = low
        self._high = high

    def oddness(self, features: FloatArray32) -> FloatArray:
        """Returns cuts saved against an ordinary window, and doublings of the distance outside."""
        depth = path_lengths(features, self._cuts, self._depths)
        outside = np.maximum(self._low[:, None] - features, features - self._high[:, None])
        far = np.maximum(outside, 0).sum(axis=-1, dtype=np.float64)
        odd: FloatArray = np.maximum(ordinary_depth(SAMPLE) - depth, 0.0) + np.log2(1.0 + far)
        return odd

    def header(self) -> dict[str, Any]:
        """Returns the shape of windows and forests."""
        return {**self.windows.header(), "trees": self._cuts.shape[1]}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        return {
            **self.windows.tensors(),
            "cuts": self._cuts,
            "depths": self._depths,
            "low": self._low,
            "high": self._high,
        }


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
) -> IsolationForestBank:
    """Returns a forest for each series, grown on windows of its history."""
    del scaling, labels  # features have scales of their own
    check_history(values, grid)
    own = own_parameters(IsolationForestParameters, parameters)
    length = learned_length(values, grid, own.window)
    scales, low, high = [], [], []
    cuts: list[NDArray[np.int16]] = []
    depths: list[NDArray[np.uint8]] = []
    for lesson in lessons(
        values,
        grid,
        length=length,
        family=IsolationForestBank.family,
        progress=progress,
        should_stop=should_stop,
    ):
        scales.append(lesson.scales)
        grown = grow(lesson.features, lesson.clear, trees=own.trees, seed=seed, favour=_FAVOUR)
        cuts.append(grown[0])
        depths.append(grown[1])
        clear = np.where(lesson.clear[..., None], lesson.features, np.nan)
        below, above = quantiles(clear.transpose(0, 2, 1), _WITHIN, 1.0 - _WITHIN)
        low.append(np.nan_to_num(below, nan=-FARTHEST).astype(np.float32))
        high.append(np.nan_to_num(above, nan=FARTHEST).astype(np.float32))
    return IsolationForestBank(
        Windows(joined_scales(scales), step=grid.step, length=length),
        cuts=np.concatenate(cuts),
        depths=np.concatenate(depths),
        low=np.concatenate(low),
        high=np.concatenate(high),
    )


def restore(header: Header, tensors: Tensors) -> IsolationForestBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    windows = restore_windows(header, tensors, lagged=False)
    trees = header.get("trees")
    if not isinstance(trees, int) or not 1 <= trees <= _MOST_TREES:
        raise ValueError(f"trees is {trees!r}, expected 1 to {_MOST_TREES}")
    series, width = windows.series, windows.width
    cuts = take_tensor(tensors, "cuts", (series, trees, CUTS), np.int16)
    if (cuts & 15 >= width).any():
        raise ValueError(f"tensor cuts names features beyond the {width} there are")
    return IsolationForestBank(
        windows,
        cuts=cuts,
        depths=take_tensor(tensors, "depths", (series, trees, LEAVES), np.uint8),
        low=take_tensor(tensors, "low", (series, width), np.float32),
        high=take_tensor(tensors, "high", (series, width), np.float32),
    )


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns twice the windows that a tree is grown on, of the least length."""
    own_parameters(IsolationForestParameters, parameters)
    return 2 * SAMPLE + LEAST_WINDOW


def search(suggest: Suggest) -> IsolationForestParameters:
    """Returns parameters to try."""
    return IsolationForestParameters(
        window=suggest.suggest_categorical("window", [None, 16, 32, 64, 128]),
        trees=suggest.suggest_categorical("trees", [8, 16, 24, 32]),
    )


ISOLATION_FOREST = Family(
    name="isolationForest",
    parameters=IsolationForestParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
