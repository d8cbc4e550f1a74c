"""One number of many rarities: how far the evidence of all streams is beyond what alerts.

Two time scales vote apart. Short streams have to agree, so theirs is the mean. Of long streams,
each of which sees another kind of change, the mean of the largest three counts. Either may be odd
enough alone, or both together within a few ticks. Evidence is a rarity on the short scale; the
other two are brought there by where they say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, Horizon, Stream

Floats32 = NDArray[np.float32]

TOGETHER = 12
"""Ticks within which short and long evidence support each other."""
_LARGEST_LONG = 3
_LONG_AHEAD = 0.8
_BOTH_AHEAD = 0.6
"""By how much long evidence, and the mean of both, may be smaller than short to say the same."""
_MOST_OF_NOW = np.float32(2.0)
"""Both together count for at most so many times the larger of what either says of this tick."""
_FAST = 0.3
_WEEK = 604_800.0
_USUAL_TICKS = 2016.0
"""Ticks of a week at five minutes."""


@dataclass(frozen=True, slots=True)
class Votes:
    """Which rows of the evidence vote on which time scale, with what weight."""

    short: tuple[int, ...]
    long: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, streams: Sequence[Stream]) -> Votes:
        """Returns the votes of a bank's streams; a stream of weight 0 has none."""
        rows = [row for row, stream in enumerate(streams) if stream.weight > 0]
        return cls(
            short=tuple(row for row in rows if streams[row].horizon is Horizon.SHORT),
            long=tuple(row for row in rows if streams[row].horizon is Horizon.LONG),
            weights=tuple(stream.weight for stream in streams),
        )

    @property
    def _alike(self) -> bool:
        return len(set(self.weights)) == 1

    def scales(self, rarity: Floats32) -> tuple[Floats32, Floats32]:
        """Returns short and long evidence float32[S, B] of rarities float32[K, S, B].

        NaN where no stream of the scale has anything to say.
        """
        return self.short_of(rarity), self.long_of(rarity)

    def short_of(self, rarity: Floats32) -> Floats32:
        """Returns short evidence float32[S, B]: the mean of the short streams."""
        return self._mean(rarity, self.short)

    def _mean(self, rarity: Floats32, rows: tuple[int, ...]) -> Floats32:
        if len(rows) == 1:
            return np.asarray(rarity[rows[0]])
        if not rows:
            return np.full(rarity.shape[1:], np.nan, dtype=np.float32)
        voted = rarity[list(rows)]
        if self._alike and not np.isnan(voted).any():
            return np.asarray(voted.mean(axis=0))
        weight = np.array([self.weights[row] for row in rows], dtype=np.float32)[:, None, None]
        weight = np.where(np.isnan(voted), np.float32(0), weight)
        total = weight.sum(axis=0)
        with np.errstate(invalid="ignore"):
            return np.asarray((np.nan_to_num(voted) * weight).sum(axis=0) / total)

    def long_of(self, rarity: Floats32) -> Floats32:
        """Returns long evidence float32[S, B]: the mean of the largest long streams."""
        if len(self.long) <= _LARGEST_LONG:
            return self._mean(rarity, self.long)
        voted = rarity[list(self.long)]
        if self._alike and not np.isnan(voted).any():
            first = len(self.long) - _LARGEST_LONG
            return np.asarray(np.partition(voted, first, axis=0)[first:].mean(axis=0))
        weight = np.array([self.weights[row] for row in self.long], dtype=np.float32)
        weighted = np.where(np.isnan(voted), np.float32(-1), voted * weight[:, None, None])
        chosen = np.argsort(-weighted, axis=0, kind="stable")[:_LARGEST_LONG]
        top = np.take_along_axis(voted, chosen, axis=0)
        share = np.where(np.isnan(top), np.float32(0), weight[chosen])
        with np.errstate(invalid="ignore"):
            return np.asarray((np.nan_to_num(top) * share).sum(axis=0) / share.sum(axis=0))

    def side(
        self,
        evidence: FloatArray,
        rarity: Floats32,
        long: NDArray[np.bool_],
        streams: Sequence[Stream],
    ) -> NDArray[np.int8]:
        """Returns on which side of ordinary samples are, int8[S, B], by the stream that decides.

        Args:
            evidence: float[K, S, B].
            rarity: float32[K, S, B], of the same.
            long: bool[S, B], where the long scale decides.
            streams: the K streams.
        """
        side = np.zeros(long.shape, dtype=np.int8)
        lead = next((row for row in self.short if streams[row].signed), None)
        if lead is not None:
            side[evidence[lead] > 0] = 1
            side[evidence[lead] < 0] = -1
        if long.any():
            series, tick = np.nonzero(long)
            rows = [row for row in self.long if streams[row].signed]
            decided = np.zeros(len(series), dtype=np.int8)
            if rows:
                voted = np.nan_to_num(rarity[rows][:, series, tick])
                signs = np.sign(np.nan_to_num(evidence[rows][:, series, tick]))
                decided = signs[voted.argmax(axis=0), np.arange(len(series))].astype(np.int8)
            side[series, tick] = decided
        return side


def recurring(streams: Sequence[Stream]) -> tuple[int, ...]:
    """Returns the rows that are forgiven what they do every day: short votes with a direction.

    What is odd about a whole system, or about a shape, has no size that could come back.
    """
    return tuple(row for row in Votes.of(streams).short if streams[row].signed)


def evidence_of(
    short: Floats32, long: Floats32, both: Floats32, *, interval: int
) -> tuple[Floats32, NDArray[np.bool_]]:
    """Returns the evidence of all, and where the long scale decides it.

    Args:
        short: float32[S, B].
        long: float32[S, B].
        both: float32[S, B], the mean of the largest of either within `TOGETHER` ticks.
        interval: seconds between samples; the faster, the more chances has a long window a week.

    Returns:
        float32[S, B], NaN where neither has anything to say, and bool[S, B].
    """
    # A spike that is over says nothing of the samples after it, unless they are odd themselves.
    now = np.fmax(np.fmax(short, long), np.float32(0))
    both = np.fmin(both, _MOST_OF_NOW * now)
    fast = np.float32(_FAST * math.log10(max(1.0, _WEEK / interval / _USUAL_TICKS)))
    late = np.fmax(long + (_LONG_AHEAD - fast), both + (_BOTH_AHEAD - fast))
    late[np.isnan(short) & np.isnan(long)] = np.nan
    with np.errstate(invalid="ignore"):
        decides = (late > short) | np.isnan(short)
    return np.fmax(short, late), decides & ~np.isnan(late)
