"""The latest samples of S series as an autoregression sees them, and what it expects next.

A spike that enters the lags comes back as an echo in the next forecasts; lags that never move by
more than a few deviations never accept a new level. So a sample enters at most a bound away from
its forecast, and the bound doubles with every sample in a row that passes it and halves with every
one that does not (after Huber 1964; Tukey's winsorising): a spike is cut, a level a thousand
deviations away is accepted within some eight samples. A missing sample leaves its forecast behind.

Most samples are ordinary and enter as they are. `run` forecasts a stretch of history as if all of
them were, and goes back only where one was not, which gives the same as steps, and far quicker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FloatArray32 = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.intp]

MOST = np.float32(1e30)
"""Scaled samples stay within this, so that nothing overflows."""
_CLIP = 8.0
"""The bound of a calm series, in ordinary residuals."""
_MOST_DOUBLINGS = 60
_BLOCK_SAMPLES = 1 << 18
_SHORTEST_BLOCK = 64
_LONGEST_BLOCK = 4096


class LaggedState:
    """Lags, bounds and warmth of S autoregressions.

    A series is warm once it has seen as many samples as there are lags, and cold again after a gap
    as long as the lags, because nothing real is left in them then.
    """

    __slots__ = (
        "_any_cold",
        "_bias",
        "_bound",
        "_calm_bound",
        "_cold",
        "_missed",
        "_most_bound",
        "_position",
        "_raised",
        "_ring",
        "_seen",
        "_unsettled",
        "_weights",
    )

    def __init__(
        self, weights: FloatArray32, bias: FloatArray32, innovation: NDArray[np.float64]
    ) -> None:
        """Starts with nothing seen.

        Args:
            weights: float32[S, lags], oldest sample first.
            bias: float32[S].
            innovation: float64[S], above 0, size of an ordinary residual.
        """
        series, lags = weights.shape
        self._weights = weights
        self._bias = bias
        calm = np.clip(_CLIP * innovation, 1e-30, MOST)
        self._calm_bound = calm.astype(np.float32)
        self._most_bound = np.minimum(np.ldexp(calm, _MOST_DOUBLINGS), MOST).astype(np.float32)
        self._bound = self._calm_bound.copy()
        self._raised: IntArray = np.zeros(0, dtype=np.intp)  # rows with a bound above their calm
        # Every sample is written twice, `lags` apart, so that the latest ones are always one
        # slice.
        self._ring = np.zeros((series, 2 * lags), dtype=np.float32)
        self._position = 0
        self._seen = np.zeros(series, dtype=np.int16)
        self._missed = np.zeros(series, dtype=np.int32)
        self._cold = np.ones(series, dtype=np.bool_)
        self._any_cold = True
        self._unsettled = True  # some series is cold or in a gap

    @property
    def lags(self) -> int:
        """How many past samples are looked at."""
        return int(self._weights.shape[1])

    def step(self, scaled: FloatArray32) -> tuple[FloatArray32, FloatArray32]:
        """Advances all series by one tick.

        Args:
            scaled: float32[S] within `MOST`, NaN for no sample.

        Returns:
            The forecast for the tick, float32[S], NaN for a series that is not warm; and what went
            in, float32[S], never NaN.
        """
        window = self._window()
        forecast: FloatArray32 = np.vecdot(window, self._weights)
        forecast += self._bias
        if self._unsettled:
            forecast[self._cold] = np.nan
        surprise = scaled - forecast
        ordinary = np.abs(surprise, out=surprise) <= self._bound
        taken = scaled
        if not ordinary.all():
            taken = scaled.copy()
            odd = np.flatnonzero(~ordinary)
            entered, beyond = _entering(scaled[odd], forecast[odd], self._bound[odd])
            if self._unsettled:
                held = self._cold[odd] & np.isnan(scaled[odd])
                entered = np.where(held, window[odd, -1], entered)
            taken[odd] = entered
            self._move_bounds(ordinary, odd[beyond])
            self._count(np.isnan(scaled))
        elif self._raised.size or self._unsettled:
            self._move_bounds(ordinary, self._raised[:0])
            self._count(~ordinary)
        self._ring[:, self._position] = taken
        self._ring[:, self._position + self.lags] = taken
        self._position = (self._position + 1) % self.lags
        return forecast, taken

    def run(self, scaled: FloatArray32) -> tuple[FloatArray32, FloatArray32]:
        """Returns what one step for each tick of float32[S, T] gives, and advances as much.

        Returns:
            Forecasts and what went in, float32[S, T] each.
        """
        series, ticks = scaled.shape
        forecast, taken = np.empty_like(scaled), np.empty_like(scaled)
        length = _BLOCK_SAMPLES // max(series, 1)
        length = max(_SHORTEST_BLOCK, min(length, _LONGEST_BLOCK))
        for first in range(0, ticks, length):
            part = slice(first, min(first + length, ticks))
            forecast[:, part], taken[:, part] = self._run_block(scaled[:, part])
        return forecast, taken

    def _run_block(self, scaled: FloatArray32) -> tuple[FloatArray32, FloatArray32]:
        lags, ticks = self.lags, scaled.shape[1]
        warm = self._warmth(scaled)
        block = _Block.begin(self._window(), scaled, warm, self._weights, self._bias)
        block.find_odd(self._calm_bound)
        visited = np.zeros(len(scaled), dtype=np.intp)
        calm = np.cumsum(warm & ~np.isnan(scaled), axis=1)
        rows = np.arange(len(scaled))
        while (rows := rows[block.odd[rows].any(axis=1)]).size:
            at = block.odd[rows].argmax(axis=1)
            block.odd[rows, at] = False
            now = calm[rows, at]
            bound = self._eased(rows, now - np.isfinite(scaled[rows, at]) - visited[rows])
            visited[rows] = now
            entered, beyond = _entering(scaled[rows, at], block.forecast[rows, at], bound)
            ordinary = ~beyond & ~np.isnan(scaled[rows, at])
            raised = np.minimum(2.0 * bound, self._most_bound[rows])
            lowered = np.maximum(0.5 * bound, self._calm_bound[rows])
            self._bound[rows] = np.where(beyond, raised, np.where(ordinary, lowered, bound))
            changed = ~ordinary
            if changed.any():
                block.change(rows[changed], at[changed], entered[changed], self._calm_bound)
        everyone = np.arange(len(scaled))
        self._bound = self._eased(everyone, calm[:, -1] - visited)
        self._raised = np.flatnonzero(self._bound > self._calm_bound)
        self._ring[:, :lags] = self._ring[:, lags:] = block.latest()
        self._position = 0
        return block.forecast[:, :ticks], block.taken[:, lags : lags + ticks]

    def _window(self) -> FloatArray32:
        """Returns the latest samples, float32[S, lags], oldest first."""
        return self._ring[:, self._position : self._position + self.lags]

    def _eased(self, rows: IntArray, calm: IntArray) -> FloatArray32:
        """Returns the bounds of `rows` after so many ordinary samples each."""
        eased = np.ldexp(self._bound[rows], -np.minimum(calm, 2 * _MOST_DOUBLINGS))
        return np.maximum(eased, self._calm_bound[rows])

    def _move_bounds(self, ordinary: BoolArray, beyond: IntArray) -> None:
        """Halves raised bounds of `ordinary` bool[S], doubles those of the rows `beyond`."""
        if not self._raised.size and not beyond.size:
            return
        calm = self._raised[ordinary[self._raised]]
        self._bound[calm] = np.maximum(0.5 * self._bound[calm], self._calm_bound[calm])
        self._bound[beyond] = np.minimum(2.0 * self._bound[beyond], self._most_bound[beyond])
        self._raised = np.flatnonzero(self._bound > self._calm_bound)

    def _count(self, missing: BoolArray) -> None:
        """Counts the samples of one tick, seen ones no further than the lags."""
        self._missed += 1
        self._missed *= missing
        longest = self._missed.max(initial=0)
        if self._any_cold or longest >= self.lags:
            seen = np.minimum(self._seen + ~missing, self.lags)
            self._seen = np.where(self._missed >= self.lags, 0, seen)
            self._cold = self._seen < self.lags
            self._any_cold = bool(self._cold.any())
        self._unsettled = self._any_cold or bool(longest)

    def _warmth(self, scaled: FloatArray32) -> BoolArray:
        """Counts the samples of a block; returns bool[S, T], warm before each tick."""
        lags, ticks = self.lags, scaled.shape[1]
        known = ~np.isnan(scaled)
        if not self._unsettled and known.all():
            return known
        tick = np.arange(ticks)
        latest = np.where(known, tick, -1 - self._missed[:, None])
        missed = tick - np.maximum.accumulate(latest, axis=1)
        seen = np.cumsum(known, axis=1) + self._seen[:, None]
        seen -= np.maximum.accumulate(np.where(missed >= lags, seen, 0), axis=1)
        warm = np.column_stack([~self._cold, seen[:, :-1] >= lags])
        self._missed = missed[:, -1].astype(np.int32)
        self._seen = np.minimum(seen[:, -1], lags).astype(np.int16)
        self._cold = self._seen < lags
        self._any_cold = bool(self._cold.any())
        self._unsettled = self._any_cold or bool(self._missed.any())
        return warm


@dataclass(slots=True, eq=False)
class _Block:
    """A stretch of T ticks that is first forecast as if every sample were ordinary.

    Attributes:
        taken: float32[S, lags + T + lags], what went in before and during the block, then nothing.
        windows: float32[S, T + lags + 1, lags], a view of `taken`: what was before each tick.
        next_ticks: int[lags], 1 to lags.
        forecast: float32[S, T + lags].
        odd: bool[S, T + lags], samples still to be looked at, warm ones only.
        scaled: float32[S, T + lags], the samples, NaN after the block.
        warm: bool[S, T + lags], false after the block.
        source: int[S, T], where in the block a tick of a cold series without a sample has its
            value from: itself for other ticks, -1 for before the block.
        weights: float32[S, lags].
        bias: float32[S].
    """

    taken: FloatArray32
    windows: FloatArray32
    next_ticks: IntArray
    forecast: FloatArray32
    odd: BoolArray
    scaled: FloatArray32
    warm: BoolArray
    source: IntArray | None
    weights: FloatArray32
    bias: FloatArray32

    @classmethod
    def begin(
        cls,
        window: FloatArray32,
        scaled: FloatArray32,
        warm: BoolArray,
        weights: FloatArray32,
        bias: FloatArray32,
    ) -> _Block:
        """Takes all samples as they are; cold series hold the latest one over a gap."""
        series, lags = window.shape
        ticks = scaled.shape[1]
        taken = np.concatenate([window, scaled, np.zeros_like(window)], axis=1)
        source = None
        if not warm.all():
            held = ~warm & np.isnan(scaled)
            source = np.maximum.accumulate(np.where(held, -1, np.arange(ticks)), axis=1)
            taken[:, lags : lags + ticks] = np.take_along_axis(taken, source + lags, axis=1)
        windows = sliding_window_view(taken, lags, axis=1)
        forecast = np.full((series, ticks + lags), np.nan, dtype=np.float32)
        forecast[:, :ticks] = np.vecdot(windows[:, :ticks], weights[:, None, :])
        forecast += bias[:, None]
        forecast[:, :ticks][~warm] = np.nan
        after = np.zeros_like(window, dtype=np.bool_)
        nothing = np.full_like(window, np.nan)
        return cls(
            taken=taken,
            windows=windows,
            next_ticks=1 + np.arange(lags),
            forecast=forecast,
            odd=np.zeros(forecast.shape, dtype=np.bool_),
            scaled=np.concatenate([scaled, nothing], axis=1),
            warm=np.concatenate([warm, after], axis=1),
            source=source,
            weights=weights,
            bias=bias,
        )

    def find_odd(self, bound: FloatArray32) -> None:
        """Marks warm samples that are missing or pass even the bound float32[S] of calm series."""
        surprise = np.abs(self.scaled - self.forecast)
        self.odd = self.warm & ~(surprise <= bound[:, None])

    def change(
        self, rows: IntArray, at: IntArray, entered: FloatArray32, bound: FloatArray32
    ) -> None:
        """Lets something else enter at one tick of each of `rows`, and forecasts anew from it.

        Args:
            rows: int[n].
            at: int[n], the tick in each.
            entered: float32[n].
            bound: float32[S], of calm series.
        """
        lags = self.weights.shape[1]
        self.taken[rows, at + lags] = entered
        if self.source is not None:
            self._hold(self.source, rows, at, entered)
        where = (rows[:, None], at[:, None] + self.next_ticks)
        forecast = np.vecdot(self.windows[where], self.weights[rows, None, :])
        forecast += self.bias[rows, None]
        warm = self.warm[where]
        self.forecast[where] = np.where(warm, forecast, np.nan)
        surprise = np.abs(self.scaled[where] - forecast)
        self.odd[where] = warm & ~(surprise <= bound[rows, None])

    def _hold(self, source: IntArray, rows: IntArray, at: IntArray, entered: FloatArray32) -> None:
        """Holds what entered where a series fell cold right after."""
        lags, ticks = self.weights.shape[1], source.shape[1]
        inside = at + 1 < ticks
        falls = np.flatnonzero(inside & ~self.warm[rows, np.minimum(at + 1, ticks - 1)])
        for row, tick, value in zip(rows[falls], at[falls], entered[falls], strict=True):
            self.taken[row, lags : lags + ticks][source[row] == tick] = value

    def latest(self) -> FloatArray32:
        """Returns what is in the lags after the block, float32[S, lags]."""
        lags = self.weights.shape[1]
        return self.taken[:, -2 * lags : -lags]


def _entering(
    scaled: FloatArray32, forecast: FloatArray32, bound: FloatArray32
) -> tuple[FloatArray32, BoolArray]:
    """Returns what enters for each sample of float32[n], and which of them pass their bounds."""
    surprise = scaled - forecast
    beyond = np.abs(surprise) > bound
    inside = np.where(np.isnan(scaled), forecast, scaled)
    entered = np.where(beyond, forecast + np.copysign(bound, surprise), inside)
    entered[np.isnan(entered)] = 0.0
    return np.minimum(np.maximum(entered, -MOST), MOST), beyond
