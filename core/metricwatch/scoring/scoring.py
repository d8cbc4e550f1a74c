"""Evidence of any bank as one rarity for each series and tick, learned and adapted online.

Ticks are worked on in spans within which nothing that was learned takes effect: `spans` cuts them
at fixed times, so that live ticks and a backtest, wherever it begins, give the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    FloatArray,
    Horizon,
    Prediction,
    Stream,
    residual_row,
    take_tensor,
)
from metricwatch.scoring.combining import evidence_of, recurring
from metricwatch.scoring.derived import Derived, all_streams, ordinary_residual
from metricwatch.scoring.drift import EDGE, Drift
from metricwatch.scoring.rates import Rates
from metricwatch.scoring.recurrence import Recurrence
from metricwatch.scoring.scales import Heard, Scales
from metricwatch.scoring.scored import Scored
from metricwatch.scoring.severity import Severity
from metricwatch.scoring.tails import LEAST_FLOOR, Bools, Floats32, Tails
from metricwatch.scoring.teaching import Teaching
from metricwatch.scoring.threshold import threshold
from metricwatch.series import Grid

_DAY = 86_400
_REFRESH_TICKS = 20
_MOST_SPANS = 500
"""Spans of a history about, when a scoring is fitted."""
_STEPS_IN_BODY = 1.5
_SHORT_WEIGHT = 30.0
_SHORT_DAYS = 60.0
_LONG_WEIGHT = 3.0
_NORMAL_99 = 2.5758
_LARGEST_ORDINARY = 1e300
_USUAL_BUDGET = 0.5
"""False alarms a week that decide what is loud, until a watch says what it allows."""
_WARMED_AT_ONCE = 256


@dataclass(slots=True)
class _Span:
    """What `learn` needs to know of the ticks scored last."""

    bins: NDArray[np.int64]
    size: Floats32
    judged: Floats32
    evidence: Floats32


class Scoring:
    """Tails, recurrence and rates of S series, and the state that carries over ticks."""

    def __init__(
        self,
        streams: Sequence[Stream],
        *,
        step: int,
        ordinary: FloatArray,
        tails: Tails,
        recurrence: Recurrence,
        rates: Rates,
    ) -> None:
        """Takes parts over; `fit`, `fresh` and `restore` are the ways to make one.

        Args:
            streams: of the bank.
            step: seconds between samples.
            ordinary: float64[S], size of an ordinary residual, NaN where unknown.
            tails: of all streams, derived ones included.
            recurrence: of the streams that `recurring` names.
            rates: of the evidence of all.
        """
        self._streams = all_streams(streams)
        self._own_streams = tuple(streams)
        self._step = step
        self._alert = threshold(_USUAL_BUDGET, step)
        self._ordinary = ordinary
        self._tails = tails
        self._recurrence = recurrence
        self._rates = rates
        series = len(ordinary)
        self._row = residual_row(self._streams)
        self._scales = Scales(streams, ordinary)
        self._recurring = recurring(self._streams)
        self._lead = next(iter(self._recurring), None)
        self._severity = Severity(series)
        self._teaching = Teaching(series, step=step)
        self._factor: Floats32 | None = None
        self._last: _Span | None = None
        self._refreshed: int | None = None
        self._unknown = bool(np.isnan(ordinary).any())

    @property
    def series(self) -> int:
        """S."""
        return len(self._ordinary)

    @classmethod
    def fit(
        cls,
        streams: Sequence[Stream],
        evidence: FloatArray,
        grid: Grid,
        *,
        value_step: FloatArray,
        channels: NDArray[np.integer[Any]] | None = None,
    ) -> Scoring:
        """Returns the scoring that evidence of a history shows, best of samples not fitted on.

        Args:
            streams: of the bank.
            evidence: float[K, S, T], NaN where there is none.
            grid: T ticks.
            value_step: float64[S], the least difference of two values that means anything.
            channels: int[S], of how many series each system is made; None for series.
        """
        ordinary = ordinary_residual(streams, evidence, value_step)
        series = len(ordinary)
        rows = all_streams(streams)
        row = residual_row(streams)
        every = evidence if row is None else Derived(row, ordinary).extended(evidence)
        floor = np.array(
            [_STEPS_IN_BODY * value_step if row.in_units else value_step * 0.0 for row in rows]
        )
        days = grid.count * grid.step / _DAY
        short = max(1.0, _SHORT_WEIGHT * min(1.0, days / _SHORT_DAYS))
        weight = [short if row.horizon is Horizon.SHORT else _LONG_WEIGHT for row in rows]
        tails = Tails.fit(every, floor=np.maximum(floor, LEAST_FLOOR), weight=np.array(weight))
        fitted = cls(
            streams,
            step=grid.step,
            ordinary=ordinary,
            tails=tails,
            recurrence=Recurrence.blank(len(recurring(rows)), series, step=grid.step),
            rates=Rates.blank(series, interval=grid.step, channels=channels),
        )
        fitted._settle(grid.start)
        # A history holds incidents, and what is ordinary is learned with all that follows them.
        fitted._alert = math.inf
        # A long history in fewer spans: what recurs counts a little later, and it costs far less.
        ticks = max(_REFRESH_TICKS, grid.count // _MOST_SPANS)
        for part in fitted.spans(grid, ticks=ticks):
            fitted._recurrence.settle()
            fitted._score(int(grid.start + part.start * grid.step), evidence[..., part])
            fitted._learn_habits()
        fitted._alert = threshold(_USUAL_BUDGET, grid.step)
        fitted._begin_anew()
        return fitted

    @classmethod
    def fresh(cls, streams: Sequence[Stream], series: int, *, step: int) -> Scoring:
        """Returns one that knows nothing: rarities are NaN until it has seen a few samples."""
        rows = all_streams(streams)
        return cls(
            streams,
            step=step,
            ordinary=np.full(series, np.nan),
            tails=Tails.fresh(series, floor=np.full(len(rows), LEAST_FLOOR)),
            recurrence=Recurrence.blank(len(recurring(rows)), series, step=step),
            rates=Rates.blank(series, interval=step),
        )

    def spans(self, grid: Grid, *, ticks: int = _REFRESH_TICKS) -> Iterator[slice]:
        """Yields parts of a grid within which nothing learned takes effect, in order."""
        if grid.count == 0:
            return
        refresh = grid.timestamps() // self._step // ticks
        cuts = np.flatnonzero(np.diff(refresh)) + 1
        for first, end in zip([0, *cuts], [*cuts, grid.count], strict=True):
            yield slice(int(first), int(end))

    def drift(self) -> Drift:
        """Returns what tells whether later evidence is as it was learned up to now."""
        return Drift(self._tails.level(EDGE), self._scales.votes, step=self._step)

    def sizes(self) -> Floats32:
        """Returns float32[K, S, B]: the evidence of the span scored last, without its sign."""
        assert self._last is not None  # noqa: S101 - `score` comes first
        return self._last.size

    def warm(
        self,
        time: int,
        evidence: FloatArray,
        *,
        expected: FloatArray | None = None,
        alert: float | None = None,
    ) -> FloatArray:
        """Brings windows over the past up to date with ticks that are not scored.

        Args:
            time: the first of T ticks, unix seconds.
            evidence: float[K, S, T] of the bank's streams.
            expected: as for `score`.
            alert: as for `score`.

        Returns:
            The evidence with the rows that are made of it.
        """
        self._alert = self._alert if alert is None else alert
        every = np.empty((len(self._streams), *evidence.shape[1:]))
        for first in range(0, evidence.shape[2], _WARMED_AT_ONCE):
            part = slice(first, first + _WARMED_AT_ONCE)
            there = None if expected is None else expected[:, part]
            self._forgive(time + first * self._step, evidence[..., part].shape[2])
            every[..., part] = self._hear(evidence[..., part], there).evidence
        return every

    def score(
        self,
        time: int,
        evidence: FloatArray,
        *,
        expected: FloatArray | None = None,
        alert: float | None = None,
    ) -> Scored:
        """Scores a span; `learn` comes after it.

        Args:
            time: its first tick, unix seconds.
            evidence: float[K, S, B] of the bank's streams.
            expected: float[S, B], what the bank expected. Without it samples that are ordinary to
                the bank count as back where they were before an incident.
            alert: the rarity that alerts; None for the one before.
        """
        self._alert = self._alert if alert is None else alert
        self._settle(time)
        return self._score(time, evidence, expected)

    def learn(self, excluded: Bools) -> None:
        """Learns from the span scored last.

        Args:
            excluded: bool[S, B], samples that belong to an anomaly and must not become normal. One
                that has lasted for most of a day is the new normal, and teaches after all.
        """
        last = self._last
        assert last is not None  # noqa: S101 - `score` comes first
        taught = self._teaching.taught(~np.isnan(last.evidence), excluded)
        self._tails.learn(last.size, last.judged, taught=taught)
        self._learn_habits()

    def reach(self, rarity: float) -> FloatArray:
        """Returns float64[S, B]: the size of the lead that alerts at `rarity` all by itself.

        The lead is the first signed short stream: the residual, where there is one. Of the span
        scored last; NaN for a family without any.
        """
        ticks = 1 if self._last is None else len(self._last.bins)
        if self._lead is None:
            return np.full((self.series, ticks), np.nan)
        wanted = self._rates.evidence(np.full(self.series, rarity))
        reach = np.repeat(self._tails.reach(self._lead, wanted)[:, None], ticks, axis=1)
        if self._factor is not None:
            reach *= self._factor[0]
        return reach

    def unit(self, said: Prediction) -> FloatArray | float:
        """Returns what one unit of the lead is in the unit of the samples, 1 or of [S(, B)].

        A family that counts deviations in units of its own says by its residual what one is.
        """
        if self._lead is None or self._streams[self._lead].in_units:
            return 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.abs(said.residual / said.evidence[self._lead])
        return np.where(np.isfinite(unit), unit, np.nan)

    def typical(self) -> FloatArray:
        """Returns float64[S]: the lead of normal samples, as a standard deviation."""
        if self._lead is None:
            return np.full(self.series, np.nan)
        return np.asarray(self._tails.q99[self._lead].astype(np.float64) / _NORMAL_99)

    def grow(self, count: int) -> None:
        """Adds `count` series of which nothing is known."""
        self._ordinary = np.concatenate([self._ordinary, np.full(count, np.nan)])
        for part in (self._tails, self._recurrence, self._rates, self._severity):
            part.grow(count)
        self._teaching.grow(count)
        self._scales.grow(count)
        self._factor = None
        self._unknown = True

    def header(self) -> dict[str, Any]:
        """Returns what `restore` needs besides tensors and the bank's streams, as JSON values."""
        return {"step": self._step}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns what was learned, series first."""
        own = {"ordinary": self._ordinary}
        for part in (self._tails, self._recurrence, self._rates):
            own |= part.tensors()
        return own

    @classmethod
    def restore(
        cls,
        streams: Sequence[Stream],
        header: Mapping[str, Any],
        tensors: Mapping[str, NDArray[Any]],
    ) -> Scoring:
        """Returns the scoring that `header` and `tensors` describe.

        Raises:
            ValueError: they do not fit together.
        """
        step = header.get("step")
        if not isinstance(step, int) or step < 1:
            raise ValueError(f"step is {step!r}, expected whole seconds")
        rows = all_streams(streams)
        series = len(tensors["ordinary"]) if "ordinary" in tensors else 0
        ordinary = take_tensor(tensors, "ordinary", (series,), np.float64, finite=False)
        # NaN is a size that is not known yet.
        if not (np.isnan(ordinary) | ((ordinary >= 0) & (ordinary < _LARGEST_ORDINARY))).all():
            raise ValueError("tensor ordinary has a value that is no size")
        tails = Tails.restore(len(rows), tensors)
        recurrence = Recurrence.restore(len(recurring(rows)), tensors, step=step)
        rates = Rates.restore(tensors, interval=step)
        if {tails.series, recurrence.series, rates.series} != {series}:
            raise ValueError("parts of the scoring are not of the same series")
        return cls(
            streams, step=step, ordinary=ordinary, tails=tails, recurrence=recurrence, rates=rates
        )

    def _settle(self, time: int) -> None:
        """Makes what was learned count where a new span of ticks begins."""
        refresh = time // self._step // _REFRESH_TICKS
        if refresh == self._refreshed:
            return
        self._refreshed = refresh
        self._tails.refresh()
        self._recurrence.settle()
        self._rates.settle()
        if self._unknown and self._row is not None:
            self._ordinary = np.where(
                np.isnan(self._ordinary), self._tails.unit(self._row), self._ordinary
            )
            self._scales.learn_ordinary(self._ordinary)
            self._unknown = bool(np.isnan(self._ordinary).any())

    def _score(
        self, time: int, evidence: FloatArray, expected: FloatArray | None = None
    ) -> Scored:
        bins = self._forgive(time, evidence.shape[2])
        heard = self._hear(evidence, expected)
        combined, long = evidence_of(heard.short, heard.long, heard.both, interval=self._step)
        self._last = _Span(bins, heard.size, heard.judged, combined)
        return Scored(
            rarity=self._rates.rarity(combined),
            severity=self._severity.follow(heard.rarity),
            side=self._scales.votes.side(heard.evidence, heard.counted, long, self._streams),
            long=long,
        )

    def _forgive(self, time: int, ticks: int) -> NDArray[np.int64]:
        """Finds out what recurs at these ticks; returns their parts of the day."""
        bins = self._recurrence.bins_at(time + self._step * np.arange(ticks))
        self._factor = self._recurrence.factor(bins)
        return bins

    def _hear(self, evidence: FloatArray, expected: FloatArray | None) -> Heard:
        alert = self._rates.evidence(np.full(self.series, self._alert))
        return self._scales.hear(evidence, expected, self._tails, factor=self._factor, alert=alert)

    def _learn_habits(self) -> None:
        last = self._last
        assert last is not None  # noqa: S101 - `score` comes first
        if self._recurring:
            rows = list(self._recurring)
            self._recurrence.learn(last.bins, last.size[rows] / self._tails.q99[rows][..., None])
        self._rates.learn(last.evidence)

    def _begin_anew(self) -> None:
        """Forgets what was carried over from tick to tick, but nothing that was learned."""
        self._severity = Severity(self.series)
        self._recurrence.begin_anew()
        self._rates.begin_anew()
        self._scales = Scales(self._own_streams, self._ordinary)
