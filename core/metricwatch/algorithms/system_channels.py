"""What every channel of a system carries along: its level, its last sample, its quantiles.

Each channel is compared with its own slowly moving level. Level and quantiles follow what the
channel does, so slowly that an incident of hours leaves them where they were; a channel that stays
odd for most of a day is followed faster and faster, until what was odd is its new normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FitStopped, FloatArray, ShouldStop
from metricwatch.algorithms.robust import median, quantiles, typical_deviation, value_step
from metricwatch.algorithms.system_rarity import SHARES, TINY, log_size, rarity, slopes

MOST_SCALES = 1e12
_REST_TO_SCALE = 0.3
_CLIP = 3.0
"""No sample pulls the level as if it were further away, in scales."""
_CALM = 0.1
"""What a calm sample takes off a streak: a channel odd one time in ten is followed in the end."""
_DOUBLINGS_PER_HALF_LIFE = 3.0
_MOST_DOUBLINGS = 60.0
_QUANTILE_GAIN = 0.3
"""Below 1, the fastest that stochastic approximation allows: incidents count among the samples."""
_MEMORY_IN_HALF_LIVES = 14.0
_Q90_SPAN_TO_SD = 1 / 2.5631
_GROWN = float(np.log(4.0))
_TICKS_BETWEEN_QUESTIONS = 256
_TAILS = 1.0 - np.array(SHARES)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
    """What is known of S channels before the first sample.

    Attributes:
        centre: float64[S], where the level starts.
        scale: float64[S], above 0, what deviations are divided by.
        quantiles: float64[2, 2, S], logarithms of the quantiles (at `SHARES`, second axis) of
            deviations from the level and of jumps from one sample to the next (first axis).
        floor: float64[S], logarithm of the least deviation that can mean anything, in scales.
        samples: float64[S], how many samples that was learned from.
    """

    centre: FloatArray
    scale: FloatArray
    quantiles: FloatArray
    floor: FloatArray
    samples: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One tick as the channels see it, NaN where a sample is missing.

    Attributes:
        level: float64[S], what was expected, in the units of the samples.
        deviation: float64[S], distance from the level in scales.
        rarity: float64[2, S], of the deviation and of the jump, in decades.
    """

    level: FloatArray
    deviation: FloatArray
    rarity: FloatArray


class ChannelTracker:
    """The carried state of S channels."""

    def __init__(self, channels: Channels, *, half_life: float) -> None:
        """Starts at the centre of every channel.

        Args:
            channels: what was learned.
            half_life: of the level, in ticks.
        """
        self._channels = channels
        self._alpha = 1.0 - 0.5 ** (1.0 / half_life)
        self._doubling = half_life / _DOUBLINGS_PER_HALF_LIFE
        self._memory = np.maximum(channels.samples, _MEMORY_IN_HALF_LIVES * half_life)
        series = len(channels.centre)
        self._level = np.zeros(series)
        self._last = np.full(series, np.nan)
        self._quantiles = channels.quantiles.copy()
        self._streak = np.zeros((2, series))
        self._count = np.maximum(channels.samples, 1.0)

    def advance(self, values: FloatArray) -> Observation:
        """Compares one tick with what was known before it, then learns from it.

        Args:
            values: float64[S], NaN for no sample.
        """
        own = self._channels
        scaled = np.clip((values - own.centre) / own.scale, -MOST_SCALES, MOST_SCALES)
        deviation = scaled - self._level
        level = own.centre + own.scale * self._level
        sizes = log_size(np.stack([deviation, scaled - self._last]))
        observed = Observation(
            level=level,
            deviation=deviation / self._growth(),
            rarity=rarity(sizes, self._quantiles),
        )
        self._last = scaled
        haste = np.exp2(np.minimum(self._streak / self._doubling, _MOST_DOUBLINGS))
        bound = _CLIP * haste[0]
        self._level += self._alpha * np.clip(np.nan_to_num(deviation), -bound, bound)
        self._learn_quantiles(sizes, haste)
        return observed

    def _growth(self) -> FloatArray:
        """How many times wider than in the history a channel has become for good, at least 1."""
        change = self._quantiles[0, 0] - self._channels.quantiles[0, 0]
        return np.asarray(np.exp(np.maximum(change - _GROWN, 0.0)))

    def _learn_quantiles(self, sizes: FloatArray, haste: FloatArray) -> None:
        """Moves each quantile up a little for a sample above it, down much less for one below.

        Stochastic approximation (Robbins & Monro 1951) in the logarithm, where the density at a
        quantile follows from the slope of the tail.
        """
        known = ~np.isnan(sizes)
        over = sizes[:, None, :] > self._quantiles
        rate = _QUANTILE_GAIN * slopes(self._quantiles)[:, None, :] / (_TAILS * self._count)
        push = rate * (over - _TAILS) * np.where(over, haste[:, None, :], 1.0)
        moved = self._quantiles + push * known[:, None, :]
        # However great the haste, a quantile does not pass the sample that pulls it.
        moved = np.where(over, np.minimum(moved, sizes[:, None, :]), moved)
        np.maximum(moved, self._channels.floor, out=moved)
        np.maximum(moved[:, 1], moved[:, 0], out=moved[:, 1])
        self._quantiles = moved
        self._streak += np.where(over[:, 1], 1.0, -_CALM) * known
        np.clip(self._streak, 0.0, _MOST_DOUBLINGS * self._doubling, out=self._streak)
        self._count = np.minimum(self._count + known[0], self._memory)


