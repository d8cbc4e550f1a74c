"""Ridge autoregression: the next sample as a weighted sum of the latest ones.

Weights shrink towards persistence (the last sample again), not towards zero, and large residuals
count less (Huber 1964), so that incidents in the history bend nothing. Samples are centred and
scaled in float64 and kept in float32: counters of 1e12 lose nothing that matters.
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
    Prediction,
    Progress,
    Report,
    ShouldStop,
    Tensors,
    check_history,
    own_parameters,
    step_through,
    take_tensor,
)
from metricwatch.algorithms.innovation import Winsor
from metricwatch.algorithms.robust import median, spread
from metricwatch.algorithms.scaling import centre_and_scale
from metricwatch.resources.algorithm import AutoregressiveParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_CLIP = 8.0
_MOST_FLOAT32 = 1e30
_MOST_SPREADS = 200.0
"""A sample further out than this teaches as if it were here."""
_HUBER = 4.0
_PASSES = 3
_LEAST_INNOVATION = 1e-6
_DESIGN_BYTES = 64 * 1024 * 1024

FloatArray32 = NDArray[np.float32]


class AutoregressiveBank:
    """Weights of S autoregressions and the latest `lags` samples of each series."""

    family = "autoregressive"
    streams = (RESIDUAL,)

    def __init__(
        self,
        *,
        centre: FloatArray,
        scale: FloatArray,
        weights: FloatArray32,
        bias: FloatArray32,
        innovation: FloatArray,
    ) -> None:
        """Takes parameters over; the state is fresh.

        Args:
            centre: float64[S], subtracted from every sample.
            scale: float64[S], above 0, what samples are divided by.
            weights: float32[S, lags], oldest sample first.
            bias: float32[S].
            innovation: float64[S], size of an ordinary residual, in scales.
        """
        self.centre = centre
        self.scale = scale
        self.weights = weights
        self.bias = bias
        self.innovation = innovation
        series, lags = weights.shape
        # Every sample is written twice, `lags` apart, so that the latest ones are always one
        # slice.
        self._ring = np.zeros((series, 2 * lags), dtype=np.float32)
        self._position = 0
        self._seen = np.zeros(series, dtype=np.int64)
        self._missed = np.zeros(series, dtype=np.int64)
        self._winsor = Winsor(series, limit=_CLIP)

    @property
    def series(self) -> int:
        """S."""
        return len(self.weights)

    @property
    def lags(self) -> int:
        """How many past samples are looked at."""
        return int(self.weights.shape[1])

    @property
    def warmup(self) -> int:
        """Twice the lags, so that a few missing samples do no harm."""
        return 2 * self.lags

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        del time  # the same at any hour
        forecast = self.forecast()
        self.absorb(self.scaled(values), forecast)
        expected = self.centre + self.scale * forecast
        return Prediction.forecast(expected, values - expected)

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        return step_through(self, grid, values)

    def scaled(self, values: FloatArray) -> FloatArray:
        """Returns samples as this bank sees them, float64 of the shape of `values`."""
        centre, scale = self.centre, self.scale
        if values.ndim == 2:
            centre, scale = centre[:, None], scale[:, None]
        return np.clip((values - centre) / scale, -_MOST_FLOAT32, _MOST_FLOAT32)

    def forecast(self) -> FloatArray:
        """Returns the next sample in scales, float64[S], NaN for a series that is not warm."""
        window = self._ring[:, self._position : self._position + self.lags]
        forecast = np.vecdot(window, self.weights) + self.bias
        return np.where(self._seen >= self.lags, forecast, np.nan)

    def absorb(self, scaled: FloatArray, forecast: FloatArray) -> FloatArray:
        """Takes one tick into the state and returns what went in, in scales, never NaN.

        Args:
            scaled: float64[S], NaN for no sample: the forecast stands in for it.
            forecast: float64[S], what was expected; NaN for a series that is not warm.
        """
        known = ~np.isnan(scaled)
        warm = ~np.isnan(forecast)
        latest = self._ring[:, self._position + self.lags - 1]
        pull = self._winsor.clip(scaled - forecast, self.innovation)
        cold_value = np.where(known, scaled, latest)
        taken = np.where(warm, np.nan_to_num(forecast) + pull, cold_value)
        taken = np.clip(taken, -_MOST_FLOAT32, _MOST_FLOAT32)
        self._ring[:, self._position] = taken
        self._ring[:, self._position + self.lags] = taken
        self._position = (self._position + 1) % self.lags
        self._missed = np.where(known, 0, self._missed + 1)
        # After a gap as long as the lags nothing real is left in them.
        self._seen = np.where(self._missed >= self.lags, 0, self._seen + known)
        return taken

    def header(self) -> dict[str, Any]:
        """Returns how many lags there are."""
        return {"lags": self.lags}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the parameters."""
        return {
            "centre": self.centre,
            "scale": self.scale,
            "weights": self.weights,
            "bias": self.bias,
            "innovation": self.innovation,
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
) -> AutoregressiveBank:
    """Returns the ridge solution of every series, three passes of Huber weights."""
    del labels, seed  # nothing random in it
    check_history(values, grid)
    own = own_parameters(AutoregressiveParameters, parameters)
    return fit_ridge(
        values,
        lags=own.lags,
        ridge=own.ridge,
        scaling=scaling,
        progress=progress,
        should_stop=should_stop,
    )


