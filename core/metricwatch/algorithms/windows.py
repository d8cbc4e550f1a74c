"""The last w samples of S series, carried from tick to tick, and their standardised features.

Everything kept is finite: samples of two windows at most, and the level of the latest blocks. So
a state forgets completely, and a backtest is the same function of the same samples as steps are.

- A missing sample is replaced by the latest one. A window says something only while its newest
  sample and three quarters of all are there.
- A sample goes into the window no farther from the median of the few before it than a number of
  typical deviations (Hampel 1974): a spike does not echo as long as the window is, and a new level
  is taken as it is once it has lasted for half of those few samples.
- The window is held against a baseline, the median of the medians of the latest blocks: after a
  permanent shift the level of a window is ordinary again within half of the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, Header, Tensors, take_tensor
from metricwatch.algorithms.robust import median
from metricwatch.algorithms.window_features import (
    FARTHEST,
    FEATURES,
    LAGS,
    FloatArray32,
    describe,
    lagged_deviations,
)

RECENT = 9
"""Samples whose median the next one is held against."""
LEAST_WINDOW, MOST_WINDOW = 8, 256
_REACH = 20.0
_FLOOR = 0.1
_DAY = 86400
_BLOCKS = 24
_MOST_SCALES = 1e30
_ELEMENTS_AT_ONCE = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class Scales:
    """How the samples and the features of S series are made comparable.

    Attributes:
        centre: float64[S], subtracted from every sample.
        scale: float64[S], above 0, what samples are divided by.
        typical: float64[S], above 0, size of an ordinary deviation from the samples before, in
            scales.
        feature_centre: float32[S, d].
        feature_scale: float32[S, d], above 0.
    """

    centre: FloatArray
    scale: FloatArray
    typical: FloatArray
    feature_centre: FloatArray32
    feature_scale: FloatArray32


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the windows of n ticks look like.

    Attributes:
        at: which ticks of those given.
        features: float32[S, n, d], standardised and bounded by `FARTHEST`.
        clear: bool[S, n], false where too much is missing to say anything.
    """

    at: NDArray[np.intp]
    features: FloatArray32
    clear: NDArray[np.bool_]


