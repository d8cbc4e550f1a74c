"""How rare evidence of some size is: body and tail of the sizes of each stream of each series.

The body is a histogram over all history; its 95 and 99 % quantiles give the slope of the tail,
shrunk towards that of a normal distribution because a quantile of a short history is no
measurement. Beyond the 99 % quantile the tail is Pareto, with the predictive (Lomax) form instead
of the plugged-in slope: the fewer clusters of large sizes were ever seen, the heavier, so a short
history is more cautious. Excesses seen live update the slope, one a cluster, winsorised.

The extremes of the history have no say in the slope: a history holds incidents, and a tail fitted
to them is blind.

Sources: Hill 1975; Davison & Smith 1990 (declustered peaks over threshold); Siffer et al., KDD
2017 (DSPOT); Gamma-exponential conjugacy with its Lomax predictive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, take_tensor
from metricwatch.algorithms.robust import quantiles
from metricwatch.scoring.clusters import follow_clusters

Bools = NDArray[np.bool_]
Floats32 = NDArray[np.float32]

BODY = 2.0
"""Rarity at the 99 % quantile, where the tail begins."""
CLUSTER_GAP = 15
"""Ticks without a large size after which the next one belongs to another cluster."""

_BINS_PER_OCTAVE = 4
_OCTAVES_BELOW = 12
_BINS = 2 * _OCTAVES_BELOW * _BINS_PER_OCTAVE
_FULLEST_BIN = 60_000
_PRIOR_SAMPLES = 50.0
_LOG_FIVE = math.log(5.0)
"""Between the 95 and the 99 % quantile the probability falls by five."""
_NORMAL_LOG_RATIO = math.log(1.6) * math.log10(5.0)
_MEASURED_SHARE = 0.6
_LEAST_SLOPE = 0.15 / _LOG_FIVE
_MOST_EXCESS_IN_SLOPES = 6.0
"""Of the body alone: were it of the slope, every incident would widen what the next may teach."""
_PREDICTIVE = 0.3
_LEAST_WEIGHT = 6.0
"""Below it the tail of a few calm days has no end: nothing would alert on them, least of all at a
fast interval. On recordings with two days of history 1, 3 and 6 give the same false alarms."""
_MOST_LOG_EXCESS = 80.0
_FIRST_SAMPLES = 7
_FRESH_PRIOR = 2.0
"""With 1 a series of few samples gives a third more false alarms and says less of a real one."""
_UNIT_FROM_99 = 2.576 * 32
"""A body that mostly rests near zero still has its 99 % quantile well inside the histogram."""
_LEAST_LEARNED = 250
"""Samples whose quantiles can be told from each other."""
LEAST_FLOOR = 1e-9
"""Of a stream of whose values nothing is known."""
_TINY = 1e-30

_STORED = ("unit", "floor", "prior", "excess_sum", "excess_count")


class Tails:
    """Bodies and tails of K streams of S series; every array is [K, S]."""

    __slots__ = (
        "_body",
        "_counts",
        "_excess_count",
        "_excess_sum",
        "_first_count",
        "_first_sum",
        "_floor",
        "_peak",
        "_prior",
        "_since",
        "_slope",
        "_unit",
        "_weight",
        "q99",
    )

    def __init__(
        self,
        *,
        unit: Floats32,
        floor: Floats32,
        prior: Floats32,
        excess_sum: Floats32,
        excess_count: Floats32,
        counts: NDArray[np.uint16],
    ) -> None:
        """Takes stored arrays over; `fit`, `fresh` and `restore` are the ways to make them.

        Args:
            unit: size at the middle of the histogram; NaN while it is unknown.
            floor: the least 99 % quantile.
            prior: weight of the body's slope, in clusters.
            excess_sum: sum of ln(peak / q99) of clusters seen live.
            excess_count: how many.
            counts: uint16[K, S, bins] over log2(size / unit).
        """
        self._unit = unit
        self._floor = floor
        self._prior = prior
        self._excess_sum = excess_sum
        self._excess_count = excess_count
        self._counts = counts
        self._first_sum = np.zeros_like(unit)
        self._first_count = np.zeros_like(unit)
        self._peak = np.zeros_like(unit)
        self._since = np.full(unit.shape, CLUSTER_GAP, dtype=np.int32)
        self.q99 = np.empty_like(unit)
        self._slope = np.empty_like(unit)
        self._body = np.empty_like(unit)
        self._weight = np.empty_like(unit)
        self.refresh()

    @property
    def streams(self) -> int:
        """K."""
        return len(self._unit)

    @property
    def series(self) -> int:
        """S."""
        return int(self._unit.shape[1])

    @classmethod
    def fit(cls, evidence: FloatArray, *, floor: FloatArray, weight: FloatArray) -> Tails:
        """Returns the tails that held-back evidence of a history shows.

        Args:
            evidence: float[K, S, T], NaN where there is none.
            floor: float[K, S], the least 99 % quantile, such as a step and a half of the values.
            weight: float[K], for how many clusters seen live one cluster of the history counts.
        """
        size = np.abs(evidence).astype(np.float64)
        least = np.maximum(floor, _TINY).astype(np.float32)
        q50, q90, q99 = quantiles(size, 0.5, 0.9, 0.99)
        body = np.fmax(q50 / 0.6745, q90 / 1.6449)
        unit = np.maximum(np.fmax(body, q99 / _UNIT_FROM_99), least)
        unknown = np.isnan(unit)
        fitted = cls(
            unit=unit.astype(np.float32),
            floor=least,
            prior=np.where(unknown, np.float32(_FRESH_PRIOR), np.float32(1)),
            excess_sum=np.zeros_like(least),
            excess_count=np.zeros_like(least),
            counts=_histogram(size, unit),
        )
        clusters = count_clusters(size > fitted.q99[..., None])
        fitted._prior += (weight[:, None] * clusters).astype(np.float32)
        fitted.refresh()
        return fitted

    @classmethod
    def fresh(cls, series: int, *, floor: FloatArray) -> Tails:
        """Returns tails that know nothing: rarities are NaN until they have seen a few sizes.

        Args:
            series: S.
            floor: float[K].
        """
        shape = (len(floor), series)
        return cls(
            unit=np.full(shape, np.nan, dtype=np.float32),
            floor=np.broadcast_to(np.maximum(floor, _TINY)[:, None], shape).astype(np.float32),
            prior=np.full(shape, _FRESH_PRIOR, dtype=np.float32),
            excess_sum=np.zeros(shape, dtype=np.float32),
            excess_count=np.zeros(shape, dtype=np.float32),
            counts=np.zeros((*shape, _BINS), dtype=np.uint16),
        )

    def unit(self, stream: int) -> FloatArray:
        """Returns float64[S]: about a standard deviation of a stream, NaN where unknown."""
        return np.asarray(self._unit[stream], dtype=np.float64)

    def level(self, share: float) -> Floats32:
        """Returns float32[K, S]: the size that `share` of what was learned does not pass.

        NaN where less than `_LEAST_LEARNED` was learned.
        """
        level = np.maximum(_levels(self._counts, share)[0] * self._unit, self._floor)
        learned = self._counts.sum(axis=2, dtype=np.int64)
        return np.where(learned < _LEAST_LEARNED, np.float32(np.nan), level)

    def rarity(self, size: Floats32, at: Any = ...) -> Floats32:
        """Returns -log10 of the probability that ordinary evidence is at least of this size.

        Args:
            size: float32[K, S, B], 0 or above.
            at: index of [K, S], which streams of which series these are.

        Returns:
            float32[K, S, B], 0 or above, rising with size; NaN for NaN and for what is unknown.
        """
        weight = self._weight[at]
        ratio = size / self.q99[at][..., None]
        beyond = np.log(np.maximum(ratio, 1.0))
        beyond /= (self._slope[at] * weight)[..., None]
        tail = np.log1p(beyond, out=beyond)
        tail *= ((weight + 1.0) / np.float32(math.log(10.0)))[..., None]
        np.minimum(ratio, 1.0, out=ratio)
        ratio *= BODY
        ratio += tail
        return np.asarray(ratio, dtype=np.float32)

    def reach(self, stream: int, rarity: FloatArray) -> FloatArray:
        """Returns the size at which a stream reaches `rarity` float64[S]: the inverse of it."""
        weight = self._weight[stream].astype(np.float64)
        power = np.maximum(rarity - BODY, 0.0) * math.log(10.0) / (weight + 1.0)
        excess = self._slope[stream] * weight * np.expm1(np.minimum(power, 600.0))
        grown = np.exp(np.minimum(excess, _MOST_LOG_EXCESS))
        return np.asarray(self.q99[stream] * np.minimum(rarity / BODY, 1.0) * grown)

    def learn(self, size: Floats32, judged: Floats32, *, taught: Bools) -> None:
        """Takes sizes into body and tail; `refresh` makes them count.

        Args:
            size: float32[K, S, B], NaN where there is none.
            judged: float32[K, S, B], the same as far as it counts as large: less where large sizes
                recur at this time of day.
            taught: bool[S, B], what may enter the body.
        """
        self._learn_first(size, taught)
        self._learn_body(size, taught)
        self._learn_tail(judged)

    def refresh(self) -> None:
        """Brings units, quantiles and slopes up to date with what was learned."""
        ready = self._first_count >= _FIRST_SAMPLES
        if ready.any():
            # The mean of |N(0, 1)| is sqrt(2 / pi).
            mean = self._first_sum[ready] / self._first_count[ready]
            self._unit[ready] = np.maximum(mean * math.sqrt(math.pi / 2), self._floor[ready])
            self._first_count[ready] = 0.0
        full = self._counts.max(axis=2, initial=0) > _FULLEST_BIN
        if full.any():
            self._counts[full] //= 2
        q95, q99 = _levels(self._counts, 0.95, 0.99)
        np.maximum(q99 * self._unit, self._floor, out=self.q99)
        low = np.minimum(np.maximum(q95 * self._unit, self._floor), self.q99)
        measured = _MEASURED_SHARE * np.log(self.q99 / low)
        body = np.maximum(
            (measured + (1.0 - _MEASURED_SHARE) * _NORMAL_LOG_RATIO) / _LOG_FIVE, _LEAST_SLOPE
        )
        clusters = self._prior + self._excess_count
        self._body[...] = body
        self._slope[...] = (self._prior * body + self._excess_sum) / clusters
        self._weight[...] = np.maximum(_PREDICTIVE * clusters, _LEAST_WEIGHT)

    def grow(self, count: int) -> None:
        """Adds `count` series of which nothing is known."""
        added = Tails.fresh(count, floor=np.full(self.streams, LEAST_FLOOR))
        for name in self.__slots__:
            own = getattr(self, name)
            setattr(self, name, np.concatenate([own, getattr(added, name)], axis=1))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what was learned, series first; a cluster still open is not among it."""
        stored = {name: np.ascontiguousarray(getattr(self, f"_{name}").T) for name in _STORED}
        return stored | {"counts": np.ascontiguousarray(self._counts.transpose(1, 0, 2))}

    @classmethod
    def restore(cls, streams: int, tensors: Mapping[str, NDArray[Any]]) -> Tails:
        """Returns the tails of `streams` streams that `tensors` describe.

        Raises:
            ValueError: they do not fit together.
        """
        series = len(tensors["floor"]) if "floor" in tensors else 0
        one = {
            name: take_tensor(
                tensors, name, (series, streams), np.float32, finite=name != "unit"
            ).T.copy()
            for name in _STORED
        }
        if any((one[name] <= 0).any() for name in ("unit", "floor", "prior")):
            raise ValueError("unit, floor and prior must be above zero")
        if (one["excess_sum"] < 0).any() or (one["excess_count"] < 0).any():
            raise ValueError("excesses cannot be negative")
        counts = take_tensor(tensors, "counts", (series, streams, _BINS), np.uint16)
        return cls(counts=counts.transpose(1, 0, 2).copy(), **one)

    def _learn_first(self, size: Floats32, taught: Bools) -> None:
        """Sums up the first sizes of a stream that is new; their mean gives its unit."""
        unknown = np.isnan(self._unit)
        if not unknown.any():
            return
        first = unknown[..., None] & taught & ~np.isnan(size)
        for tick in range(size.shape[2]):
            now = first[..., tick]
            self._first_sum[now] += size[..., tick][now]
            self._first_count[now] += 1

    def _learn_body(self, size: Floats32, taught: Bools) -> None:
        ratio = size / self._unit[..., None]
        known = np.flatnonzero(taught & ~np.isnan(ratio))
        ticks = size.shape[2]
        at = known // ticks * _BINS + _bins(ratio.reshape(-1)[known])
        counts = self._counts.reshape(-1)
        if ticks == 1:
            counts[at] += 1
        else:
            np.add.at(counts, at, np.uint16(1))

    def _learn_tail(self, judged: Floats32) -> None:
        """Follows clusters of large sizes; a closed one gives one winsorised excess."""
        ratio = np.fmax(judged / self.q99[..., None], np.float32(0))
        height = np.log(np.maximum(ratio, 1.0))
        for closed, peak in follow_clusters(
            ratio > 1.0, height, peak=self._peak, since=self._since, gap=CLUSTER_GAP
        ):
            most = _MOST_EXCESS_IN_SLOPES * self._body[closed]
            self._excess_sum[closed] += np.minimum(peak[closed], most)
            self._excess_count[closed] += 1


