"""How often a week ordinary samples give so much evidence: from a number to a promise.

Evidence is a mean and a maximum of rarities, and no probability any more. How often normal series
pass some evidence was measured on recordings of many kinds (docs/decisions/0007): the logarithm of
episodes a week falls on a straight line. Where the line lies for a series, and how steep it is, is
learned from episodes that are large but not rare, in its history and live: they are counted in two
bands of evidence, and the line goes through both. Rare ones have no say, so that incidents teach
nothing, and few counts say little against what is known of all series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import FloatArray, take_tensor
from metricwatch.scoring.clusters import follow_clusters
from metricwatch.scoring.tails import CLUSTER_GAP

Floats32 = NDArray[np.float32]

WEEK = 604_800.0
BANDS = (1.75, 2.25)
"""Where the bands of evidence begin."""
WIDTH = 0.5
"""How wide each of them is."""

_USUAL_TICKS = 2016.0
_SLOPE = (0.85, 1.6)
"""Decades of episodes a week for each unit of evidence: of a series, and of a system of many
channels, whose streams are means already."""
_AT_THREE = (0.48, -1.2)
"""log10 of episodes a week with evidence above 3 and a sample every five minutes, of either."""
_MANY_CHANNELS = 3.0
"""log2 of what many are; a system of two channels is hardly more than a series."""
_BY_TICKS = 0.7
"""Decades for each decade of ticks a week."""
_BELIEF = 60.0
"""Episodes in the upper band that what is known of all series counts for: a year of one series at
five minutes has a few hundred."""
_LEAST_SHARE, _MOST_SHARE = 0.95, 1.7
"""Of the usual slope, for a single series."""


class Rates:
    """Episodes a week of S series."""

    __slots__ = (
        "_channels",
        "_count",
        "_interval",
        "_offset",
        "_peak",
        "_since",
        "_slope",
        "_ticks",
    )

    def __init__(
        self,
        count: Floats32,
        ticks: NDArray[np.int32],
        channels: NDArray[np.int32],
        *,
        interval: int,
    ) -> None:
        """Takes stored arrays over.

        Args:
            count: float32[S, 2], episodes whose peak lay in each band.
            ticks: int32[S], in so many ticks.
            channels: int32[S], of how many series each is made, 1 of a series itself.
            interval: seconds between samples.
        """
        self._count = count
        self._ticks = ticks
        self._channels = channels
        self._interval = interval
        self._peak = np.zeros(len(count), dtype=np.float32)
        self._since = np.full(len(count), CLUSTER_GAP, dtype=np.int32)
        self.settle()

    @classmethod
    def blank(
        cls, series: int, *, interval: int, channels: NDArray[np.integer[Any]] | None = None
    ) -> Rates:
        """Returns rates of series, or of systems of `channels`, of which nothing is known."""
        episodes, ticks = np.zeros((series, 2), np.float32), np.zeros(series, np.int32)
        of = np.ones(series, np.int32) if channels is None else channels.astype(np.int32)
        return cls(episodes, ticks, of, interval=interval)

    @property
    def series(self) -> int:
        """S."""
        return len(self._count)

    def begin_anew(self) -> None:
        """Makes what was learned count, and forgets an episode that is still open."""
        self._peak[...] = 0.0
        self._since[...] = CLUSTER_GAP
        self.settle()

    def rarity(self, evidence: Floats32) -> FloatArray:
        """Returns -log10 of the share of intervals in which an ordinary series passes `evidence`.

        Args:
            evidence: float32[S, B].

        Returns:
            float64[S, B], at least 0: 4.3 is once in two weeks at a sample a minute.
        """
        rarity = self._slope[:, None] * evidence.astype(np.float64) - self._offset[:, None]
        return np.maximum(rarity, 0.0)

    def evidence(self, rarity: FloatArray) -> FloatArray:
        """Returns the evidence float64[S] at which `rarity` float64[S] is reached."""
        return np.asarray((rarity + self._offset) / self._slope)

    def learn(self, evidence: Floats32) -> None:
        """Follows episodes of evidence float32[S, B]; `settle` makes them count."""
        self._ticks += (~np.isnan(evidence)).sum(axis=1, dtype=np.int32)
        with np.errstate(invalid="ignore"):
            large = evidence > BANDS[0]
        for closed, peak in follow_clusters(
            large, evidence, peak=self._peak, since=self._since, gap=CLUSTER_GAP
        ):
            for band, least in enumerate(BANDS):
                within = (peak > least) & (peak <= least + WIDTH)
                self._count[:, band] += closed & within

    def settle(self) -> None:
        """Brings the line of each series, rarity = slope x evidence - offset, up to date."""
        ticks = WEEK / self._interval
        many = np.clip((np.log2(self._channels) - 1.0) / (_MANY_CHANNELS - 1.0), 0.0, 1.0)
        usual = _SLOPE[0] + many * (_SLOPE[1] - _SLOPE[0])
        at_three = _AT_THREE[0] + many * (_AT_THREE[1] - _AT_THREE[0])
        at_three += _BY_TICKS * math.log10(ticks / _USUAL_TICKS)
        share = 1.0 - 10.0 ** (-usual * WIDTH)
        a_week = np.stack(
            [share * 10.0 ** (at_three + usual * (3.0 - at)) for at in BANDS], axis=1
        )
        believed = _BELIEF / a_week[:, 1]
        count = self._count + believed[:, None] * a_week
        slope = np.log10(count[:, 0] / count[:, 1]) / WIDTH
        slope = np.clip(slope, _LEAST_SHARE * usual, _MOST_SHARE * usual)
        in_bands = count.sum(axis=1) / (self._ticks / ticks + believed)
        above = in_bands / (1.0 - 10.0 ** (-slope * WIDTH * len(BANDS)))
        self._slope: FloatArray = slope
        self._offset: FloatArray = np.log10(above / ticks) + slope * BANDS[0]

    def grow(self, count: int) -> None:
        """Adds `count` series of which nothing is known."""
        added = Rates.blank(count, interval=self._interval)
        for name in self.__slots__:
            if name == "_interval":
                continue
            setattr(self, name, np.concatenate([getattr(self, name), getattr(added, name)]))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what was learned."""
        return {"episodes": self._count, "ticks": self._ticks, "channels": self._channels}

    @classmethod
    def restore(cls, tensors: Mapping[str, NDArray[Any]], *, interval: int) -> Rates:
        """Returns the rates that `tensors` describe.

        Raises:
            ValueError: they do not fit together.
        """
        series = len(tensors["ticks"]) if "ticks" in tensors else 0
        count = take_tensor(tensors, "episodes", (series, len(BANDS)), np.float32).copy()
        ticks = take_tensor(tensors, "ticks", (series,), np.int32).copy()
        channels = take_tensor(tensors, "channels", (series,), np.int32).copy()
        if (count < 0).any() or (ticks < 0).any() or (channels < 1).any():
            raise ValueError("episodes and ticks cannot be negative, nor channels below 1")
        return cls(count, ticks, channels, interval=interval)
