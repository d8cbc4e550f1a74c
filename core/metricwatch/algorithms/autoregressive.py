"""Ridge autoregression: the next sample as a weighted sum of the latest ones.

Weights shrink towards persistence (the last sample again), not towards zero, and large residuals
count less (Huber 1964), so that incidents in the history bend nothing. Samples are centred and
scaled in float64 and kept in float32: counters of 1e12 lose nothing that matters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.autoregressive_fit import LEAST_INNOVATION, solve_ridge
from metricwatch.algorithms.autoregressive_state import MOST, FloatArray32, LaggedState
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
    Suggest,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.robust import median, spread
from metricwatch.algorithms.scaling import centre_and_scale
from metricwatch.resources.algorithm import AutoregressiveParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_MOST_SPREADS = 200.0
"""A sample further out than this teaches as if it were here."""
_BLOCK_BYTES = 2 * 1024 * 1024
"""Of the samples that are solved for at once, so that they stay in the cache."""


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
        self._state = LaggedState(weights, bias, innovation)

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
        forecast, _ = self.advance(values)
        expected = self.unscaled(forecast)
        return Prediction.forecast(expected, values - expected)

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        check_history(values, grid)
        forecast, _ = self.advance(values)
        expected = self.unscaled(forecast)
        return Prediction.forecast(expected, values - expected)

    def advance(self, values: FloatArray) -> tuple[FloatArray32, FloatArray32]:
        """Advances by one tick, float64[S], or by T ticks, float64[S, T].

        Returns:
            What was forecast and what went into the lags, both in scales and of the shape of
            `values`: the first is NaN where a series is not warm, the second never.
        """
        scaled = self.scaled(values)
        return self._state.step(scaled) if values.ndim == 1 else self._state.run(scaled)

    def scaled(self, values: FloatArray) -> FloatArray32:
        """Returns samples as this bank sees them, float32 of the shape of `values`."""
        return comparable(values, self.centre, self.scale).astype(np.float32)

    def unscaled(self, forecast: NDArray[np.floating[Any]]) -> FloatArray:
        """Returns a forecast in scales, of [S] or [S, T], in the unit of the samples."""
        scale, centre = self.scale, self.centre
        if forecast.ndim == 2:
            scale, centre = scale[:, None], centre[:, None]
        expected = forecast * scale
        expected += centre
        return expected

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
    scaled = _bounded(comparable(values, centre, scale), scaling)
    weights = np.zeros((series, lags), dtype=np.float32)
    bias = np.zeros(series, dtype=np.float32)
    innovation: FloatArray = np.full(series, LEAST_INNOVATION)
    block = max(1, _BLOCK_BYTES // (8 * max(ticks, 1)))
    for first in range(0, series, block):
        if should_stop is not None and should_stop():
            raise FitStopped
        rows = slice(first, min(first + block, series))
        solved, innovation[rows] = solve_ridge(scaled[rows], lags, ridge)
        weights[rows], bias[rows] = solved[:, :-1], solved[:, -1]
        if progress is not None:
            progress(Progress(family=AutoregressiveBank.family, series=rows.stop, of=series))
    return AutoregressiveBank(
        centre=centre, scale=scale, weights=weights, bias=bias, innovation=innovation
    )


def comparable(values: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Returns float64[S] or [S, T] centred and scaled series by series, within `MOST`."""
    if values.ndim == 2:
        centre, scale = centre[:, None], scale[:, None]
    scaled = values - centre
    scaled /= scale
    np.minimum(scaled, MOST, out=scaled)
    return np.maximum(scaled, -MOST, out=scaled)


def _bounded(scaled: FloatArray, scaling: Scaling) -> FloatArray:
    """Returns samples within so many spreads of the median that none of them rules the fit."""
    if scaling is Scaling.ROBUST:
        return np.clip(scaled, -_MOST_SPREADS, _MOST_SPREADS)
    centre, reach = median(scaled)[:, None], _MOST_SPREADS * spread(scaled)[:, None]
    return np.clip(scaled, centre - reach, centre + reach)


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


def search(suggest: Suggest) -> AutoregressiveParameters:
    """Returns parameters to try."""
    return AutoregressiveParameters(
        lags=suggest.suggest_int("lags", 4, 128, log=True),
        ridge=suggest.suggest_float("ridge", 1e-2, 1e3, log=True),
    )


AUTOREGRESSIVE = Family(
    name="autoregressive",
    parameters=AutoregressiveParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
