"""What the families that learn from labels have in common.

Labelled anomalies are few, so the windows of all series of a bank teach one model: features are
standardised for each series before that. What it answers to a window is a margin, above zero where
it looks like the labelled ones. How far that is above what the series' own unlabelled history
gives is the evidence, so that a series on which the model is always a little alarmed is not
alarming.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    FloatArray,
    Header,
    Horizon,
    Report,
    ShouldStop,
    Stream,
    Tensors,
    take_tensor,
)
from metricwatch.algorithms.robust import median
from metricwatch.algorithms.window_bank import (
    Lesson,
    WindowBank,
    joined_scales,
    learned_length,
    lessons,
)
from metricwatch.algorithms.window_features import FloatArray32
from metricwatch.algorithms.windows import LEAST_WINDOW, Scales, Windows, restore_windows
from metricwatch.series import Grid

MARGIN = Stream("margin", Horizon.SHORT, signed=False)
"""Short, although windows are looked at: labels say of each sample whether it was anomalous."""
_WINDOW = 16
"""Short: labels are of single samples, and a long window still holds an incident when it is over
(recorded KPIs: area under the precision-recall curve 0.30 with 16 samples, 0.25 with 64)."""
_MOST_POSITIVE = 50_000
_MOST_NEGATIVE = 100_000
_NEGATIVES_EACH = 20
_FEWEST_NEGATIVE = 20_000
_ORDINARY_WINDOWS = 256


class LabelledBank(WindowBank):
    """S series judged by one model."""

    streams = (MARGIN,)
    shared_tensors: ClassVar[frozenset[str]]
    """Tensors that are the model's: their first axis is 1, whatever S is."""

    def __init__(self, windows: Windows, ordinary: FloatArray32) -> None:
        """Takes parameters over.

        Args:
            windows: of S series.
            ordinary: float32[S], margin of an ordinary window of each series.
        """
        super().__init__(windows)
        self.ordinary = ordinary

    @abstractmethod
    def margin(self, features: FloatArray32) -> FloatArray:
        """Returns how much windows look like labelled ones, float64[n].

        Args:
            features: float32[n, d].
        """

    def oddness(self, features: FloatArray32) -> FloatArray:
        """Returns by how much the margin is above the ordinary one of the series."""
        series, count, width = features.shape
        margin = self.margin(features.reshape(-1, width)).reshape(series, count)
        return np.maximum(margin - self.ordinary[:, None], 0.0)

    def header(self) -> dict[str, Any]:
        """Returns the shape of the windows."""
        return self.windows.header()

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns scales and ordinary margins of the series; the model comes on top."""
        return {**self.windows.tensors(), "ordinary": self.ordinary}


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What a model is taught with.

    Attributes:
        windows: of the bank, fresh.
        features: float32[n, d], of windows of all series.
        anomalous: bool[n].
        weight: float64[n]: both classes weigh the same, 0.5 n each.
        unlabelled: float32[S, m, d], some windows of each series.
        known: bool[S, m], which of those say something and are not labelled.
    """

    windows: Windows
    features: FloatArray32
    anomalous: NDArray[np.bool_]
    weight: FloatArray
    unlabelled: FloatArray32
    known: NDArray[np.bool_]

    def ordinary(self, margin: Callable[[FloatArray32], FloatArray]) -> FloatArray32:
        """Returns the median margin of the unlabelled windows of each series, float32[S]."""
        series, count, width = self.unlabelled.shape
        answers = margin(self.unlabelled.reshape(-1, width)).reshape(series, count)
        middle = median(np.where(self.known, answers, np.nan))
        return np.nan_to_num(middle).astype(np.float32)


def examples(
    values: FloatArray,
    grid: Grid,
    labels: NDArray[np.bool_] | None,
    *,
    window: int | None,
    family: str,
    seed: int,
    progress: Report | None,
    should_stop: ShouldStop | None,
) -> Examples:
    """Returns windows of all series with their labels: every labelled one, some of the others.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        labels: bool[S, T].
        window: samples in a window, None for the default.
        family: whose fit it is.
        seed: of which unlabelled windows are taken.
        progress: called after every block of series.
        should_stop: asked before every block of series.

    Raises:
        FitStopped: `should_stop` returned true.
        ValueError: the labels have another shape, or no window is labelled.
    """
    if labels is not None and labels.shape != values.shape:
        raise ValueError(f"labels have shape {labels.shape}, history has {values.shape}")
    if labels is None or not labels.any():
        raise _no_labels(family)
    length = learned_length(values, grid, window or _WINDOW)
    chance = np.random.default_rng(seed)
    taken = _shares(labels)
    parts = [
        _part(lesson, labels[lesson.rows], taken, chance)
        for lesson in lessons(
            values,
            grid,
            length=length,
            lagged=True,
            every=True,
            family=family,
            progress=progress,
            should_stop=should_stop,
        )
    ]
    anomalous = np.concatenate([part.anomalous for part in parts])
    if not anomalous.any():
        raise _no_labels(family)
    positive = int(anomalous.sum())
    negative = max(len(anomalous) - positive, 1)
    return Examples(
        windows=Windows(
            joined_scales([part.scales for part in parts]), step=grid.step, length=length
        ),
        features=np.concatenate([part.features for part in parts]),
        anomalous=anomalous,
        weight=np.where(anomalous, 0.5 / positive, 0.5 / negative) * len(anomalous),
        unlabelled=np.concatenate([part.unlabelled for part in parts]),
        known=np.concatenate([part.known for part in parts]),
    )


def restore_labelled(header: Header, tensors: Tensors) -> tuple[Windows, FloatArray32]:
    """Returns windows and ordinary margins of a stored bank.

    Raises:
        ValueError: they do not fit together.
    """
    windows = restore_windows(header, tensors, lagged=True)
    return windows, take_tensor(tensors, "ordinary", (windows.series,), np.float32)


def minimum_labelled_samples() -> int:
    """Returns what scales of features take; how many labels it takes depends on the anomalies."""
    return 16 * LEAST_WINDOW


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Examples of a block of series."""

    scales: Scales
    features: FloatArray32
    anomalous: NDArray[np.bool_]
    unlabelled: FloatArray32
    known: NDArray[np.bool_]


def _part(
    lesson: Lesson,
    labels: NDArray[np.bool_],
    taken: tuple[float, float],
    chance: np.random.Generator,
) -> _Part:
    label = labels[:, lesson.at]
    luck = chance.random(label.shape)
    chosen = lesson.clear & (luck < np.where(label, *taken))
    some = slice(None, None, max(1, len(lesson.at) // _ORDINARY_WINDOWS))
    return _Part(
        scales=lesson.scales,
        features=lesson.features[chosen],
        anomalous=label[chosen],
        unlabelled=lesson.features[:, some].copy(),
        known=(lesson.clear & ~label)[:, some],
    )


def _shares(labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Returns which share of the labelled and of the other samples become examples."""
    positive = int(labels.sum())
    wanted = min(_MOST_NEGATIVE, max(_FEWEST_NEGATIVE, _NEGATIVES_EACH * positive))
    negative = max(labels.size - positive, 1)
    return min(1.0, _MOST_POSITIVE / positive), min(1.0, wanted / negative)


def _no_labels(family: str) -> ValueError:
    return ValueError(
        f"{family} learns from labelled anomalies and the history has none that it could use: "
        "let it cover recorded anomalies, give a column of labels, or choose a family that needs "
        "none, such as auto"
    )
