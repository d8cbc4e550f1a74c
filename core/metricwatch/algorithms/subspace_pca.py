"""Sub-PCA: windows of a series against the subspace in which its ordinary windows lie.

Every window of the latest w samples is a point in w dimensions. Ordinary windows of one series lie
close to a plane of a few dimensions, found by principal components of a covariance in which odd
windows count less (an M-estimate of scatter, Maronna 1976, from a robust start), so that incidents
in the history bend nothing. Two distances say how odd a window is: T², how far it lies out within
the plane (Hotelling 1931; Shyu et al. 2003), and Q, how far off the plane (Jackson & Mudholkar
1979). They are one stream here, each in units of what it ordinarily is (the combined index of
Yue & Qin 2001).

The same plane with its remainder is a normal distribution (probabilistic principal components,
Tipping & Bishop 1999); its mean for the newest sample, given those before, is what was expected.

Windows are taken relative to a trailing level, so that a level that stays is accepted within a
day. Nothing that is carried depends on a forecast: a backtest is all windows at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    RESIDUAL,
    Family,
    FitStopped,
    FloatArray,
    Header,
    Horizon,
    Prediction,
    Progress,
    Report,
    ShouldStop,
    Stream,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.level import TrailingLevel
from metricwatch.algorithms.scaling import centre_and_scale
from metricwatch.algorithms.subspace_fit import Subspaces, fit_subspaces
from metricwatch.algorithms.subspace_windows import REACH, LatestSamples, Samples
from metricwatch.resources.algorithm import SubspacePcaParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_MOST_SCALES = 1e6
"""Samples further out are taken as if they were here: float32 still tells their order."""
_LEAST_WIDTH, _MOST_WIDTH = 4, 256
_HISTORY_WINDOWS = 20
_SHORTEST, _LONGEST = 16, 32
_WINDOW_BYTES = 8 * 1024 * 1024
_FIT_ROWS = 32

FloatArray32 = NDArray[np.float32]


class SubspacePcaBank:
    """Subspaces of S series and the latest samples of each."""

    family = "subspacePca"

    def __init__(
        self,
        *,
        step: int,
        centre: FloatArray,
        scale: FloatArray,
        level: FloatArray32,
        subspaces: Subspaces,
    ) -> None:
        """Takes parameters over; the state starts at the level where the history ended.

        Args:
            step: seconds between samples.
            centre: float64[S], subtracted from every sample.
            scale: float64[S], above 0, what samples are divided by.
            level: float32[S], in scales from the centre, at the end of the history.
            subspaces: what was learned about windows.
        """
        self._step = step
        self._centre = centre
        self._scale = scale
        self._initial_level = level
        self._subspaces = subspaces
        rank = subspaces.basis.shape[1]
        # squared distance = T² / k + Q / remainder, and Q is what the scores leave of the norm.
        of_plane = 1.0 / (rank * subspaces.variances)
        self._gains = of_plane - 1.0 / subspaces.remainder[:, None]
        self._level = TrailingLevel(level, step)
        self._latest = LatestSamples(subspaces.jitter, width=self.width)
        distance = Stream("distance", Horizon.LONG, signed=False, memory=self.width)
        self.streams: tuple[Stream, ...] = (RESIDUAL, distance)

    @property
    def series(self) -> int:
        """S."""
        return len(self._centre)

    @property
    def width(self) -> int:
        """Samples of a window."""
        return int(self._subspaces.basis.shape[2])

    @property
    def warmup(self) -> int:
        """What level and windows look back on."""
        return max(self._level.warmup, 2 * self.width)

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        scaled = self._scaled(values[:, None])
        levels = self._level.step(time, scaled[:, 0])[:, None]
        forecast, distance = self._judge(self._latest.extended(scaled), levels)
        expected = self._centre + self._scale * forecast[:, 0]
        residual = values - expected
        return Prediction(expected, residual, np.stack([residual, distance[:, 0]]))

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives, many windows at once."""
        forecast, distance = np.empty_like(values), np.empty_like(values)
        if grid.count:
            scaled = self._scaled(values)
            levels = self._level.follow(grid, scaled)
            at_once = max(1, _WINDOW_BYTES // (4 * self.width * max(self.series, 1)))
            for first in range(0, grid.count, at_once):
                part = slice(first, first + at_once)
                samples = self._latest.extended(scaled[:, part])
                forecast[:, part], distance[:, part] = self._judge(samples, levels[:, part])
        expected = self._centre[:, None] + self._scale[:, None] * forecast
        residual = values - expected
        return Prediction(expected, residual, np.stack([residual, distance]))

    def _scaled(self, values: FloatArray) -> FloatArray32:
        return _in_scales(values, self._centre, self._scale)

    def _judge(self, samples: Samples, levels: FloatArray32) -> tuple[FloatArray, FloatArray]:
        """Returns forecast, in scales, and distance of the newest ticks, float64[S, T] each.

        Args:
            samples: carried ones and T new ones.
            levels: float32[S, T].
        """
        width, count = self.width, levels.shape[1]
        newest = width - 1 + count
        # `vecdot` throughout: it sums each window by itself, whether there is one or many.
        lags = sliding_window_view(samples.believed[:, -newest:-1], width - 1, axis=1)
        ahead = np.vecdot(_around(lags, levels), self._subspaces.predictor[:, None])
        windows = _around(sliding_window_view(samples.held[:, -newest:], width, axis=1), levels)
        scores = np.vecdot(windows[:, :, None], self._subspaces.basis[:, None])
        norm = np.vecdot(windows, windows) / self._subspaces.remainder[:, None]
        square = np.maximum(norm + np.vecdot(scores * scores, self._gains[:, None]), 0.0)
        known = np.cumsum(samples.known[:, -newest:], axis=1, dtype=np.int32)
        known[:, width:] -= known[:, :-width].copy()
        # An expectation must not depend on whether the sample that it is for is there.
        before = known[:, width - 1 :] - samples.known[:, -count:]
        measured = 2 * (before + 1) >= width
        forecast = np.where(measured, levels.astype(np.float64) + ahead, np.nan)
        told = measured & samples.known[:, -count:]
        return forecast, np.where(told, np.sqrt(square.astype(np.float64)), np.nan)

    def header(self) -> dict[str, Any]:
        """Returns the step, the width of a window and the number of components."""
        rank = int(self._subspaces.basis.shape[1])
        return {"step": self._step, "width": self.width, "rank": rank}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        learned = self._subspaces
        return {
            "centre": self._centre,
            "scale": self._scale,
            "level": self._initial_level,
            "basis": learned.basis,
            "variances": learned.variances,
            "remainder": learned.remainder,
            "predictor": learned.predictor,
            "jitter": learned.jitter,
        }


def _in_scales(values: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray32:
    with np.errstate(over="ignore"):
        scaled = (values - centre[:, None]) / scale[:, None]
    return np.clip(scaled, -_MOST_SCALES, _MOST_SCALES).astype(np.float32)


def _around(windows: FloatArray32, levels: FloatArray32) -> FloatArray32:
    """Returns windows float32[S, T, n] relative to levels float32[S, T], within reach."""
    deviation = windows - levels[..., None]
    np.minimum(deviation, np.float32(REACH), out=deviation)
    np.maximum(deviation, np.float32(-REACH), out=deviation)
    return deviation


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
) -> SubspacePcaBank:
    """Returns the subspace of every series, three passes of weights for its windows."""
    del labels, seed  # nothing random in it
    check_history(values, grid)
    own = own_parameters(SubspacePcaParameters, parameters)
    width, rank = _shape_of(own, grid.count)
    centre, scale = centre_and_scale(values, scaling)
    levels, parts = [np.zeros(0, dtype=np.float32)], []
    for first in range(0, max(len(values), 1), _FIT_ROWS):
        if should_stop is not None and should_stop():
            raise FitStopped
        rows = slice(first, min(first + _FIT_ROWS, len(values)))
        bounded = _in_scales(values[rows], centre[rows], scale[rows])
        trailing = TrailingLevel(np.zeros(len(bounded)), grid.step)
        followed = trailing.follow(grid, bounded) if grid.count else bounded
        levels.append(trailing.level)
        parts.append(fit_subspaces(bounded, followed, width=width, rank=rank))
        if progress is not None:
            progress(Progress(family="subspacePca", series=rows.stop, of=len(values)))
    return SubspacePcaBank(
        step=grid.step,
        centre=centre,
        scale=scale,
        level=np.concatenate(levels),
        subspaces=Subspaces.joined(parts),
    )


def _shape_of(own: SubspacePcaParameters, ticks: int) -> tuple[int, int]:
    """Returns the samples of a window and the components for a history of so many ticks."""
    width = own.window or min(max(ticks // _HISTORY_WINDOWS, _SHORTEST), _LONGEST)
    width = max(_LEAST_WIDTH, min(width, ticks // 4))
    return width, max(1, min(own.components, width // 3))


def restore(header: Header, tensors: Tensors) -> SubspacePcaBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    step, width, rank = (header.get(name) for name in ("step", "width", "rank"))
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"step is {step!r}, expected whole seconds")
    if not isinstance(width, int) or not _LEAST_WIDTH <= width <= _MOST_WIDTH:
        raise ValueError(f"width is {width!r}, expected {_LEAST_WIDTH} to {_MOST_WIDTH}")
    if not isinstance(rank, int) or not 1 <= rank < width:
        raise ValueError(f"rank is {rank!r}, expected 1 to {width - 1}")
    series = len(tensors["centre"]) if "centre" in tensors else 0
    shapes = {
        "level": (series,),
        "basis": (series, rank, width),
        "variances": (series, rank),
        "remainder": (series,),
        "predictor": (series, width - 1),
        "jitter": (series,),
    }
    learned = {
        name: take_tensor(tensors, name, shape, np.float32) for name, shape in shapes.items()
    }
    centre, scale = (
        take_tensor(tensors, name, (series,), np.float64) for name in ("centre", "scale")
    )
    positive = (scale, learned["variances"], learned["remainder"], learned["jitter"])
    if any((tensor <= 0).any() for tensor in positive):
        raise ValueError("scale, variances, remainder and jitter must be above zero")
    return SubspacePcaBank(
        step=step,
        centre=centre,
        scale=scale,
        level=learned.pop("level"),
        subspaces=Subspaces(**learned),
    )


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns four windows of the shortest kind, or of the kind asked for."""
    return 4 * (own_parameters(SubspacePcaParameters, parameters).window or _SHORTEST)


def search(suggest: Suggest) -> SubspacePcaParameters:
    """Returns a length of windows and a number of components to try."""
    return SubspacePcaParameters(
        window=suggest.suggest_int("window", 12, 96, log=True),
        components=suggest.suggest_int("components", 2, 16, log=True),
    )


SUBSPACE_PCA = Family(
    name="subspacePca",
    parameters=SubspacePcaParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
