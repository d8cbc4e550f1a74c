"""All series of one watch scored, one tick at a time: banks, scoring, verdicts. No I/O.

The slots of a watch are cut into segments, one for each chunk of the model version and a last one
for series that the version does not know. That last one is an online bank which grows. A chunk of
systems has slots for its channels, where samples go in, and behind them slots for its systems,
where verdicts come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, OnlineBank, Prediction
from metricwatch.anomalies import Policy, SpanVerdicts, Verdicts
from metricwatch.artifact import ModelChunk
from metricwatch.scoring import Scoring
from metricwatch.series import Grid, Labels
from metricwatch.sheet import Channels, Segment, Sheet

Floats = NDArray[np.float64]
ONLINE = "zscore"
"""The family that scores what the version does not know."""
_MOST_WARMUP_TICKS = 50_000
_WARMED_VALUES = 1_000_000
_LEAST_WARMED_TICKS = 64
"""Of a history, what is looked at in one go."""
_FORESEEN = 50_000
"""Samples that banks look at in one go where they are all there: calling them takes time."""


class Scorer:
    """Banks and their scoring over the slots of one watch."""

    def __init__(
        self, chunks: Sequence[ModelChunk], *, interval: int, follow_drift: bool = True
    ) -> None:
        """Begins with what a version knows.

        Args:
            chunks: Their series have the first slots, in that order; a chunk's systems follow.
            interval: Seconds between samples.
            follow_drift: Whether `drift` will be asked; to follow it has its price.
        """
        self._interval = interval
        self._segments: list[Segment] = []
        self.known: list[Labels] = []
        for chunk in chunks:
            drift = chunk.scoring.drift() if follow_drift else None
            self._segments.append(
                Segment(len(self.known), chunk.bank, chunk.scoring, learned=True, drift=drift)
            )
            self.known += (*chunk.labels, *chunk.systems)
        self._channels = Channels.of(self._segments, self.known)
        self._online: OnlineBank = _fresh(0, interval)
        scoring = Scoring.fresh(self._online.streams, 0, step=interval)
        self._segments.append(Segment(len(self.known), self._online, scoring, learned=False))

    @property
    def series(self) -> int:
        """How many slots it has."""
        return len(self.known) + self._online.series

    @property
    def warmup(self) -> int:
        """Ticks of history that bring every bank up to date."""
        longest = max(segment.bank.warmup for segment in self._segments)
        return min(longest, _MOST_WARMUP_TICKS)

    def system_of(self) -> dict[Labels, Labels]:
        """The labels of the system of each channel."""
        channels = self._channels
        systems = (self.known[slot] for slot in channels.system)
        return dict(zip(channels.labels, systems, strict=True))

    def family_of(self, slot: int) -> str:
        """The family that scores a slot."""
        return next(
            segment.bank.family for segment in reversed(self._segments) if slot >= segment.first
        )

    def families(self) -> dict[str, int]:
        """How many series each family has."""
        count: dict[str, int] = {}
        for segment in self._segments:
            family = segment.bank.family
            count[family] = count.get(family, 0) + segment.bank.series
        return count

    def drift(self) -> float | None:
        """Which share of the series that the version knows is no longer as it learned them.

        Of those seen since the start; None while too little was seen of any to tell.
        """
        followed = [segment.drift for segment in self._segments if segment.drift is not None]
        if not any(one.told.any() for one in followed):
            return None
        drifted = sum(np.count_nonzero(one.drifted) for one in followed)
        return drifted / sum(np.count_nonzero(one.seen) for one in followed)

    def grow(self, series: int) -> None:
        """Adds slots for series that the version does not know, until there are so many."""
        more = series - self.series
        if more > 0:
            self._online.grow(more)
            self._segments[-1].scoring.grow(more)

    def warm(self, grid: Grid, values: Floats, *, alert: float | None = None) -> None:
        """Brings the banks up to date with history; what they expected of it is nobody's concern.

        Args:
            grid: T ticks that end where scoring begins.
            values: float64[S, T] over all slots, NaN where there is no sample.
            alert: The rarity that alerted; None for that of the usual budget.
        """
        self.grow(len(values))
        # Evidence is several times as large as the samples, so it is never there of all of them.
        ticks = max(_WARMED_VALUES // max(len(values), 1), _LEAST_WARMED_TICKS)
        for first in range(0, grid.count, ticks):
            part, left = grid.part(first, ticks), grid.count - first
            for segment in self._segments:
                if segment.bank.series:
                    samples = values[segment.slots, first : first + part.count]
                    _warm(segment, part, samples, alert=alert, left=left)

    def step(self, policy: Policy, *, time: int, values: Floats) -> Verdicts:
        """Scores one tick; every bank advances, and no scoring learns before `learn`.

        Args:
            policy: The settings in force.
            time: Unix seconds, later than the last tick.
            values: float64[S] over all slots, NaN where there is no sample.
        """
        self.grow(len(values))
        sheet = Sheet(self.series, 1, self._channels)
        for segment in self._segments:
            if segment.bank.series:
                said = segment.bank.step(time, values[segment.slots])
                sheet.write(segment, policy, said, segment.score(policy, time, said))
        return sheet.verdicts(policy, time=time, values=values)

    def spans(self, grid: Grid) -> Iterator[slice]:
        """Yields parts of a grid that `judge_span` takes at once."""
        return self._segments[-1].scoring.spans(grid)

    def judge_span(self, policy: Policy, grid: Grid, values: Floats) -> SpanVerdicts:
        """Scores every tick of a span at once: the same as steps, and `learn_span` after them.

        Args:
            policy: The settings in force.
            grid: A part of a grid that `spans` gave.
            values: float64[S, B] over all slots.
        """
        self.grow(len(values))
        return self._judge(policy, grid, values, self._said(grid, values))

    def judge_spans(
        self, policy: Policy, grid: Grid, values: Floats
    ) -> Iterator[tuple[slice, SpanVerdicts]]:
        """Scores every tick of a grid; `learn_span` comes before the next span is asked for.

        Args:
            policy: The settings in force.
            grid: Any.
            values: float64[S, T] over all slots.

        Yields:
            What `spans` gives, and the verdicts of it.
        """
        self.grow(len(values))
        at_once = max(1, _FORESEEN // max(1, self.series))
        for spans in _together(self.spans(grid), ticks=at_once):
            first, end = spans[0].start, spans[-1].stop
            # Banks do not ask what was an anomaly, so they may be ahead of the scoring.
            said = self._said(grid.part(first, end - first), values[:, first:end])
            for span in spans:
                own = slice(span.start - first, span.stop - first)
                part = grid.part(span.start, span.stop - span.start)
                now = [(segment, one.part(own)) for segment, one in said]
                yield span, self._judge(policy, part, values[:, span], now)

    def _said(self, grid: Grid, values: Floats) -> list[tuple[Segment, Prediction]]:
        """What the banks say of some ticks; they are ahead of the scoring then."""
        return [
            (segment, segment.bank.backtest(grid, values[segment.slots]))
            for segment in self._segments
            if segment.bank.series
        ]

    def _judge(
        self,
        policy: Policy,
        grid: Grid,
        values: Floats,
        said: Sequence[tuple[Segment, Prediction]],
    ) -> SpanVerdicts:
        sheet = Sheet(self.series, grid.count, self._channels)
        for segment, one in said:
            sheet.write(segment, policy, one, segment.score(policy, grid.start, one))
        return sheet.all_verdicts(policy, times=grid.timestamps(), values=values)

    def learn(self, *, excluded: NDArray[np.bool_]) -> None:
        """Lets the scoring adapt to the tick scored last; `excluded` bool[S] are in an anomaly."""
        self.learn_span(excluded[:, None])

    def learn_span(self, excluded: NDArray[np.bool_]) -> None:
        """Lets the scoring adapt to the span scored last, `excluded` bool[S, B]."""
        for segment in self._segments:
            if segment.bank.series:
                segment.scoring.learn(excluded[segment.scored])


def _together(spans: Iterable[slice], *, ticks: int) -> Iterator[list[slice]]:
    """Spans in runs of so many ticks at most, or of one."""
    run: list[slice] = []
    for span in spans:
        if run and span.stop - run[0].start > ticks:
            yield run
            run = []
        run.append(span)
    if run:
        yield run


def _warm(segment: Segment, grid: Grid, values: Floats, *, alert: float | None, left: int) -> None:
    """Brings one segment over T ticks, the first of `left` that lead to where scoring begins."""
    said = segment.bank.backtest(grid, values)
    if not segment.learned:
        # A series the version does not know has no past but what its history teaches.
        _learn_all(segment.scoring, grid, said.evidence)
        return
    evidence = segment.scoring.warm(grid.start, said.evidence, expected=said.expected, alert=alert)
    if segment.drift is not None:
        # A detector that starts again knows about drift what it knew before.
        forgotten = max(left - segment.drift.memory, 0)
        segment.drift.follow(evidence[..., forgotten:])


def _learn_all(scoring: Scoring, grid: Grid, evidence: Floats) -> None:
    for part in scoring.spans(grid):
        scored = scoring.score(grid.start + part.start * grid.step, evidence[..., part])
        scoring.learn(np.zeros(scored.long.shape, np.bool_))


def _fresh(series: int, interval: int) -> OnlineBank:
    fresh = FAMILIES[ONLINE].fresh
    assert fresh is not None, "the online family learns while it steps"  # noqa: S101
    return fresh(series, step=interval)