def fit_ridge(
    values: FloatArray,
    *,
    lags: int,
    ridge: float,
    scaling: Scaling = Scaling.ROBUST,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> AutoregressiveBank:
    """Returns autoregressions over `lags` samples, fewer when the history is short.

    Args:
        values: float64[S, T], NaN where there is no sample.
        lags: how many past samples are looked at.
        ridge: penalty on the weights' distance from persistence, in squared scales.
        scaling: how samples are made comparable.
        progress: called after every block of series.
        should_stop: asked before every block of series.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    series, ticks = values.shape
    lags = max(1, min(lags, ticks // 8))
    centre, scale = centre_and_scale(values, scaling)
    bank = AutoregressiveBank(
        centre=centre,
        scale=scale,
        weights=np.zeros((series, lags), dtype=np.float32),
        bias=np.zeros(series, dtype=np.float32),
        innovation=np.full(series, _LEAST_INNOVATION),
    )
    scaled = _bounded(bank.scaled(values))
    block = max(1, _DESIGN_BYTES // (8 * (lags + 1) * max(ticks, 1)))
    for first in range(0, series, block):
        if should_stop is not None and should_stop():
            raise FitStopped
        rows = slice(first, min(first + block, series))
        weights, bank.innovation[rows] = _solve(scaled[rows], lags, ridge)
        bank.weights[rows], bank.bias[rows] = weights[:, :-1], weights[:, -1]
        if progress is not None:
            progress(Progress(family=bank.family, series=rows.stop, of=series))
    return bank


def _solve(scaled: FloatArray, lags: int, ridge: float) -> tuple[FloatArray, FloatArray]:
    """Returns weights float64[s, lags + 1], the bias last, and the size of ordinary residuals."""
    filled = _held(scaled)
    design = np.ones((len(scaled), scaled.shape[1] - lags, lags + 1))
    design[..., :-1] = sliding_window_view(filled, lags, axis=1)[:, :-1]
    change = scaled[:, lags:] - filled[:, lags - 1 : -1]
    known = ~np.isnan(change)
    change = np.where(known, change, 0.0)
    penalty = ridge * np.eye(lags + 1)
    penalty[-1, -1] = 1e-3 * ridge  # a level of its own is nothing to be shrunk
    weights = np.zeros((len(scaled), lags + 1))
    importance = known.astype(np.float64)
    ordinary: FloatArray = np.full(len(scaled), _LEAST_INNOVATION)
    for _ in range(_PASSES):
        # Row by row: a batched product of transposed views is 2.5 times slower.
        for row, matrix in enumerate(design):
            weighted = (matrix * importance[row][:, None]).T
            weights[row] = np.linalg.solve(weighted @ matrix + penalty, weighted @ change[row])
        residual = change - np.vecdot(design, weights[:, None, :])
        residual[~known] = np.nan
        ordinary = np.maximum(spread(residual), _LEAST_INNOVATION)
        excess = np.abs(residual) / (_HUBER * ordinary[:, None])
        # Not by outliers among the lags as well (bounded influence): that learned calm hours only
        # and lost a third of the detected events on recorded KPIs.
        importance = np.where(known, 1.0 / np.maximum(excess, 1.0), 0.0)
    weights[:, lags - 1] += 1.0
    return weights, ordinary


def _bounded(scaled: FloatArray) -> FloatArray:
    """Returns samples within so many spreads of the median that none of them rules the fit."""
    centre, reach = median(scaled)[:, None], _MOST_SPREADS * spread(scaled)[:, None]
    return np.clip(scaled, centre - reach, centre + reach)


def _held(scaled: FloatArray) -> FloatArray:
    """Returns the samples with the latest known one in place of a missing one, 0 at the start."""
    position = np.where(np.isnan(scaled), -1, np.arange(scaled.shape[1]))
    latest = np.maximum.accumulate(position, axis=1)
    held = np.take_along_axis(scaled, np.maximum(latest, 0), axis=1)
    return np.where(latest >= 0, held, 0.0)


def restore(header: Header, tensors: Tensors) -> AutoregressiveBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    lags = header.get("lags")
    if not isinstance(lags, int) or not 1 <= lags <= 4096:
        raise ValueError(f"lags is {lags!r}, expected 1 to 4096")
    series = len(tensors["weights"]) if "weights" in tensors else 0
    one = {
        name: take_tensor(tensors, name, (series,), np.float64)
        for name in ("centre", "scale", "innovation")
    }
    if (one["scale"] <= 0).any() or (one["innovation"] <= 0).any():
        raise ValueError("scale and innovation must be above zero")
    return AutoregressiveBank(
        weights=take_tensor(tensors, "weights", (series, lags), np.float32),
        bias=take_tensor(tensors, "bias", (series,), np.float32),
        **one,
    )


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns three samples for each weight."""
    return 3 * own_parameters(AutoregressiveParameters, parameters).lags


AUTOREGRESSIVE = Family(
    name="autoregressive",
    parameters=AutoregressiveParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
)
