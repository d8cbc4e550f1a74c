"""Residuals of any family made comparable: how rare is a normal sample that far out?

The body of |residual| is a histogram over all history; its 95 and 99 % quantiles give the slope of
the tail, shrunk towards that of a normal distribution because a quantile of a short history is no
measurement. Beyond the 99 % quantile the tail is Pareto, with the predictive (Lomax) form instead
of the plugged-in slope: the fewer clusters of large residuals were ever seen, the heavier, so a
short history is more cautious. Excesses seen live update the slope, one per cluster, winsorised.

Sources: Hill 1975; Davison & Smith 1990 (declustered peaks over threshold); Siffer et al., KDD
2017 (DSPOT); Gamma-exponential conjugacy with its Lomax predictive. The constants are those of a
measured prototype; `docs/decisions/0003-calibration.md` says what they give.

Both directions count alike. Everything is an array over the same S series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, take_tensor
from metricwatch.algorithms.robust import quantiles
from metricwatch.series import Grid

_BINS_PER_OCTAVE = 8
_OCTAVES_BELOW = 12
_BINS = 2 * _OCTAVES_BELOW * _BINS_PER_OCTAVE
_PRIOR_SAMPLES = 50.0
_BODY = 2.0
"""Rarity at the 99 % quantile, where the tail begins."""
_LOG_FIVE = math.log(5.0)
"""Between the 95 and the 99 % quantile the probability falls by five."""
_NORMAL_LOG_RATIO = math.log(1.6) * math.log10(5.0)
_MEASURED_SHARE = 0.6
_LEAST_SLOPE = 0.15 / _LOG_FIVE
_CLUSTER_GAP = 15
_MOST_EXCESS_IN_SLOPES = 4.0
_PREDICTIVE = 0.3
_STEPS_IN_BODY = 1.5
_MOST_LOG_EXCESS = 80.0
_REFRESH_TICKS = 20
_FIRST_SAMPLES = 7
_FRESH_PRIOR = 2.0
"""With 1 a series of few samples gives a third more false alarms and says less of a real one."""
_DAY = 86400
_WEEK = 7 * _DAY
_MEMORY_SECONDS = 60 * _DAY
_NEW_NORMAL_SHARE = 0.5


def threshold(false_alarms_per_week: float, interval_seconds: int) -> float:
    """Returns the rarity that a normal sample passes so many times a week.

    Args:
        false_alarms_per_week: budget of one series, above 0.
        interval_seconds: distance of two samples.

    Raises:
        ValueError: the budget is not above 0.

    >>> round(threshold(0.5, 60), 2)
    4.3
    """
    if not false_alarms_per_week > 0:
        raise ValueError(f"a budget of {false_alarms_per_week} false alarms cannot be kept")
    probability = false_alarms_per_week * interval_seconds / _WEEK
    return max(-math.log10(probability), 1.0)


class Calibration:
    """Body, tail and live adaptation of S series."""

    __slots__ = (
        "_abnormal_share",
        "_counts",
        "_excess_count",
        "_excess_sum",
        "_first_count",
        "_first_sum",
        "_floor",
        "_peak",
        "_prior",
        "_q99",
        "_since_excess",
        "_slope",
        "_spoiled",
        "_step",
        "_ticks",
        "_unit",
    )

    def __init__(
        self,
        *,
        step: int,
        unit: FloatArray,
        floor: FloatArray,
        counts: NDArray[np.float32],
        prior: FloatArray,
        excess_sum: FloatArray,
        excess_count: FloatArray,
    ) -> None:
        """Takes stored arrays over; `fit`, `fresh` and `restore` are the ways to make them.

        Args:
            step: seconds between samples.
            unit: float64[S], residual at the middle of the histogram; NaN while it is unknown.
            floor: float64[S], the least residual that means anything.
            counts: float32[S, bins] over log2(|residual| / unit).
            prior: float64[S], weight of the body's slope, in clusters.
            excess_sum: float64[S], sum of ln(peak / q99) of clusters seen live.
            excess_count: float64[S], how many.
        """
        self._step = step
        self._unit = unit
        self._floor = floor
        self._counts = counts
        self._prior = prior
        self._excess_sum = excess_sum
        self._excess_count = excess_count
        self._ticks = 0
        series = len(unit)
        self._first_sum = np.zeros(series)
        self._first_count = np.zeros(series)
        self._peak = np.full(series, np.nan)
        self._since_excess = np.zeros(series, dtype=np.int64)
        self._spoiled = np.zeros(series, dtype=np.bool_)
        self._abnormal_share = np.zeros(series)
        self._refresh()

    @property
    def series(self) -> int:
        """S."""
        return len(self._unit)

    @classmethod
    def fit(
        cls, residuals: FloatArray, grid: Grid, *, floor: FloatArray | None = None
    ) -> Calibration:
        """Learns body and tail from residuals of samples that the bank was not fitted on.

        Args:
            residuals: float64[S, T], NaN where there is none.
            grid: T ticks.
            floor: float64[S], the least deviation that means anything, such as one step of the
                values; None stands for nearly nothing.
        """
        series = len(residuals)
        least = np.full(series, 1e-9) if floor is None else np.maximum(floor, 1e-300)
        known = np.count_nonzero(~np.isnan(residuals), axis=1)
        size = np.abs(residuals)
        unit = np.where(known > 0, np.maximum(_ordinary(size), least), np.nan)
        counts = _histogram(size / unit[:, None]) + _prior_counts()
        fitted = cls(
            step=grid.step,
            unit=unit,
            floor=least,
            counts=counts.astype(np.float32),
            prior=np.ones(series),
            excess_sum=np.zeros(series),
            excess_count=np.zeros(series),
        )
        days = grid.count * grid.step / _DAY
        # A cluster that was seen counts as one, and for more when it stands for a long history.
        weight = max(1.0, 30.0 * min(1.0, days / 60.0))
        beyond = size > fitted._q99[:, None]
        fitted._prior = 1.0 + weight * _count_clusters(beyond)
        fitted._refresh()
        return fitted

    @classmethod
    def fresh(cls, series: int, *, step: int, floor: FloatArray | None = None) -> Calibration:
        """Returns one that knows nothing: rarities are NaN until it has seen a few residuals."""
        return cls(
            step=step,
            unit=np.full(series, np.nan),
            floor=np.full(series, 1e-9) if floor is None else np.maximum(floor, 1e-300),
            counts=np.tile(_prior_counts().astype(np.float32), (series, 1)),
            prior=np.full(series, _FRESH_PRIOR),
            excess_sum=np.zeros(series),
            excess_count=np.zeros(series),
        )

    def rarity(self, residual: FloatArray) -> FloatArray:
        """Returns -log10 of the probability that a normal sample is at least as far out.

        Args:
            residual: float64[S].

        Returns:
            float64[S], 0 or above, rising with |residual|; NaN for NaN and for a series of which
            too little is known.
        """
        size = np.abs(residual)
        beyond = np.log(np.maximum(size / self._q99, 1.0))
        weight = self._tail_weight()
        tail = (weight + 1.0) * np.log10(1.0 + beyond / (self._slope * weight))
        return _BODY * np.minimum(size / self._q99, 1.0) + tail

    def reach(self, rarity: FloatArray | float) -> FloatArray:
        """Returns the |residual| at which `rarity` is reached: half the width of the normal band.

        The inverse of `rarity` as long as the answer is within e^80 times the 99 % quantile, which
        is where a number of any use ends.
        """
        weight = self._tail_weight()
        beyond = np.maximum(np.asarray(rarity, dtype=np.float64) - _BODY, 0.0)
        power = np.minimum(beyond * math.log(10.0) / (weight + 1.0), 600.0)
        excess = np.minimum(self._slope * weight * np.expm1(power), _MOST_LOG_EXCESS)
        return self._q99 * np.minimum(np.asarray(rarity) / _BODY, 1.0) * np.exp(excess)

    def adapt(
        self, residual: FloatArray, rarity: FloatArray, *, excluded: NDArray[np.bool_]
    ) -> None:
        """Learns from one tick.

        Args:
            residual: float64[S], NaN where there is none.
            rarity: float64[S], what `rarity` said of it.
            excluded: bool[S], samples that belong to an anomaly and must not become normal. One
            that
                has lasted for most of a day is the new normal, and teaches after all.
        """
        known = ~np.isnan(residual)
        rate = math.log(2.0) * min(1.0, self._step / _DAY)
        self._abnormal_share += rate * known * (excluded - self._abnormal_share)
        kept_out = excluded & (self._abnormal_share < _NEW_NORMAL_SHARE)
        self._learn_body(np.abs(residual), known & ~kept_out)
        self._learn_tail(residual, rarity, kept_out)
        self._ticks += 1
        if self._ticks % _REFRESH_TICKS == 0:
            self._refresh()

    def grow(self, count: int) -> None:
        """Adds `count` series of which nothing is known."""
        added = Calibration.fresh(count, step=self._step)
        for name in self.__slots__:
            own, new = getattr(self, name), getattr(added, name)
            if isinstance(own, np.ndarray):
                setattr(self, name, np.concatenate([own, new]))

    def header(self) -> dict[str, Any]:
        """Returns what `restore` needs besides tensors, as JSON values."""
        return {"step": self._step}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the learned arrays; a cluster that is still open is not among them."""
        return {
            "unit": self._unit,
            "floor": self._floor,
            "counts": self._counts,
            "prior": self._prior,
            "excess_sum": self._excess_sum,
            "excess_count": self._excess_count,
        }

    @classmethod
    def restore(
        cls, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Calibration:
        """Returns the calibration that `header` and `tensors` describe.

        Raises:
            ValueError: they do not fit together.
        """
        step = header.get("step")
        if not isinstance(step, int) or step < 1:
            raise ValueError(f"step is {step!r}, expected whole seconds")
        series = len(tensors["floor"]) if "floor" in tensors else 0
        one = {
            name: take_tensor(tensors, name, (series,), np.float64, finite=name != "unit")
            for name in ("unit", "floor", "prior", "excess_sum", "excess_count")
        }
        counts = take_tensor(tensors, "counts", (series, _BINS), np.float32)
        if any((one[name] <= 0).any() for name in ("unit", "floor", "prior")):
            raise ValueError("unit, floor and prior must be above zero")
        if any((values < 0).any() for values in (counts, one["excess_sum"], one["excess_count"])):
            raise ValueError("counts and excesses cannot be negative")
        return cls(step=step, counts=counts, **one)

    def _tail_weight(self) -> FloatArray:
        return _PREDICTIVE * (self._prior + self._excess_count)

    def _learn_body(self, size: FloatArray, taught: NDArray[np.bool_]) -> None:
        unknown = np.isnan(self._unit)
        if unknown.any():
            first = taught & unknown
            self._first_sum[first] += size[first]
            self._first_count[first] += 1
            ready = unknown & (self._first_count >= _FIRST_SAMPLES)
            if ready.any():
                # The mean of |N(0, 1)| is sqrt(2 / pi).
                mean = self._first_sum[ready] / self._first_count[ready]
                self._unit[ready] = np.maximum(mean * math.sqrt(math.pi / 2), self._floor[ready])
                self._refresh()
        rows = np.flatnonzero(taught & ~np.isnan(self._unit))
        self._counts[rows, _bins(size[rows] / self._unit[rows])] += 1.0

    def _learn_tail(
        self, residual: FloatArray, rarity: FloatArray, kept_out: NDArray[np.bool_]
    ) -> None:
        """Follows clusters of large residuals; a closed one gives one winsorised excess."""
        with np.errstate(invalid="ignore"):
            beyond = rarity > _BODY
        height = np.log(np.maximum(np.abs(residual) / self._q99, 1.0))
        self._peak = np.where(beyond, np.fmax(self._peak, height), self._peak)
        self._spoiled |= kept_out
        self._since_excess = np.where(beyond, 0, self._since_excess + 1)
        closed = (self._since_excess == _CLUSTER_GAP) & ~np.isnan(self._peak)
        if closed.any():
            lesson = closed & ~self._spoiled
            excess = np.minimum(self._peak, _MOST_EXCESS_IN_SLOPES * self._slope)
            self._excess_sum[lesson] += excess[lesson]
            self._excess_count[lesson] += 1
            self._peak[closed] = np.nan
        self._spoiled &= self._since_excess < _CLUSTER_GAP

    def _refresh(self) -> None:
        """Brings quantiles and slope up to date with the histogram; forgets what is too old."""
        memory = _MEMORY_SECONDS / self._step
        old = self._counts.sum(axis=1) > max(memory, 2 * _PRIOR_SAMPLES)
        if old.any():
            self._counts[old] *= 0.5
        q95, q99 = (_level(self._counts, share) * self._unit for share in (0.95, 0.99))
        body = _STEPS_IN_BODY * self._floor
        self._q99 = np.maximum(q99, body)
        ratio = np.log(self._q99 / np.minimum(np.maximum(q95, body), self._q99))
        measured = _MEASURED_SHARE * ratio + (1.0 - _MEASURED_SHARE) * _NORMAL_LOG_RATIO
        prior_slope = np.maximum(measured / _LOG_FIVE, _LEAST_SLOPE)
        self._slope = (self._prior * prior_slope + self._excess_sum) / (
            self._prior + self._excess_count
        )


def _ordinary(size: FloatArray) -> FloatArray:
    """Returns the standard deviation that |residual| [S, T] has by its body, whatever the tail.

    A series that mostly rests has nothing in its body; then the first quantile that is not 0.
    """
    q50, q90, q99 = quantiles(size, 0.5, 0.9, 0.99)
    body = np.maximum(q50 / 0.6745, q90 / 1.6449)
    return np.nan_to_num(np.where(body > 0, body, q99 / 2.5758))


def _bins(ratio: FloatArray) -> NDArray[np.intp]:
    """Returns the histogram bin of |residual| / unit; ends take what is beyond them."""
    octave = np.log2(np.maximum(ratio, 2.0**-_OCTAVES_BELOW)) + _OCTAVES_BELOW
    return np.clip((octave * _BINS_PER_OCTAVE).astype(np.intp), 0, _BINS - 1)


def _histogram(ratios: FloatArray) -> FloatArray:
    """Returns float64[S, bins] of ratios float64[S, T], NaN left out."""
    series = len(ratios)
    known = ~np.isnan(ratios)
    row = np.broadcast_to(np.arange(series)[:, None], ratios.shape)[known]
    flat = np.bincount(row * _BINS + _bins(ratios[known]), minlength=series * _BINS)
    return flat.reshape(series, _BINS).astype(np.float64)


def _prior_counts() -> FloatArray:
    """Returns what a few samples of a normal distribution would have left in the histogram."""
    edges = 2.0 ** (np.arange(_BINS + 1) / _BINS_PER_OCTAVE - _OCTAVES_BELOW)
    below = np.array([math.erf(edge / math.sqrt(2.0)) for edge in edges])
    below[0], below[-1] = 0.0, 1.0
    counts: FloatArray = _PRIOR_SAMPLES * np.diff(below)
    return counts


def _level(counts: NDArray[np.float32], share: float) -> FloatArray:
    """Returns the quantile of each row in units, log-linear within a bin."""
    total = np.cumsum(counts, axis=1, dtype=np.float64)
    wanted = share * total[:, -1:]
    at = np.argmax(total >= wanted, axis=1)
    rows = np.arange(len(counts))
    inside = counts[rows, at]
    before = total[rows, at] - inside
    part = (wanted[:, 0] - before) / np.maximum(inside, 1e-12)
    octave = (at + np.clip(part, 0.0, 1.0)) / _BINS_PER_OCTAVE - _OCTAVES_BELOW
    level: FloatArray = np.exp2(octave)
    return level


def _count_clusters(beyond: NDArray[np.bool_]) -> FloatArray:
    """Returns how many runs of `beyond` bool[S, T] there are with a gap before each."""
    position = np.arange(beyond.shape[1])
    last = np.maximum.accumulate(np.where(beyond, position, -_CLUSTER_GAP - 1), axis=1)
    earlier = np.concatenate([np.full((len(beyond), 1), -_CLUSTER_GAP - 1), last[:, :-1]], axis=1)[
        :, : beyond.shape[1]
    ]
    starts = beyond & (position - earlier > _CLUSTER_GAP)
    return np.asarray(np.count_nonzero(starts, axis=1), dtype=np.float64)
