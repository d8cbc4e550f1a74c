"""What the last w samples of a series look like, in thirteen numbers.

The features are those of condition monitoring: level, spread, slope, root mean square, kurtosis,
skewness, crest factor (Randall, Vibration-based Condition Monitoring, 2011), where the spectrum
has its peak and how much of it is fast (Welch's windowed periodogram of one segment, 1967), and
how far the newest sample, and the means of the newest few, are from the ones just before and from
the baseline. Sizes go in as logarithms or inverse hyperbolic sines: a window with one outlier is
odd, not astronomical.

All functions work on many windows at once, each by itself: the features of a window are the same
bits whichever windows are beside it, so that a step and a backtest agree exactly.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import median, spread

FloatArray32 = NDArray[np.float32]

FEATURES = (
    "level",
    "spread",
    "slope",
    "rms",
    "kurtosis",
    "skewness",
    "crest",
    "peak_frequency",
    "fast_energy",
    "deviation",
    "departure",
    "latest_level",
    "recent_level",
)
LAGS = 4
"""Deviations of the samples before the newest one, which labelled families see as well."""
LEAST_SPREAD = np.array(
    [0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.02, 0.1, 0.2] + [0.05] * 3 + [0.2] * LAGS
)
"""A feature that varies less than this over the history is standardised as if it varied so."""
FARTHEST = 16.0
"""Standardised features stay within this."""
_MOST_SPREADS = 1e3
_LATEST, _RECENT = 16, 4
"""Parts of the window, counted from the newest sample, whose levels are features of their own."""
_FAST = 0.125
"""Cycles per sample from which on a frequency counts as fast."""


def describe(
    windows: FloatArray,
    newest: FloatArray,
    baseline: FloatArray,
    floor: FloatArray,
    deviation: FloatArray,
) -> FloatArray32:
    """Returns the features of n windows, float32[n, 13], in the order of `FEATURES`.

    Args:
        windows: float64[n, w], without NaN, the newest sample last.
        newest: float64[n], the newest sample as it is, however far out.
        baseline: float64[n], the level that the window is held against.
        floor: float64[n], above 0: a variation that means nothing, in the unit of the samples.
        deviation: float64[n], of the newest sample from the ones before it, in typical ones.
    """
    length = windows.shape[1]
    bounded = np.clip(windows - baseline[:, None], -_MOST_SPREADS, _MOST_SPREADS)
    samples = bounded.astype(np.float32)
    least = floor.astype(np.float32)
    features = np.empty((len(samples), len(FEATURES)), dtype=np.float32)
    mean = samples.sum(axis=1) / length
    centred = samples - mean[:, None]
    squares = centred * centred
    variance = squares.sum(axis=1) / length
    third = np.vecdot(squares, centred) / length
    fourth = np.vecdot(squares, squares) / length
    ramp, ramp_energy = _ramp(length)
    slope = np.vecdot(centred, ramp) / ramp_energy
    largest = np.maximum(samples.max(axis=1), -samples.min(axis=1))
    size = np.sqrt(variance + mean * mean)
    # The floor stands for noise that is always there: a flat window gets the moments of a normal
    # distribution, not those of its rounding errors.
    softened = variance + least * least
    features[:, 0] = np.arcsinh(mean)
    features[:, 1] = 0.5 * np.log(softened)
    features[:, 2] = np.arcsinh(slope * length)
    features[:, 3] = np.log(size + least)
    features[:, 4] = np.log((fourth + 3.0 * least**4) / softened**2)
    features[:, 5] = third / softened**1.5
    features[:, 6] = largest / (size + least)
    features[:, 7], fast = _spectrum(centred - slope[:, None] * ramp)
    features[:, 8] = 0.5 * np.log(fast + least * least)
    features[:, 9] = np.arcsinh(deviation)
    features[:, 10] = np.arcsinh(newest - baseline)
    for column, part in enumerate((_LATEST, _RECENT), start=11):
        count = max(2, length // part)
        features[:, column] = np.arcsinh(samples[:, -count:].sum(axis=1) / count)
    return features


def lagged_deviations(windows: FloatArray, level: FloatArray, typical: FloatArray) -> FloatArray32:
    """Returns how far the `LAGS` samples before the newest are from `level`, float32[n, LAGS].

    Args:
        windows: float64[n, w], the newest sample last.
        level: float64[n], what the newest sample was expected to be.
        typical: float64[n], above 0, size of an ordinary deviation.
    """
    before = windows[:, -2 : -2 - LAGS : -1]
    lagged: FloatArray32 = np.arcsinh((before - level[:, None]) / typical[:, None]).astype("f4")
    return lagged


def standard(features: FloatArray32) -> tuple[FloatArray32, FloatArray32]:
    """Returns the centre and the scale of each feature of each series, robustly.

    Args:
        features: float32[S, n, d], NaN where a window has nothing to say.

    Returns:
        float32[S, d] each: median and robust standard deviation, the latter never below
        `LEAST_SPREAD`; 0 and that for a series without windows.
    """
    by_feature = features.transpose(0, 2, 1).astype(np.float64)
    centre = np.nan_to_num(median(by_feature))
    scale = np.maximum(spread(by_feature), LEAST_SPREAD[: features.shape[2]])
    return centre.astype(np.float32), scale.astype(np.float32)


def _spectrum(detrended: FloatArray32) -> tuple[FloatArray32, FloatArray32]:
    """Returns the frequency of the peak, in cycles per sample, and the power of fast ones."""
    length = detrended.shape[1]
    taper, gain = _taper(length)
    coefficients = np.fft.rfft(detrended * taper)[:, 1:]
    power = (coefficients.real**2 + coefficients.imag**2) * gain
    peak = ((power.argmax(axis=1) + 1) / length).astype(np.float32)
    return peak, power[:, round(_FAST * length) - 1 :].sum(axis=1)


@cache
def _ramp(length: int) -> tuple[FloatArray32, np.float32]:
    """Returns a centred ramp of slope 1 and the sum of its squares."""
    ramp = (np.arange(length) - (length - 1) / 2).astype(np.float32)
    return ramp, np.float32((ramp.astype(np.float64) ** 2).sum())


@cache
def _taper(length: int) -> tuple[FloatArray32, np.float32]:
    """Returns Hann's window and the factor that makes powers add up to a variance."""
    phase = 2 * np.pi * (np.arange(length) + 0.5) / length
    taper = 0.5 - 0.5 * np.cos(phase)
    return taper.astype(np.float32), np.float32(2 / (length * (taper**2).sum()))
