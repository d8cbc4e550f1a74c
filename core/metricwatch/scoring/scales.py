"""What streams say on two time scales, without what was told by itself and is over (`told`).

Then those samples are left out of the sums of the residual, none of them supports a later sample,
and a window of the bank that may hold one says nothing. What is left is what other samples say
together: a small shift that lasts shows as if the incident before it had never been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from metricwatch.algorithms.base import FloatArray, Horizon, Stream, residual_row
from metricwatch.scoring.combining import TOGETHER, Votes, recurring
from metricwatch.scoring.derived import WIDTHS, Derived, all_streams
from metricwatch.scoring.tails import Bools, Floats32, Tails
from metricwatch.scoring.told import Lately, Told


@dataclass(slots=True, eq=False)
class Heard:
    """What was made of B ticks of S series.

    Attributes:
        evidence: float64[K, S, B], of the bank and what is made of its residual.
        size: float32[K, S, B], the same without signs.
        judged: float32[K, S, B], less where large sizes recur.
        rarity: float32[K, S, B], with all that windows hold.
        counted: float32[K, S, B], without what is over; NaN of windows that may hold it.
        short: float32[S, B], evidence of the newest sample.
        long: float32[S, B], evidence of many together.
        both: float32[S, B], the mean of the largest of either within `TOGETHER` ticks.
    """

    evidence: FloatArray
    size: Floats32
    judged: Floats32
    rarity: Floats32
    counted: Floats32
    short: Floats32
    long: Floats32
    both: Floats32


class Scales:
    """Windows over the past of S series, and what in them was told already."""

    __slots__ = ("_derived", "_memory", "_own", "_recent", "_recurring", "_row", "_told", "votes")

    def __init__(self, streams: Sequence[Stream], ordinary: FloatArray) -> None:
        """Starts with empty windows.

        Args:
            streams: of the bank.
            ordinary: float64[S], size of an ordinary residual, NaN where unknown.
        """
        self._own = len(streams)
        rows = all_streams(streams)
        self.votes = Votes.of(rows)
        self._recurring = list(recurring(rows))
        self._row = residual_row(streams)
        self._derived = None if self._row is None else Derived(self._row, ordinary)
        self._memory = {
            row: one.memory
            for row, one in enumerate(streams)
            if one.horizon is Horizon.LONG and one.memory > 0
        }
        self._told = Told(len(ordinary), memory=max(TOGETHER, *WIDTHS, *self._memory.values()))
        # Evidence of the latest ticks, short and long, and both again without loud times.
        self._recent = np.zeros((4, TOGETHER - 1, len(ordinary)), dtype=np.float32)

    def hear(
        self,
        evidence: FloatArray,
        expected: FloatArray | None,
        tails: Tails,
        *,
        factor: Floats32 | None,
        alert: FloatArray,
    ) -> Heard:
        """Takes a span in.

        Args:
            evidence: float[K, S, B] of the bank's streams.
            expected: float[S, B], None where it is not known.
            tails: of all streams.
            factor: by how much recurring streams have to be larger, float32[R, S, B].
            alert: float64[S], the evidence that alerts.
        """
        residual = None if self._row is None else evidence[self._row]
        if self._derived is not None:
            evidence = self._derived.extended(evidence)
        size = np.abs(evidence).astype(np.float32)
        judged = size
        if factor is not None:
            judged = size.copy()
            judged[self._recurring] /= factor
        rarity = tails.rarity(judged)
        short = self.votes.short_of(rarity)
        told = short >= alert[:, None]
        lately = self._told.follow(told, residual, expected)
        heard = Heard(evidence, size, judged, rarity, rarity, short, short, short)
        if len(lately.series):
            told[lately.series] = lately.part
            self._leave_out(heard, tails, told, lately)
        heard.long = self.votes.long_of(heard.counted)
        heard.both = self._together(heard, told, lately)
        return heard

    def learn_ordinary(self, ordinary: FloatArray) -> None:
        """Takes the size of an ordinary residual of series where it was unknown."""
        if self._derived is not None:
            self._derived.learn_ordinary(ordinary)

    def grow(self, count: int) -> None:
        """Adds `count` series whose windows are empty."""
        if self._derived is not None:
            self._derived.grow(count)
        self._told.grow(count)
        self._recent = np.pad(self._recent, ((0, 0), (0, 0), (0, count)))

    def _leave_out(self, heard: Heard, tails: Tails, told: Bools, lately: Lately) -> None:
        """Takes told samples out of the sums where they are over, and out of what is counted."""
        held = None if self._derived is None else self._derived.told_part(heard.evidence, told)
        if not lately.over.any():
            return
        heard.counted = heard.rarity.copy()
        for row, ticks in self._memory.items():
            echoes = lately.over & (lately.since < ticks)
            own = heard.rarity[row, lately.series]
            heard.counted[row, lately.series] = np.where(echoes, np.float32(np.nan), own)
        if held is not None:
            at = np.ix_(np.arange(self._own, len(heard.evidence)), lately.series)
            heard.evidence[at] -= np.where(lately.over, held[:, lately.series], 0.0)
            heard.size[at] = np.abs(heard.evidence[at])
            heard.judged[at] = heard.size[at]
            heard.counted[at] = tails.rarity(heard.size[at], at)

    def _together(self, heard: Heard, told: Bools, lately: Lately) -> Floats32:
        """Returns the mean of the largest short and long evidence of the latest ticks, [S, B]."""
        ticks, series = told.shape[1], lately.series
        newest = np.fmax(np.stack([heard.short, heard.long] * 2), np.float32(0))
        newest[2][told] = 0.0
        newest[3, series] = np.where(lately.lasts, 0.0, newest[3, series])
        recent = np.concatenate([self._recent, newest.transpose(0, 2, 1)], axis=1)
        self._recent = recent[:, ticks:]
        if ticks == 1:
            largest = recent.max(axis=1)[..., None]
        else:
            largest = sliding_window_view(recent, TOGETHER, axis=1).max(axis=3).transpose(0, 2, 1)
        most, quiet = largest[:2], largest[2:]
        most[:, series] = np.where(lately.over, quiet[:, series], most[:, series])
        return np.asarray(most.mean(axis=0))
