"""Medians, quantiles and scales that pass over missing samples, many rows at once.

NumPy's own `nanmedian` goes through rows one by one and warns about empty ones; here NaN sorts to
the end and the rank is taken among what is left. A row without any sample gives NaN.
"""

from __future__ import annotations

import numpy as np

from metricwatch.algorithms.base import FloatArray

_MAD_TO_SD = 1.4826
_Q90_SPAN_TO_SD = 1 / 2.5631
_LEAST_SHARE_OF_SD = 0.3


def quantiles(values: FloatArray, *shares: float) -> tuple[FloatArray, ...]:
    """Returns the quantiles along the last axis, linear between ranks.

    Type 7 of Hyndman & Fan 1996.

    Args:
        values: float64[..., T], NaN where there is no sample.
        shares: each in [0, 1]; each gives one float64[...].
    """
    if values.shape[-1] == 0:
        return tuple(np.full(values.shape[:-1], np.nan) for _ in shares)
    ordered = np.sort(values, axis=-1)
    last = np.count_nonzero(~np.isnan(values), axis=-1) - 1
    results = []
    for share in shares:
        rank = np.maximum(last, 0) * share
        low = np.floor(rank).astype(np.intp)
        high = np.minimum(low + 1, np.maximum(last, 0))
        below = np.take_along_axis(ordered, low[..., None], axis=-1)[..., 0]
        above = np.take_along_axis(ordered, high[..., None], axis=-1)[..., 0]
        weight = rank - low
        results.append(below * (1.0 - weight) + above * weight)
    return tuple(results)


def median(values: FloatArray) -> FloatArray:
    """Returns the median along the last axis."""
    return quantiles(values, 0.5)[0]


def typical_deviation(values: FloatArray) -> FloatArray:
    """Returns 1.48 times the median absolute deviation along the last axis, 0 without samples.

    Half of the samples may be anything; it is 0 for a row that mostly rests at one value.
    """
    deviation = np.abs(values - median(values)[..., None])
    return np.nan_to_num(_MAD_TO_SD * median(deviation), nan=0.0)


def spread(values: FloatArray) -> FloatArray:
    """Returns a robust standard deviation along the last axis, 0 for a constant row, never NaN.

    The largest of three: 1.48 times the median absolute deviation, the 10 to 90 % span of a
    normal distribution, and 0.3 times the plain standard deviation. The first two vanish for a
    series that rests at one value most of the time; the third keeps a scale for it.
    """
    centre = median(values)
    deviation = values - centre[..., None]
    low, high = quantiles(deviation, 0.1, 0.9)
    count = np.count_nonzero(~np.isnan(values), axis=-1)
    size = np.where(np.isnan(deviation), 0.0, np.abs(deviation))
    # Squares of shares of the largest deviation: those of 1e200 are no numbers.
    most = np.maximum(size.max(axis=-1, initial=0.0), np.finfo(np.float64).tiny)
    shares = (size / most[..., None]) ** 2
    plain = most * np.sqrt(shares.sum(axis=-1) / np.maximum(count, 1))
    candidates = (
        _MAD_TO_SD * median(np.abs(deviation)),
        _Q90_SPAN_TO_SD * (high - low),
        _LEAST_SHARE_OF_SD * plain,
    )
    largest: FloatArray = np.maximum.reduce(candidates)
    return np.nan_to_num(largest, nan=0.0)


def value_step(values: FloatArray) -> FloatArray:
    """Returns the least deviation of each row that can mean anything: one step of its values.

    A series of whole numbers steps by 1 however calm it is; one that never changes steps by 1 % of
    itself, so that a scale of zero never makes the first change infinitely rare.

    Args:
        values: float64[S, T], NaN where there is no sample.

    Returns:
        float64[S], above 0.
    """
    ordered = np.sort(values, axis=-1)
    steps = np.diff(ordered, axis=-1)
    size = np.nan_to_num(np.abs(median(values)), nan=0.0)
    # Differences at the edge of what a float64 can tell apart are rounding, not steps.
    steps = np.where(steps > 1e-9 * np.maximum(size, 1e-9)[:, None], steps, np.nan)
    smallest = quantiles(steps, 0.0)[0]
    constant = np.maximum(0.01 * size, 1e-9)
    return np.where(np.isnan(smallest), constant, smallest)
