"""Learns the subspaces of ordinary windows: the fit half of `subspace_pca`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import quantiles, spread
from metricwatch.algorithms.subspace_windows import MEDIAN_OF, REACH, five_medians, hold

FloatArray32 = NDArray[np.float32]

_PASSES = 3
_MOST_WINDOWS = 4096
_START = 4.0
"""At first windows count less whose squared size is so many medians."""
_CUT = 1.3
"""Then those further out than this, in squared distance for each dimension,"""
_IN_FULL = 0.8
"""but never more than a fifth of them: calm hours alone are not what is ordinary."""
_LEAST_SHARE = 1e-3
_LEAST_VARIANCE = 1e-4
_LEAST_JITTER = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Subspaces:
    """What S series learned about windows of w samples, in k components.

    Attributes:
        basis: float32[S, k, w], orthonormal rows, oldest sample first, largest variance first.
        variances: float32[S, k], above 0: what the scores on the basis ordinarily vary by.
        remainder: float32[S], above 0: ordinary squared distance from the plane.
        predictor: float32[S, w - 1], weights of the earlier samples for the newest one.
        jitter: float32[S], above 0: how far a sample ordinarily lies from the median of five.
    """

    basis: FloatArray32
    variances: FloatArray32
    remainder: FloatArray32
    predictor: FloatArray32
    jitter: FloatArray32

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Returns the subspaces of several blocks of series, at least one."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


def fit_subspaces(
    scaled: FloatArray32, levels: FloatArray32, *, width: int, rank: int
) -> Subspaces:
    """Returns subspaces of all windows of a block of series.

    Args:
        scaled: float32[S, T], NaN where there is no sample.
        levels: float32[S, T], what windows are relative to.
        width: w, samples of a window.
        rank: k, components, below w.
    """
    windows, counts = _training_windows(scaled, levels, width)
    size = np.vecdot(windows, windows)
    # The first covariance needs a robust start: within it, an incident would hide itself.
    weights = _down_weighted(counts, size, _START * quantiles(_counted(size, counts), 0.5)[0])
    for _ in range(_PASSES):
        total = np.maximum(weights.sum(axis=1), 1e-9)
        covariance = np.matmul((windows * weights[..., None]).swapaxes(1, 2), windows)
        variances, vectors = np.linalg.eigh(covariance / total[:, None, None])
        floor = _LEAST_SHARE * variances.mean(axis=1, keepdims=True) + _LEAST_VARIANCE
        variances = np.maximum(variances, floor)
        distance = (np.matmul(windows, vectors) ** 2 / variances[:, None, :]).sum(axis=2)
        ordinary = quantiles(_counted(distance, counts), _IN_FULL)[0]
        weights = _down_weighted(counts, distance, np.fmax(ordinary, _CUT * width))
    variances, vectors = variances[:, ::-1], vectors[:, :, ::-1]
    basis = vectors[:, :, :rank].swapaxes(1, 2)
    remainder = variances[:, rank:].sum(axis=1)
    return Subspaces(
        basis=np.ascontiguousarray(basis, dtype=np.float32),
        variances=variances[:, :rank].astype(np.float32),
        remainder=remainder.astype(np.float32),
        predictor=_predictors(basis, variances[:, :rank], remainder / (width - rank)),
        jitter=_jitter(hold(scaled)),
    )


def _training_windows(
    scaled: FloatArray32, levels: FloatArray32, width: int
) -> tuple[FloatArray32, FloatArray32]:
    """Returns windows float32[S, n, w] and whether each counts, 1 or 0, float32[S, n].

    They are taken evenly from the history: neighbours hardly differ.
    """
    held, known = hold(scaled), ~np.isnan(scaled)
    if scaled.shape[1] < width:
        empty = np.zeros((len(scaled), 1, width), dtype=np.float32)
        return empty, empty[..., 0]
    stride = -(-(scaled.shape[1] - width + 1) // _MOST_WINDOWS)
    windows = sliding_window_view(held, width, axis=1)[:, ::stride]
    windows = np.clip(windows - levels[:, width - 1 :: stride, None], -REACH, REACH)
    measured = sliding_window_view(known, width, axis=1)[:, ::stride].sum(axis=2)
    counts = (2 * measured >= width) & ~np.isnan(windows[..., 0])
    return np.where(counts[..., None], windows, np.float32(0.0)), counts.astype(np.float32)


def _down_weighted(counts: FloatArray32, square: FloatArray32, bound: FloatArray) -> FloatArray32:
    """Returns the weights of windows [S, n], less for a squared distance above bound [S]."""
    least = np.maximum(np.nan_to_num(bound), 1e-9)[:, None]
    excess = (np.maximum(square, least) / least).astype(np.float32)
    return np.asarray(counts / excess**2)


def _counted(square: FloatArray32, counts: FloatArray32) -> FloatArray:
    return np.where(counts > 0, square, np.nan)


def _predictors(basis: FloatArray, variances: FloatArray, noise: FloatArray) -> FloatArray32:
    """Returns the weights of a window's earlier samples in the expectation of its newest.

    Args:
        basis: [S, k, w].
        variances: [S, k].
        noise: [S], variance of each sample off the plane.
    """
    width = basis.shape[2]
    excess = np.maximum(variances - noise[:, None], 0.0)
    covariance = np.matmul((basis * excess[..., None]).swapaxes(1, 2), basis)
    covariance += noise[:, None, None] * np.eye(width)
    weights = np.linalg.solve(covariance[:, :-1, :-1], covariance[:, :-1, -1:])
    return weights[..., 0].astype(np.float32)


def _jitter(held: FloatArray32) -> FloatArray32:
    if held.shape[1] < MEDIAN_OF:
        return np.full(len(held), _LEAST_JITTER, dtype=np.float32)
    medians = five_medians(held)
    away = (held[:, MEDIAN_OF - 1 :] - medians).astype(np.float64)
    return np.maximum(spread(away), _LEAST_JITTER).astype(np.float32)
