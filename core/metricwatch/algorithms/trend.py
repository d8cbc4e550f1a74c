"""Where a series is going: straight lines that bend where the history says so.

A line with a hinge at each of a few knots is fitted to one value a day. A penalty on every change
of slope that does not depend on its size, the adaptive ridge of Frommlet & Nuel (PLoS ONE 2016),
chooses the hinges like an information criterion does, for all series in the same few linear
systems; Huber's weights keep an incident of days from bending it. The slope at the end goes on
but dies away (Gardner & McKenzie 1985), because no slope of a metric lasts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.profile import block_means
from metricwatch.algorithms.robust import median, spread, typical_deviation
from metricwatch.algorithms.wall_clock import DAY, Seconds
from metricwatch.series import Grid

MOST_KNOTS = 25
_MOST_BLOCKS = 96
_LEAST_BLOCKS = 7
_BLOCKS_BETWEEN_KNOTS = 4
_ITERATIONS = 12
_HUBER = 2.0
_PENALTY = 4.0
"""In units of what the Bayesian information criterion asks for: levels of days are no coin flips,
they wander, and a wandering level must not look like a slope."""
_ZERO_SQUARED = 1e-3
_LEAST_RIDGE = 1e-6
_DAMPING_SHARE = 0.25
_SURE = 2.5
"""Standard errors of a wandering level below which a slope is taken for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """A broken line for each of S series.

    Attributes:
        start: unix seconds of the first knot; before it the line is level.
        spacing: seconds between knots.
        knots: float32[K, S], the line at each knot.
        slope: float32[S], how much the line rises in one spacing at its end.
        fade: seconds after the last knot in which the slope falls to 37 %.
    """

    start: int
    spacing: int
    knots: NDArray[np.float32]
    slope: NDArray[np.float32]
    fade: int

    def at(self, times: Seconds) -> FloatArray:
        """Returns the trend at `times` int64[T], float64[T, S]."""
        last = len(self.knots) - 1
        position = np.maximum(times - self.start, 0) / self.spacing
        inside = np.minimum(position, last)
        low = np.minimum(inside.astype(np.intp), max(last - 1, 0))
        part = (inside - low)[:, None]
        after = self.knots[np.minimum(low + 1, last)]
        line = self.knots[low] * (1.0 - part) + after * part
        fade = self.fade / self.spacing
        beyond = -fade * np.expm1((inside - position) / fade)
        return np.asarray(line + beyond[:, None] * self.slope)


def learn_trend(values: FloatArray, grid: Grid, *, bends: bool) -> Trend | None:
    """Returns the trend, None when there are too few days to tell one from a wandering level.

    Args:
        values: float64[S, T] without what repeats itself, NaN where there is no sample.
        grid: T ticks.
        bends: whether the slope may change; otherwise it is one straight line.
    """
    length = grid.count * grid.step
    block = max(DAY * math.ceil(length / DAY / _MOST_BLOCKS), grid.step)
    times = (grid.timestamps() - grid.start) // block
    present, means = block_means(values, times)
    if len(present) < _LEAST_BLOCKS:
        return None
    pieces = max(1, len(present) // _BLOCKS_BETWEEN_KNOTS) if bends else 1
    pieces = min(pieces, MOST_KNOTS - 1)
    spacing = math.ceil(length / pieces)
    at = (np.arange(len(present)) + 0.5) * block / spacing
    knots, slope = _broken_lines(means, at, pieces)
    return Trend(
        start=grid.start,
        spacing=spacing,
        knots=np.ascontiguousarray(knots.T, dtype=np.float32),
        slope=slope.astype(np.float32),
        fade=max(1, round(_DAMPING_SHARE * length)),
    )


def _broken_lines(
    values: FloatArray, at: FloatArray, pieces: int
) -> tuple[FloatArray, FloatArray]:
    """Returns the line at each knot, float64[S, pieces + 1], and its slope at the end, float64[S].

    Args:
        values: float64[S, B], NaN where there is none.
        at: float64[B], where they are, in pieces.
        pieces: straight parts; knots are at 0, 1, …, pieces.
    """
    unit = _wandering(values)[:, None]
    middle = np.nan_to_num(median(values))[:, None]
    known = ~np.isnan(values)
    target = np.where(known, (values - middle) / unit, 0.0)
    hinges = np.maximum(np.subtract.outer(at, np.arange(pieces)), 0.0)
    basis = np.concatenate([np.ones((len(at), 1)), hinges], axis=1)
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(at), -1)
    penalty = _PENALTY * math.log(len(at))
    columns = basis.shape[1]
    weight = known.astype(np.float64)
    # The intercept is as good as free; without any sample it keeps the system solvable.
    ridge = np.full((len(values), columns), 1e-3)
    ridge[:, 0] = _LEAST_RIDGE
    for _ in range(_ITERATIONS):
        system = (weight @ products).reshape(-1, columns, columns)
        system[:, np.arange(columns), np.arange(columns)] += ridge
        right = (weight * target) @ basis
        change = np.linalg.solve(system, right[..., None])[..., 0]
        ridge[:, 1:] = penalty / (change[:, 1:] ** 2 + _ZERO_SQUARED) + _LEAST_RIDGE
        size = np.abs(target - change @ basis.T)
        weight = known * np.minimum(1.0, _HUBER / np.maximum(size, _HUBER))
    # What the penalty has all but removed is removed.
    change[:, 1:][change[:, 1:] ** 2 < 10 * _ZERO_SQUARED] = 0.0
    corners = np.maximum(np.subtract.outer(np.arange(pieces + 1), np.arange(pieces)), 0.0)
    lines = change[:, :1] + change[:, 1:] @ corners.T
    return middle + unit * lines, unit[:, 0] * _last_slope(change[:, 1:], len(at))


def _last_slope(change: FloatArray, blocks: int) -> FloatArray:
    """Returns the slope at the end as far as no random walk would have it, float64[S].

    A walk of L steps of size 1 seems to rise by sqrt(L), so a slope is shrunk by its square in
    units of that (James & Stein 1961).

    Args:
        change: float64[S, pieces], change of slope at each knot, in steps a piece.
        blocks: days of the history.
    """
    pieces = change.shape[1]
    slope = change.sum(axis=1)
    bends = change != 0
    last = np.where(bends.any(axis=1), pieces - 1 - np.argmax(bends[:, ::-1], axis=1), 0)
    days = blocks / pieces * (pieces - last)
    by_chance = (blocks / pieces) ** 2 / days * _SURE**2
    return np.asarray(slope * np.maximum(1.0 - by_chance / np.maximum(slope**2, 1e-300), 0.0))


def _wandering(values: FloatArray) -> FloatArray:
    """Returns the standard deviation of a day from the one before, float64[S], above 0.

    It is taken from changes of the change, in which a slope is not seen, nor where it bends.
    """
    scale = typical_deviation(np.diff(values, n=2, axis=1)) / math.sqrt(2.0)
    scale = np.where(scale > 0, scale, spread(values))
    return np.where(scale > 0, scale, 1.0)
