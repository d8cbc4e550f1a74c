"""What repeats itself after a period, learned from folds and shrunk to what the folds agree on.

A fold is one period of the history, cut into nodes. A profile is the median over folds at each
node, in two parts: a smooth one and what is rough about it. Each part is shrunk by the share of
its variance that is the same in every fold (analysis of variance; James & Stein 1961), so that a
sharp peak that comes back every night stays sharp and noise between neighbouring nodes goes away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import median, typical_deviation
from metricwatch.series import Grid

_LEVEL_BLOCKS = 24
_SMOOTH_NODES = 5
_WINSOR = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What S series add at each phase of one period.

    Attributes:
        period: seconds.
        nodes: float32[S, n], values at the phases 0, period / n, …, linear between them.
    """

    period: int
    nodes: NDArray[np.float32]

    def at(self, times: NDArray[np.int64]) -> FloatArray:
        """Returns the profile at `times` int64[T], float64[S, T]."""
        count = self.nodes.shape[1]
        position = (times % self.period) * (count / self.period)
        low = position.astype(np.intp)
        part = position - low
        after = self.nodes[:, (low + 1) % count]
        return np.asarray(self.nodes[:, low % count] * (1.0 - part) + after * part)


def learn_profile(values: FloatArray, grid: Grid, *, period: int, most_nodes: int) -> Profile:
    """Returns the profile of `values` after taking out a level that moves slower than the period.

    Args:
        values: float64[S, T], NaN where there is no sample.
        grid: T ticks.
        period: seconds.
        most_nodes: resolution, coarser when ticks are.
    """
    count = max(1, min(most_nodes, period // grid.step))
    times = grid.timestamps()
    detrended = values - moving_level(values, grid, span=period)
    node = np.floor((times / period) * count + 0.5).astype(np.int64)
    present, means = block_means(detrended, node)
    first = present[0] // count
    folds = np.full((len(values), (present[-1] // count - first + 1) * count), np.nan)
    folds[:, present - first * count] = means
    smooth = _moving_mean(folds, min(_SMOOTH_NODES, count))
    shape = (len(values), -1, count)
    nodes = _agreed(smooth.reshape(shape)) + _agreed((folds - smooth).reshape(shape))
    return Profile(period=period, nodes=nodes.astype(np.float32))


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


def _agreed(folds: FloatArray) -> FloatArray:
    """Returns float64[S, n]: the median over folds [S, K, n], shrunk to what they agree on."""
    series = len(folds)
    by_node = folds.transpose(0, 2, 1)
    centre = median(by_node)
    count = np.count_nonzero(~np.isnan(by_node), axis=-1)
    deviation = by_node - centre[..., None]
    bound = _WINSOR * typical_deviation(deviation.reshape(series, -1))[:, None, None]
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
    signal = np.maximum((mean**2 - chance).sum(axis=1) / nodes, 0.0)[:, None]
    share = signal / np.maximum(signal + noise[:, None] / np.maximum(count, 1), 1e-300)
    agreed: FloatArray = np.nan_to_num(centre) * share
    return agreed
