"""How noisy a series is at each hour of the day.

A web shop is calm at night and rough at noon, so one deviation means different things. The spread
of each hour, as a ratio to the overall one, is kept as far as the odd and the even days of the
history say the same (split-half reliability; Spearman 1910; Brown 1910): a series whose days do
not agree has the same spread at all hours.
"""

from __future__ import annotations

import math

import numpy as np

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.profile import Profile
from metricwatch.algorithms.robust import median, spread
from metricwatch.algorithms.wall_clock import DAY, Rhythm, Seconds
from metricwatch.series import Grid

MOST_NODES = 24
_LEAST_DAYS = 4
_LARGEST_RATIO = 8.0
_ERRORS_OFF = 1.0


def learn_phase_spread(residual: FloatArray, grid: Grid, zone: str) -> tuple[FloatArray, Profile]:
    """Returns the overall spread, float64[S], and its ratio by phase of the local day.

    Args:
        residual: float64[S, T], NaN where there is none.
        grid: T ticks.
        zone: whose wall clock counts.
    """
    overall = spread(residual)
    rhythm = Rhythm(DAY, zone)
    count = max(1, min(MOST_NODES, DAY // grid.step))
    ratio = np.ones((len(residual), count))
    if count > 1 and grid.count * grid.step >= _LEAST_DAYS * DAY:
        turn, position = rhythm.phase(grid.timestamps(), count)
        node = np.floor(position + 0.5).astype(np.int64) % count
        odd, even = (
            _log_ratios(residual, np.where(turn % 2 == half, node, -1), count) for half in (0, 1)
        )
        ratio = np.exp(_agreed(odd, even))
    ratio = np.clip(ratio, 1 / _LARGEST_RATIO, _LARGEST_RATIO)
    nodes = np.ascontiguousarray(ratio.T, dtype=np.float16)
    return overall, Profile(rhythm=rhythm, nodes=nodes)


def _log_ratios(residual: FloatArray, node: Seconds, count: int) -> FloatArray:
    """Returns ln of the spread at each node over the mean of all, float64[S, count], 0 unknown."""
    logs = np.full((len(residual), count), np.nan)
    for index in range(count):
        # Around 0, not around a median: a residual is no better for being always too large.
        size = median(np.abs(residual[:, node == index]))
        logs[:, index] = np.log(np.where(size > 0, size, np.nan))
    known = ~np.isnan(logs)
    mean = np.where(known, logs, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, logs - mean[:, None], 0.0)


def _agreed(odd: FloatArray, even: FloatArray) -> FloatArray:
    """Returns the mean of both halves, smoothed and shrunk to what they agree on, [S, count]."""
    odd, even = _smooth(odd), _smooth(even)
    common = (odd * even).mean(axis=1)
    # What two halves that have nothing to do with each other agree on by chance.
    error = np.sqrt((odd**2).mean(axis=1) * (even**2).mean(axis=1) / (odd.shape[1] / 2))
    mean = 0.5 * (odd + even)
    total = (mean**2).mean(axis=1)
    signal = np.maximum(common - _ERRORS_OFF * error, 0.0)
    share = np.minimum(signal / np.maximum(total, math.ulp(1.0)), 1.0)
    return np.asarray(mean * share[:, None])


def _smooth(values: FloatArray) -> FloatArray:
    """Returns the circular mean over each node and its neighbours, the node counting twice."""
    return np.asarray(
        0.5 * values + 0.25 * (np.roll(values, 1, axis=1) + np.roll(values, -1, axis=1))
    )
