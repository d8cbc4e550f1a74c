"""What repeats itself after a period, learned from folds and shrunk to what the folds agree on.

A fold is one period of the history, cut into nodes. A profile is the median over folds at each
node, in two parts: a smooth one and what is rough about it. Each part is shrunk by the share of
its variance that is the same in every fold (analysis of variance; James & Stein 1961), so that a
sharp peak that comes back every night stays sharp and noise between neighbouring nodes goes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import median, spread, typical_deviation
from metricwatch.algorithms.wall_clock import Rhythm, Seconds
from metricwatch.series import Grid

_LEVEL_BLOCKS = 24
_SMOOTH_NODES = 5
_WINSOR = 5.0
_MONTH = 31 * 86400
_HALF_WAY = 1e-6
_DOUBT_OF_MONTHS = 3.0
"""Days of a month are few and go with the days before: they agree by chance more than nodes that
are independent of each other, and there are only a few months to tell."""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What S series add at each phase of a rhythm.

    Attributes:
        rhythm: what comes back.
        nodes: float[n, S], values at the phases 0, 1 / n, … of a turn, linear between them. The
            phase comes first because a tick reads one phase of every series.
    """

    rhythm: Rhythm
    nodes: NDArray[np.floating[Any]]

    def at(self, times: Seconds) -> FloatArray:
        """Returns the profile at `times` int64[T], float64[T, S]."""
        count = len(self.nodes)
        _, position = self.rhythm.phase(times, count)
        low = position.astype(np.intp)
        part = (position - low)[:, None]
        after = self.nodes[(low + 1) % count]
        return np.asarray(self.nodes[low % count] * (1.0 - part) + after * part)


