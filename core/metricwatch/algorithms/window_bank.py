"""What the families on window features have in common: learning the windows, and stepping them.

Such a family says how odd the features of a window are. Everything else is here: a history is
turned into standardised features, and a bank advances its windows and asks for their oddness.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    FitStopped,
    FloatArray,
    Prediction,
    Progress,
    Report,
    ShouldStop,
    Stream,
)
from metricwatch.algorithms.robust import spread, value_step
from metricwatch.algorithms.scaling import centre_and_scale
from metricwatch.algorithms.window_features import (
    FARTHEST,
    FEATURES,
    LAGS,
    FloatArray32,
    standard,
)
from metricwatch.algorithms.windows import RECENT, Scales, Windows, trailing_median, window_length
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

MOST_WINDOWS = 1024
"""Windows of a series that scales, trees and centres are learned from."""
_LEAST_TYPICAL = 1e-6
_SAMPLES_AT_ONCE = 1 << 20


class WindowBank(ABC):
    """S series whose latest windows are judged; a family says how odd features are."""

    family: ClassVar[str]
    streams: ClassVar[tuple[Stream, ...]]

    def __init__(self, windows: Windows) -> None:
        """Takes the windows over."""
        self.windows = windows

    @property
    def series(self) -> int:
        """S."""
        return self.windows.series

    @property
    def warmup(self) -> int:
        """What the windows and their baseline look back on."""
        return self.windows.warmup

    @abstractmethod
    def oddness(self, features: FloatArray32) -> FloatArray:
        """Returns how odd windows are, float64[S, n], 0 or more.

        Args:
            features: float32[S, n, d], standardised, without NaN.
        """

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Returns what `restore` needs besides tensors, as JSON values."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters, without the carried state."""

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        one = self.backtest(Grid(start=time, step=self.windows.step, count=1), values[:, None])
        return Prediction(one.expected[:, 0], one.residual[:, 0], one.evidence[..., 0])

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives, many ticks at once."""
        expected = np.empty_like(values)
        evidence = np.empty((1, *values.shape))
        for piece in self.windows.pieces(grid.count):
            time = grid.start + piece.start * grid.step
            expected[:, piece], look = self.windows.advance(time, values[:, piece])
            odd = self.oddness(look.features)
            evidence[0, :, piece] = np.where(look.clear, odd, np.nan)
        return Prediction(expected=expected, residual=values - expected, evidence=evidence)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a history says about the windows of some series.

    Attributes:
        rows: which series.
        scales: of their samples and features.
        at: int[n], ticks whose windows were looked at.
        features: float32[s, n, d], standardised.
        clear: bool[s, n], windows that say something.
    """

    rows: slice
    scales: Scales
    at: NDArray[np.intp]
    features: FloatArray32
    clear: NDArray[np.bool_]


def lessons(
    values: FloatArray,
    grid: Grid,
    *,
    length: int,
    lagged: bool = False,
    every: bool = False,
    family: str,
    progress: Report | None,
    should_stop: ShouldStop | None,
) -> Iterator[Lesson]:
    """Yields what the history says about its windows, a block of series at a time.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        length: samples in a window.
        lagged: whether deviations of the samples before the newest are features.
        every: whether every window is looked at, not only `MOST_WINDOWS` of them evenly spaced.
        family: whose fit it is, for the progress.
        progress: called after every block.
        should_stop: asked before every block.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    ticks = grid.count
    at = np.arange(min(length, ticks), ticks)
    if not every and len(at) > MOST_WINDOWS:
        at = at[np.linspace(0, len(at) - 1, MOST_WINDOWS).astype(np.intp)]
    block = max(1, _SAMPLES_AT_ONCE // max(ticks, 1))
    for first in range(0, len(values), block):
        if should_stop is not None and should_stop():
            raise FitStopped
        rows = slice(first, min(first + block, len(values)))
        yield _lesson(values[rows], grid, length, at, lagged=lagged, rows=rows)
        if progress is not None:
            progress(Progress(family=family, series=rows.stop, of=len(values)))


def learned_length(values: FloatArray, grid: Grid, wanted: int | None) -> int:
    """Returns the window length for a history, by the samples that an ordinary series has."""
    known = np.count_nonzero(~np.isnan(values), axis=1)
    return window_length(grid.step, int(np.median(known)) if len(known) else 0, wanted)


def joined_scales(parts: list[Scales]) -> Scales:
    """Returns the scales of all series of all parts."""
    names = ("centre", "scale", "typical", "feature_centre", "feature_scale")
    return Scales(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _lesson(
    values: FloatArray,
    grid: Grid,
    length: int,
    at: NDArray[np.intp],
    *,
    lagged: bool,
    rows: slice,
) -> Lesson:
    width = len(FEATURES) + (LAGS if lagged else 0)
    centre, scale = centre_and_scale(values, Scaling.ROBUST)
    raw = Scales(
        centre=centre,
        scale=scale,
        typical=np.ones(len(values)),
        feature_centre=np.zeros((len(values), width), dtype=np.float32),
        feature_scale=np.ones((len(values), width), dtype=np.float32),
    )
    raw = replace(raw, typical=_typical(Windows(raw, step=grid.step, length=length), values))
    windows = Windows(raw, step=grid.step, length=length)
    features = np.empty((len(values), len(at), width), dtype=np.float32)
    clear = np.empty((len(values), len(at)), dtype=np.bool_)
    for piece in windows.pieces(grid.count):
        span = slice(*np.searchsorted(at, [piece.start, piece.stop]))
        time = grid.start + piece.start * grid.step
        _, look = windows.advance(time, values[:, piece], at[span] - piece.start)
        features[:, span], clear[:, span] = look.features, look.clear
    few = slice(None, None, max(1, len(at) // MOST_WINDOWS))
    centres, widths = standard(np.where(clear[:, few, None], features[:, few], np.nan))
    features -= centres[:, None]
    features /= widths[:, None]
    np.clip(features, -FARTHEST, FARTHEST, out=features)
    scales = replace(raw, feature_centre=centres, feature_scale=widths)
    return Lesson(rows=rows, scales=scales, at=at, features=features, clear=clear)


def _typical(windows: Windows, values: FloatArray) -> FloatArray:
    """Returns the size of an ordinary deviation from the samples before, in scales, float64[S].

    Not below one step of the values: the first change of a series of whole numbers is not endless.
    """
    samples = windows.scaled(values)
    held = np.concatenate([np.zeros((len(values), RECENT)), np.nan_to_num(samples)], axis=1)
    deviation = samples - trailing_median(held)
    least = value_step(values) / windows.scales.scale
    return np.maximum(np.maximum(spread(deviation), least), _LEAST_TYPICAL)