class Windows:
    """Scales of S series, and their latest samples."""

    def __init__(self, scales: Scales, *, step: int, length: int) -> None:
        """Takes parameters over; the state is fresh.

        Args:
            scales: of samples and features; d says whether lagged deviations are among these.
            step: seconds between samples.
            length: w, samples in a window.
        """
        self.scales = scales
        self.step = step
        self.length = length
        series = self.series
        self._lagged = self.width > len(FEATURES)
        self._recent = np.zeros((series, RECENT))
        self._taken = np.zeros((series, length))
        self._known = np.zeros((series, length), dtype=np.bool_)
        self._blocks = np.full((series, _BLOCKS), np.nan)
        self._baseline = np.zeros(series)

    @property
    def series(self) -> int:
        """S."""
        return len(self.scales.centre)

    @property
    def width(self) -> int:
        """D, features of a window."""
        return int(self.scales.feature_centre.shape[1])

    @property
    def warmup(self) -> int:
        """One window more than the blocks of the baseline hold, whatever tick they begin at."""
        return (_BLOCKS + 2) * self.length

    def pieces(self, ticks: int) -> Iterator[slice]:
        """Yields parts of so many ticks, each of a size that `advance` does in the cache."""
        size = max(1, _ELEMENTS_AT_ONCE // (self.length * max(self.series, 1)))
        for first in range(0, ticks, size):
            yield slice(first, min(first + size, ticks))

    def scaled(self, values: FloatArray) -> FloatArray:
        """Returns samples [S, T] in scales around the centre."""
        centred = (values - self.scales.centre[:, None]) / self.scales.scale[:, None]
        return np.clip(centred, -_MOST_SCALES, _MOST_SCALES)

    def advance(
        self, time: int, values: FloatArray, at: NDArray[np.intp] | None = None
    ) -> tuple[FloatArray, Look]:
        """Takes ticks in and returns what was expected at each and how the windows look then.

        Args:
            time: the first tick, unix seconds.
            values: float64[S, T], NaN for no sample.
            at: ticks whose windows are looked at, rising; None stands for all of them.

        Returns:
            float64[S, T], the median of the latest samples before each tick, and the look.
        """
        ticks = values.shape[1]
        at = np.arange(ticks) if at is None else at
        samples = self.scaled(values)
        known = ~np.isnan(samples)
        held = _held(self._recent, samples)
        level = trailing_median(held)
        newest = held[:, RECENT:]
        reach = _REACH * self.scales.typical[:, None]
        taken = np.concatenate([self._taken, np.clip(newest, level - reach, level + reach)], 1)
        known = np.concatenate([self._known, known], axis=1)
        baseline = self._baselines(time // self.step, taken, known)
        look = Look(
            at=at,
            features=self._features(taken, newest, level, baseline, at),
            clear=self._clear(known, at),
        )
        self._recent = held[:, -RECENT:].copy()
        self._taken = taken[:, -self.length :].copy()
        self._known = known[:, -self.length :].copy()
        return self.scales.centre[:, None] + self.scales.scale[:, None] * level, look

    def header(self) -> dict[str, Any]:
        """Returns step, length and whether lagged deviations are features."""
        return {"step": self.step, "length": self.length, "width": self.width}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the scales."""
        names = ("centre", "scale", "typical", "feature_centre", "feature_scale")
        return {name: getattr(self.scales, name) for name in names}

    def _features(
        self,
        taken: FloatArray,
        newest: FloatArray,
        level: FloatArray,
        baseline: FloatArray,
        at: NDArray[np.intp],
    ) -> FloatArray32:
        """Returns standardised features float32[S, n, d] of the windows that end `at` ticks."""
        series, count = len(taken), len(at)
        # A copy that is contiguous: sums over it run in one order, however many ticks there are.
        windows = np.ascontiguousarray(
            sliding_window_view(taken, self.length, axis=1)[:, 1:][:, at]
        ).reshape(series * count, self.length)
        typical = np.repeat(self.scales.typical, count)
        expected = level[:, at].ravel()
        deviation = (newest[:, at].ravel() - expected) / typical
        parts = [
            describe(
                windows,
                newest[:, at].ravel(),
                baseline[:, at].ravel(),
                _FLOOR * typical,
                deviation,
            )
        ]
        if self._lagged:
            parts.append(lagged_deviations(windows, expected, typical))
        features = np.concatenate(parts, axis=1).reshape(series, count, self.width)
        features -= self.scales.feature_centre[:, None]
        features /= self.scales.feature_scale[:, None]
        return np.clip(features, -FARTHEST, FARTHEST, out=features)

    def _clear(self, known: NDArray[np.bool_], at: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the newest sample and three quarters of each window are there."""
        total = np.cumsum(known, axis=1, dtype=np.int64)
        count = (total[:, self.length :] - total[:, : -self.length])[:, at]
        return known[:, self.length :][:, at] & (4 * count >= 3 * self.length)

    def _baselines(self, first: int, taken: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
        """Returns the baseline at each tick, float64[S, T], and closes the blocks that end.

        Args:
            first: number of the first tick since 1970.
            taken: float64[S, w + T], the samples of the last window before it and those given.
            known: bool, the same shape, which of them are samples.
        """
        length, ticks = self.length, taken.shape[1] - self.length
        baseline = np.empty((len(taken), ticks))
        done = 0
        for end in range(-first % length, ticks, length):
            # The tick at `end` begins a block: the one before it is complete.
            baseline[:, done:end] = self._baseline[:, None]
            there = known[:, end : end + length]
            middle = median(taken[:, end : end + length])
            full = 2 * np.count_nonzero(there, axis=1) >= length
            slot = (first + end) // length % _BLOCKS
            self._blocks[:, slot] = np.where(full, middle, np.nan)
            level = median(self._blocks)
            self._baseline = np.where(np.isnan(level), self._baseline, level)
            done = end
        baseline[:, done:] = self._baseline[:, None]
        return baseline


def window_length(step: int, ticks: int, wanted: int | None = None) -> int:
    """Returns w: a day at most, 64 samples, or what is wanted; a twentieth of the history.

    Args:
        step: seconds between samples.
        ticks: length of the history.
        wanted: samples, None leaves the choice here.
    """
    longest = min(64, max(16, _DAY // step)) if wanted is None else wanted
    return max(LEAST_WINDOW, min(longest, ticks // 20))


def trailing_median(held: FloatArray) -> FloatArray:
    """Returns the median of the `RECENT` samples before each one.

    Args:
        held: float64[S, RECENT + T], without NaN.

    Returns:
        float64[S, T].
    """
    before = sliding_window_view(held, RECENT, axis=1)[:, :-1]
    middle: FloatArray = np.partition(before, RECENT // 2, axis=-1)[..., RECENT // 2]
    return middle


def restore_windows(header: Header, tensors: Tensors, *, lagged: bool) -> Windows:
    """Returns the windows that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    step, length = header.get("step"), header.get("length")
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"step is {step!r}, expected whole seconds")
    if not isinstance(length, int) or not LEAST_WINDOW <= length <= MOST_WINDOW:
        raise ValueError(f"length is {length!r}, expected {LEAST_WINDOW} to {MOST_WINDOW}")
    width = len(FEATURES) + (LAGS if lagged else 0)
    series = len(tensors["centre"]) if "centre" in tensors else 0
    scales = Scales(
        centre=take_tensor(tensors, "centre", (series,), np.float64),
        scale=take_tensor(tensors, "scale", (series,), np.float64),
        typical=take_tensor(tensors, "typical", (series,), np.float64),
        feature_centre=take_tensor(tensors, "feature_centre", (series, width), np.float32),
        feature_scale=take_tensor(tensors, "feature_scale", (series, width), np.float32),
    )
    for name in ("scale", "typical", "feature_scale"):
        if (getattr(scales, name) <= 0).any():
            raise ValueError(f"tensor {name} must be above zero")
    return Windows(scales, step=step, length=length)


def _held(recent: FloatArray, samples: FloatArray) -> FloatArray:
    """Returns the recent samples and the given ones, the latest in place of a missing one."""
    joined = np.concatenate([recent, samples], axis=1)
    position = np.where(np.isnan(joined), 0, np.arange(joined.shape[1]))
    return np.take_along_axis(joined, np.maximum.accumulate(position, axis=1), axis=1)