def learn_profile(values: FloatArray, grid: Grid, *, rhythm: Rhythm, most_nodes: int) -> Profile:
    """Returns the profile of `values` after taking out a level that moves slower than the rhythm.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        rhythm: what comes back.
        most_nodes: resolution, coarser when ticks are.
    """
    period = rhythm.period or _MONTH
    count = most_nodes if rhythm.period is None else max(1, min(most_nodes, period // grid.step))
    detrended = values - moving_level(values, grid, span=period)
    folds = _folds(detrended, *rhythm.phase(grid.timestamps(), count), count)
    width = 1 if rhythm.period is None else min(_SMOOTH_NODES, count)
    smooth = _moving_mean(folds, width)
    shape = (len(values), -1, count)
    doubt = _DOUBT_OF_MONTHS if rhythm.period is None else 1.0
    nodes = _agreed(smooth.reshape(shape), doubt=doubt)
    nodes += _agreed((folds - smooth).reshape(shape), doubt=doubt)
    return Profile(rhythm=rhythm, nodes=np.ascontiguousarray(nodes.T, dtype=np.float32))


def _folds(values: FloatArray, turn: Seconds, position: FloatArray, count: int) -> FloatArray:
    """Returns float64[S, K * count]: the mean of the samples nearest to each node of each turn.

    A sample half way between two nodes counts for both; given to one of them it would move the
    whole profile by half a tick.
    """
    after = turn * count + np.floor(position + 0.5 + _HALF_WAY).astype(np.int64)
    before = turn * count + np.floor(position + 0.5 - _HALF_WAY).astype(np.int64)
    first = before.min() // count
    shape = (len(values), (after.max() // count - first + 1) * count)
    folds = _node_means(values, after - first * count, shape)
    if (after != before).any():
        other = _node_means(values, before - first * count, shape)
        either = np.where(np.isnan(folds), other, folds)
        folds = np.where(np.isnan(other), either, 0.5 * (either + other))
    return folds


def _node_means(values: FloatArray, node: Seconds, shape: tuple[int, int]) -> FloatArray:
    """Returns the mean of the samples at each node, float64 of `shape`, NaN for none."""
    if (np.diff(node) < 0).any():
        # Clocks were put back: an hour of the wall clock was there twice.
        order = np.argsort(node, kind="stable")
        node, values = node[order], values[:, order]
    present, means = block_means(values, node)
    folds = np.full(shape, np.nan)
    folds[:, present] = means
    return folds


def moving_level(values: FloatArray, grid: Grid, *, span: int) -> FloatArray:
    """Returns the two-sided moving median over `span` seconds, float64[S, T].

    It is made of block means, one level a block; the ends hold the nearest whole window. Only for
    learning: it looks ahead.
    """
    block = max(grid.step, span // _LEVEL_BLOCKS)
    window = max(1, span // block)
    present, means = block_means(values, grid.timestamps() // block)
    blocks = np.full((len(values), present[-1] - present[0] + 1), np.nan)
    blocks[:, present - present[0]] = means
    if blocks.shape[1] <= window:
        return np.broadcast_to(median(values)[:, None], values.shape)
    whole = median(sliding_window_view(blocks, window, axis=1))
    centre = np.clip(np.arange(blocks.shape[1]) - window // 2, 0, whole.shape[1] - 1)
    level = whole[:, centre]
    level = np.where(np.isnan(level), median(values)[:, None], level)
    return level[:, grid.timestamps() // block - present[0]]


def block_means(
    values: FloatArray, block: NDArray[np.int64]
) -> tuple[NDArray[np.int64], FloatArray]:
    """Returns which blocks there are and the mean of each, NaN for one without samples.

    Args:
        values: float64[S, T], NaN where there is no sample.
        block: int64[T], never falling.

    Returns:
        int64[B] and float64[S, B].
    """
    starts = np.flatnonzero(np.diff(block, prepend=block[:1] - 1))
    known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(known, values, 0.0), starts, axis=1)
    counts = np.add.reduceat(known, starts, axis=1, dtype=np.int64)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return block[starts], means


def _moving_mean(values: FloatArray, width: int) -> FloatArray:
    """Returns the centred moving mean over `width` columns, over what is known of them."""
    half = width // 2
    known = np.pad(~np.isnan(values), ((0, 0), (half, width - 1 - half)))
    padded = np.pad(np.nan_to_num(values), ((0, 0), (half, width - 1 - half)))
    sums = sliding_window_view(padded, width, axis=1).sum(axis=-1)
    counts = sliding_window_view(known, width, axis=1).sum(axis=-1)
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return np.where(np.isnan(values), np.nan, mean)


def _ordinary(deviation: FloatArray) -> FloatArray:
    """Returns the scale of each row, also of one that rests at 0 most of the time."""
    scale = typical_deviation(deviation)
    resting = scale == 0
    scale[resting] = spread(deviation[resting])
    return scale


def _agreed(folds: FloatArray, *, doubt: float = 1.0) -> FloatArray:
    """Returns float64[S, n]: the median over folds [S, K, n], shrunk to what they agree on.

    Args:
        folds: NaN where a fold has no sample.
        doubt: how many times its expected size the variance is taken to be that chance leaves.
    """
    series = len(folds)
    by_node = folds.transpose(0, 2, 1)
    centre = median(by_node)
    count = np.count_nonzero(~np.isnan(by_node), axis=-1)
    deviation = by_node - centre[..., None]
    bound = _WINSOR * _ordinary(deviation.reshape(series, -1))[:, None, None]
    deviation = np.nan_to_num(np.clip(deviation, -bound, bound))
    repeated = count >= 2
    nodes = np.maximum(np.count_nonzero(repeated, axis=1), 1)
    offset = deviation.sum(axis=-1) / np.maximum(count, 1)
    scatter = (deviation**2).sum(axis=-1) - count * offset**2
    within = np.where(repeated, scatter / np.maximum(count - 1, 1), 0.0)
    noise = np.maximum(within.sum(axis=1) / nodes, 0.0)
    mean = np.where(repeated, centre + offset, 0.0)
    mean = np.where(repeated, mean - (mean.sum(axis=1) / nodes)[:, None], 0.0)
    chance = np.where(repeated, noise[:, None] / np.maximum(count, 1), 0.0)
    signal = np.maximum((mean**2 - doubt * chance).sum(axis=1) / nodes, 0.0)[:, None]
    share = signal / np.maximum(signal + noise[:, None] / np.maximum(count, 1), 1e-300)
    agreed: FloatArray = np.nan_to_num(centre) * share
    return agreed