def learn_channels(
    values: FloatArray, *, half_life: float, should_stop: ShouldStop | None = None
) -> tuple[Channels, FloatArray]:
    """Returns what a history says about its channels, and its deviations from the moving level.

    Args:
        values: float64[S, T], NaN where there is no sample.
        half_life: of the level, in ticks.
        should_stop: asked now and then.

    Returns:
        The channels, and float64[S, T], in scales.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    centre = np.nan_to_num(median(values))
    step = value_step(values)
    scale = np.maximum(_spread(values, centre), step)
    floor = np.log(np.maximum(step / scale, TINY))
    samples = np.count_nonzero(~np.isnan(values), axis=1).astype(np.float64)
    scaled = np.clip((values - centre[:, None]) / scale[:, None], -MOST_SCALES, MOST_SCALES)
    jumps = _log_quantiles(np.diff(scaled, axis=1), floor)
    still = Channels(
        centre=centre,
        scale=scale,
        quantiles=np.stack([_log_quantiles(scaled, floor), jumps]),
        floor=floor,
        samples=samples,
    )
    deviations = _deviations(still, values, half_life, should_stop)
    moving = np.stack([_log_quantiles(deviations, floor), jumps])
    return (
        Channels(centre=centre, scale=scale, quantiles=moving, floor=floor, samples=samples),
        deviations,
    )


def _spread(values: FloatArray, centre: FloatArray) -> FloatArray:
    """Returns float64[S], the size of an ordinary deviation, 0 for a channel that always rests.

    A channel that rests most of the time is measured by what it does when it moves. By medians
    only: one absurd sample must not widen the scale of a channel, as it does a standard deviation.
    """
    low, high = quantiles(values, 0.1, 0.9)
    away = np.abs(values - centre[:, None])
    moving = median(np.where(away > 0, away, np.nan))
    candidates = (
        typical_deviation(values),
        _Q90_SPAN_TO_SD * (high - low),
        _REST_TO_SCALE * moving,
    )
    return np.asarray(np.nan_to_num(np.maximum.reduce(np.nan_to_num(candidates))))


def _log_quantiles(sizes: FloatArray, floor: FloatArray) -> FloatArray:
    """Returns float64[2, S], the logarithms of the quantiles of |size| at `SHARES`."""
    found = np.nan_to_num(np.stack(quantiles(np.abs(sizes), *SHARES)))
    # Between equal sizes the higher quantile may be rounded below the lower one.
    found = np.maximum.accumulate(found, axis=0)
    return np.maximum(np.log(np.maximum(found, TINY)), floor)


def _deviations(
    channels: Channels, values: FloatArray, half_life: float, should_stop: ShouldStop | None
) -> FloatArray:
    tracker = ChannelTracker(channels, half_life=half_life)
    columns: NDArray[np.float64] = np.ascontiguousarray(values.T)
    deviations = np.empty_like(columns)
    for index, column in enumerate(columns):
        if index % _TICKS_BETWEEN_QUESTIONS == 0 and should_stop is not None and should_stop():
            raise FitStopped
        deviations[index] = tracker.advance(column).deviation
    return deviations.T
