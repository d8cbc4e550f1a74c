"""Ridge regressions of S series on their own lags, with large residuals counting less.

The sums of products that a regression needs are those of sliding windows over one series, so that
each is its neighbour on the diagonal plus a product at either end: a row of them takes as many
passes over the history as there are lags, and the rest is arithmetic on small matrices (the
covariance method of linear prediction; Makhoul 1975). Samples that count less (Huber 1964) are
few: their share is taken away again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import quantiles

LEAST_INNOVATION = 1e-6
_HUBER = 4.0
_PASSES = 3
_LEVEL_PENALTY = 1e-3
"""Of the ridge: a level of its own is nothing to be shrunk."""
_QUARTILES_TO_SD = 1 / 1.349
_Q90_SPAN_TO_SD = 1 / 2.5631
_LEAST_SHARE_OF_SD = 0.3


def solve_ridge(scaled: FloatArray, lags: int, ridge: float) -> tuple[FloatArray, FloatArray]:
    """Returns the weights of s autoregressions and the size of their ordinary residuals.

    Args:
        scaled: float64[s, T], NaN where there is no sample.
        lags: how many past samples are looked at.
        ridge: penalty on the weights' distance from persistence (the last sample again).

    Returns:
        Weights float64[s, lags + 1], oldest sample first, the bias last; and float64[s], above 0.
        Without anything to learn from that is persistence.
    """
    weights: FloatArray = np.zeros((len(scaled), lags + 1))
    ordinary: FloatArray = np.full(len(scaled), LEAST_INNOVATION)
    if scaled.shape[1] <= lags:
        weights[:, lags - 1] = 1.0
        return weights, ordinary
    filled = _held(scaled)
    windows = sliding_window_view(filled, lags + 1, axis=1)
    known = ~np.isnan(scaled[:, lags:])
    change = windows[..., -1] - windows[..., -2]
    plain = _products(filled, lags + 1)
    penalty = ridge * np.eye(lags + 1)
    penalty[-1, -1] *= _LEVEL_PENALTY
    importance = known.astype(np.float64)
    for _ in range(_PASSES):
        products = _weighted(plain, windows, importance)
        by_lags = np.delete(products, lags, axis=2)  # the window's last sample is the target
        own = np.delete(by_lags, lags, axis=1)
        towards = products[:, :, lags] - products[:, :, lags - 1]
        towards = np.delete(towards, lags, axis=1)
        weights[:] = np.linalg.solve(own + penalty, towards[..., None])[..., 0]
        said = np.vecdot(windows[..., :-1], weights[:, None, :-1]) + weights[:, -1:]
        residual = np.where(known, change - said, np.nan).astype(np.float32)
        ordinary = np.maximum(_spread(residual), LEAST_INNOVATION)
        excess = np.abs(residual) / (_HUBER * ordinary[:, None])
        # Not by outliers among the lags as well (bounded influence): that learned calm hours only
        # and lost a third of the detected events on recorded KPIs.
        importance = np.where(known, 1.0 / np.maximum(excess, 1.0), 0.0)
    weights[:, lags - 1] += 1.0
    return weights, ordinary


def _held(scaled: FloatArray) -> FloatArray:
    """Returns the samples with the latest known one in place of a missing one, 0 at the start."""
    missing = np.isnan(scaled)
    if not missing.any():
        return scaled
    position = np.where(missing, -1, np.arange(scaled.shape[1]))
    latest = np.maximum.accumulate(position, axis=1)
    held = np.take_along_axis(scaled, np.maximum(latest, 0), axis=1)
    return np.where(latest >= 0, held, 0.0)


def _products(filled: FloatArray, width: int) -> FloatArray:
    """Returns sums over all windows of products of two of their samples.

    Args:
        filled: float64[s, T].
        width: of a window.

    Returns:
        float64[s, width + 1, width + 1]; the last row and column belong to a constant 1.
    """
    series, ticks = filled.shape
    count = ticks - width + 1
    first, last = filled[:, : width - 1], filled[:, count:]
    moved = last[:, :, None] * last[:, None, :] - first[:, :, None] * first[:, None, :]
    sums = np.empty((series, width + 1, width + 1))
    for lag in range(width):
        sums[:, 0, lag] = np.vecdot(filled[:, :count], filled[:, lag : lag + count])
    for row in range(1, width):
        above = sums[:, row - 1, row - 1 : width - 1]
        sums[:, row, row:width] = above + moved[:, row - 1, row - 1 :]
        sums[:, row, :row] = sums[:, :row, row]
    total = filled[:, :count].sum(axis=1, keepdims=True)
    sums[:, width, 0] = total[:, 0]
    sums[:, width, 1:width] = total + np.cumsum(last - first, axis=1)
    sums[:, :width, width] = sums[:, width, :width]
    sums[:, width, width] = count
    return sums


def _weighted(
    plain: FloatArray, windows: FloatArray, importance: NDArray[np.float64]
) -> FloatArray:
    """Returns `plain` with windows that count less than 1 taken away in part."""
    products = plain.copy()
    for row in np.flatnonzero((importance < 1.0).any(axis=1)):
        at = np.flatnonzero(importance[row] < 1.0)
        design = np.ones((len(at), plain.shape[1]))
        design[:, :-1] = windows[row, at]
        products[row] -= (design * (1.0 - importance[row, at])[:, None]).T @ design
    return products


def _spread(residual: NDArray[Any]) -> FloatArray:
    """Returns what `robust.spread` does, of float32[s, n], with quartiles for a third of its time.

    Three of four residuals say how large an ordinary one is; for a lopsided series the median
    absolute deviation would say a little else.
    """
    low, quarter, middle, three, high = quantiles(residual, 0.1, 0.25, 0.5, 0.75, 0.9)
    deviation = residual - middle[:, None].astype(np.float32)
    count = np.maximum(np.count_nonzero(~np.isnan(residual), axis=1), 1)
    plain = np.sqrt(np.nansum(deviation * deviation, axis=1) / count)
    candidates = (
        _QUARTILES_TO_SD * (three - quarter),
        _Q90_SPAN_TO_SD * (high - low),
        _LEAST_SHARE_OF_SD * plain,
    )
    largest: FloatArray = np.maximum.reduce(candidates).astype(np.float64)
    return np.nan_to_num(largest, nan=0.0)