def count_clusters(beyond: Bools) -> FloatArray:
    """Returns how many runs of bool[..., T] there are with a gap of `CLUSTER_GAP` before each."""
    position = np.arange(beyond.shape[-1])
    last = np.maximum.accumulate(np.where(beyond, position, -CLUSTER_GAP - 1), axis=-1)
    before = np.full((*beyond.shape[:-1], 1), -CLUSTER_GAP - 1)
    earlier = np.concatenate([before, last[..., :-1]], axis=-1)[..., : beyond.shape[-1]]
    starts = beyond & (position - earlier > CLUSTER_GAP)
    return np.asarray(np.count_nonzero(starts, axis=-1), dtype=np.float64)


def _bins(ratio: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Returns the histogram bin of size / unit; ends take what is beyond them."""
    octave = np.log2(np.maximum(ratio, 2.0**-_OCTAVES_BELOW)) + _OCTAVES_BELOW
    return np.asarray(np.minimum((octave * _BINS_PER_OCTAVE).astype(np.intp), _BINS - 1))


def _histogram(size: FloatArray, unit: FloatArray) -> NDArray[np.uint16]:
    """Returns uint16[K, S, bins] of sizes [K, S, T], NaN left out, halved until it fits."""
    streams, series, _ = size.shape
    counts = np.empty((streams, series, _BINS), dtype=np.uint16)
    for stream in range(streams):
        for row in range(series):
            known = size[stream, row][~np.isnan(size[stream, row])]
            found = np.bincount(_bins(known / unit[stream, row]), minlength=_BINS)
            while found.max(initial=0) > _FULLEST_BIN:
                found //= 2
            counts[stream, row] = found
    return counts


def _normal_counts() -> FloatArray:
    """Returns what a few samples of a normal distribution would leave in the histogram."""
    edges = 2.0 ** (np.arange(_BINS + 1) / _BINS_PER_OCTAVE - _OCTAVES_BELOW)
    below = np.array([math.erf(edge / math.sqrt(2.0)) for edge in edges])
    below[0], below[-1] = 0.0, 1.0
    return np.asarray(_PRIOR_SAMPLES * np.diff(below))


_NORMAL_TOTAL = np.cumsum(_normal_counts()).astype(np.float32)
_UP_TO = np.triu(np.ones((_BINS, _BINS), dtype=np.float32))
"""Counts times this are running totals: exact below 2^24, and ten times as quick as `cumsum`."""


def _levels(counts: NDArray[np.uint16], *shares: float) -> list[Floats32]:
    """Returns quantiles [K, S] of histograms in units, log-linear within a bin."""
    flat = counts.reshape(-1, _BINS).astype(np.float32)
    total = flat @ _UP_TO
    total += _NORMAL_TOTAL
    rows = np.arange(len(flat))
    levels = []
    for share in shares:
        wanted = np.float32(share) * total[:, -1]
        at = np.minimum(np.count_nonzero(total < wanted[:, None], axis=1), _BINS - 1)
        upto = total[rows, at]
        before = np.where(at > 0, total[rows, at - 1], np.float32(0))
        part = np.clip((wanted - before) / np.maximum(upto - before, np.float32(1e-12)), 0.0, 1.0)
        level = np.exp2((at + part) / _BINS_PER_OCTAVE - _OCTAVES_BELOW)
        levels.append(level.reshape(counts.shape[:-1]).astype(np.float32))
    return levels
