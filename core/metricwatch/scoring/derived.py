"""Long evidence that every family with a residual has: its sums over windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, Horizon, Stream, residual_row
from metricwatch.algorithms.robust import quantiles
from metricwatch.algorithms.window_sums import WindowSums

Bools = NDArray[np.bool_]

WIDTHS = (12, 48)
SUMS = tuple(
    Stream(f"residual_sum_{width}", Horizon.LONG, signed=True, in_units=True) for width in WIDTHS
)
_RESIDUAL_99 = 2.576 * 4
_MOST = 20.0
"""Ordinary residuals that one sample counts for at most: a spike is no shift."""


def all_streams(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    """Returns the streams of a bank and those that are made of its residual."""
    return tuple(streams) if residual_row(streams) is None else (*streams, *SUMS)


def ordinary_residual(
    streams: Sequence[Stream], evidence: FloatArray, value_step: FloatArray
) -> FloatArray:
    """Returns float64[S]: a standard deviation of the residual by its body and its edge.

    NaN where there is no residual at all.
    """
    row = residual_row(streams)
    if row is None:
        return value_step.astype(np.float64)
    size = np.abs(evidence[row])
    q50, q90, q99 = quantiles(size, 0.5, 0.9, 0.99)
    body = np.fmax(q50 / 0.6745, q90 / 1.6449)
    return np.asarray(np.maximum(np.fmax(body, q99 / _RESIDUAL_99), value_step))


class Derived:
    """Sums of the residuals of S series, each sample bounded."""

    __slots__ = ("_bound", "_row", "_sums", "_told")

    def __init__(self, row: int, ordinary: FloatArray) -> None:
        """Starts with empty windows.

        Args:
            row: of the residual in the evidence.
            ordinary: float[S], size of an ordinary residual; NaN where it is unknown.
        """
        self._row = row
        self._bound = (_MOST * np.nan_to_num(ordinary)).astype(np.float64)
        self._sums = WindowSums(len(ordinary), WIDTHS)
        self._told = WindowSums(len(ordinary), WIDTHS)

    def extended(self, evidence: FloatArray) -> FloatArray:
        """Returns evidence [K, S, B] with the rows that are made of it after it.

        They are NaN while the size of an ordinary residual is unknown.
        """
        residual = evidence[self._row]
        made = _advance(self._sums, self._bounded(residual))
        made[:, np.isnan(residual) | (self._bound == 0.0)[:, None]] = np.nan
        return np.concatenate([evidence, made])

    def told_part(self, evidence: FloatArray, told: Bools) -> FloatArray:
        """Returns what told samples have in the sums, float64[2, S, B].

        Spans may be passed over while no window holds a told sample, and in no other case.

        Args:
            evidence: of a span, the same as for `extended`.
            told: bool[S, B].
        """
        return _advance(self._told, np.where(told, self._bounded(evidence[self._row]), 0.0))

    def learn_ordinary(self, ordinary: FloatArray) -> None:
        """Takes the size of an ordinary residual of series where it was unknown."""
        unknown = self._bound == 0.0
        if unknown.any():
            self._bound[unknown] = _MOST * np.nan_to_num(ordinary[unknown])

    def grow(self, count: int) -> None:
        """Adds `count` series whose windows are empty."""
        self._bound = np.pad(self._bound, (0, count))
        self._sums.grow(count)
        self._told.grow(count)

    def _bounded(self, residual: FloatArray) -> FloatArray:
        return np.clip(residual, -self._bound[:, None], self._bound[:, None])


def _advance(sums: WindowSums, values: FloatArray) -> FloatArray:
    return sums.step(values[:, 0])[..., None] if values.shape[1] == 1 else sums.run(values)
