"""All series of one watch scored, one tick at a time: banks, scoring, verdicts. No I/O.

The slots of a watch are cut into segments, one for each chunk of the model version and a last one
for series that the version does not know. That last one is an online bank which grows. A chunk of
systems has slots for its channels, where samples go in, and behind them slots for its systems,
where verdicts come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank, OnlineBank, Prediction, SystemBank
from metricwatch.anomalies import (
    Blame,
    Policy,
    SpanVerdicts,
    Verdicts,
    judge,
    judge_all,
    with_systems,
)
from metricwatch.artifact import ModelChunk
from metricwatch.scoring import Drift, Scored, Scoring
from metricwatch.series import Grid, Labels

Floats = NDArray[np.float64]
ONLINE = "zscore"
"""The family that scores what the version does not know."""
_MOST_WARMUP_TICKS = 50_000
_MOST_DEVIATION = 1e6
"""In typical deviations: what never moved before has no better number."""


@dataclass(slots=True)
class _Segment:
    first: int
    bank: Bank
    scoring: Scoring
    drift: Drift | None = None
    """None where nothing was learned that could have changed."""

    @property
    def slots(self) -> slice:
        """Where its samples are."""
        return slice(self.first, self.first + self.bank.series)

    @property
    def scored(self) -> slice:
        """Where its scores are: systems have slots of their own, behind those of the channels."""
        if not isinstance(self.bank, SystemBank):
            return self.slots
        end = self.first + self.bank.series
        return slice(end, end + self.bank.systems)

    def score(self, time: int, evidence: Floats) -> Scored:
        """Scores evidence [K, S, B] of its bank, and follows how far it is from the learned."""
        scored = self.scoring.score(time, evidence)
        if self.drift is not None:
            self.drift.follow(self.scoring.sizes())
        return scored


@dataclass(frozen=True, slots=True, eq=False)
class _Channels:
    """The C channels of all systems.

    Attributes:
        slots: int64[C].
        labels: one entry for each.
        system: int64[C], the slot of the system of each.
        systems: int64[G], the slots of the systems.
    """

    slots: NDArray[np.int64]
    labels: tuple[Labels, ...]
    system: NDArray[np.int64]
    systems: NDArray[np.int64]

    @classmethod
    def of(cls, segments: Sequence[_Segment], known: Sequence[Labels]) -> Self:
        every = np.arange(len(known), dtype=np.int64)
        slots, system = [every[:0]], [every[:0]]
        for one in segments:
            if isinstance(one.bank, SystemBank):
                slots.append(every[one.slots])
                system.append(every[one.scored][one.bank.members])
        own, owners = np.concatenate(slots), np.concatenate(system)
        return cls(own, tuple(known[slot] for slot in own), owners, np.unique(owners))


class Scorer:
    """Banks and their scoring over the slots of one watch."""

    def __init__(self, chunks: Sequence[ModelChunk], *, interval: int) -> None:
        """The series of `chunks` have the first slots, in that order; a chunk's systems follow."""
        self._interval = interval
        self._segments: list[_Segment] = []
        self.known: list[Labels] = []
        for chunk in chunks:
            drift = chunk.scoring.drift()
            self._segments.append(_Segment(len(self.known), chunk.bank, chunk.scoring, drift))
            self.known += (*chunk.labels, *chunk.systems)
        self._channels = _Channels.of(self._segments, self.known)
        self._online: OnlineBank = _fresh(0, interval)
        scoring = Scoring.fresh(self._online.streams, 0, step=interval)
        self._segments.append(_Segment(len(self.known), self._online, scoring))

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

    def warm(self, grid: Grid, values: Floats) -> None:
        """Brings the banks up to date with history; what they expected of it is nobody's concern.

        Args:
            grid: T ticks that end where scoring begins.
            values: float64[S, T] over all slots, NaN where there is no sample.
        """
        self.grow(len(values))
        for segment in self._segments:
            if segment.bank.series == 0 or grid.count == 0:
                continue
            evidence = segment.bank.backtest(grid, values[segment.slots]).evidence
            if segment.drift is None:
                # A series the version does not know has no past but what its history teaches.
                _learn_all(segment.scoring, grid, evidence)
            else:
                # A detector that starts again knows about drift what it knew before.
                segment.drift.follow(segment.scoring.warm(evidence)[..., -segment.drift.memory :])

    def step(self, policy: Policy, *, time: int, values: Floats) -> Verdicts:
        """Scores one tick; every bank advances, and no scoring learns before `learn`.

        Args:
            policy: The settings in force.
            time: Unix seconds, later than the last tick.
            values: float64[S] over all slots, NaN where there is no sample.
        """
        self.grow(len(values))
        sheet = _Sheet(self.series, 1, self._channels)
        for segment in self._segments:
            if segment.bank.series:
                said = segment.bank.step(time, values[segment.slots])
                sheet.write(segment, policy, said, segment.score(time, said.evidence[..., None]))
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
        sheet = _Sheet(self.series, grid.count, self._channels)
        for segment in self._segments:
            if segment.bank.series:
                said = segment.bank.backtest(grid, values[segment.slots])
                sheet.write(segment, policy, said, segment.score(grid.start, said.evidence))
        return sheet.all_verdicts(policy, times=grid.timestamps(), values=values)

    def learn(self, *, excluded: NDArray[np.bool_]) -> None:
        """Lets the scoring adapt to the tick scored last; `excluded` bool[S] are in an anomaly."""
        self.learn_span(excluded[:, None])

    def learn_span(self, excluded: NDArray[np.bool_]) -> None:
        """Lets the scoring adapt to the span scored last, `excluded` bool[S, B]."""
        for segment in self._segments:
            if segment.bank.series:
                segment.scoring.learn(excluded[segment.scored])


class _Sheet:
    """What the segments say about a span of B ticks, over all slots."""

    def __init__(self, series: int, ticks: int, channels: _Channels) -> None:
        shape = (series, ticks)
        self._channels = channels
        self._expected, self._rarity, self._reach, self._typical = (
            np.full(shape, np.nan) for _ in range(4)
        )
        self._severity = np.zeros(shape)
        self._side = np.zeros(shape, np.int8)
        self._long = np.zeros(shape, np.bool_)
        if len(channels.slots):
            self._deviation, self._weight = (np.full(shape, np.nan) for _ in range(2))

    def write(self, segment: _Segment, policy: Policy, said: Prediction, scored: Scored) -> None:
        slots = segment.scored
        self._expected[segment.slots] = said.expected.reshape(-1, scored.rarity.shape[1])
        self._rarity[slots] = scored.rarity
        self._severity[slots] = scored.severity
        self._side[slots] = scored.side
        self._long[slots] = scored.long
        unit = segment.scoring.unit(said)
        unit = unit if isinstance(unit, float) else unit.reshape(scored.rarity.shape)
        self._reach[slots] = segment.scoring.reach(policy.threshold) * unit
        self._typical[slots] = segment.scoring.typical()[:, None] * unit
        if isinstance(segment.bank, SystemBank) and said.blame is not None:
            channels, typical = segment.slots, segment.bank.typical[:, None]
            shape = self._weight[channels].shape
            far = said.residual.reshape(shape) / typical
            self._typical[channels] = typical
            self._deviation[channels] = np.clip(far, -_MOST_DEVIATION, _MOST_DEVIATION)
            self._weight[channels] = said.blame.reshape(shape)

    def verdicts(self, policy: Policy, *, time: int, values: Floats) -> Verdicts:
        """The verdicts of a sheet of one tick."""
        verdicts = judge(
            policy,
            time=time,
            value=values,
            expected=self._expected[:, 0],
            rarity=self._rarity[:, 0],
            reach=self._reach[:, 0],
            typical=self._typical[:, 0],
            severity=self._severity[:, 0],
            side=self._side[:, 0],
            long=self._long[:, 0],
        )
        own = self._channels
        if not len(own.slots):
            return verdicts
        blame = self._blame(self._weight[own.slots, 0], self._deviation[own.slots, 0])
        return with_systems(policy, verdicts, slots=own.systems, blame=blame)

    def all_verdicts(
        self, policy: Policy, *, times: NDArray[np.int64], values: Floats
    ) -> SpanVerdicts:
        """The verdicts of all its ticks."""
        verdicts = judge_all(
            policy,
            times=times,
            value=values,
            expected=self._expected,
            rarity=self._rarity,
            reach=self._reach,
            typical=self._typical,
            severity=self._severity,
            side=self._side,
            long=self._long,
        )
        own = self._channels
        if not len(own.slots):
            return verdicts
        blame = self._blame(self._weight[own.slots], self._deviation[own.slots])
        return with_systems(policy, verdicts, slots=own.systems, blame=blame)

    def _blame(self, weight: Floats, deviation: Floats) -> Blame:
        own = self._channels
        return Blame(labels=own.labels, system=own.system, weight=weight, deviation=deviation)


def _learn_all(scoring: Scoring, grid: Grid, evidence: Floats) -> None:
    for part in scoring.spans(grid):
        scored = scoring.score(grid.start + part.start * grid.step, evidence[..., part])
        scoring.learn(np.zeros(scored.long.shape, np.bool_))


def _fresh(series: int, interval: int) -> OnlineBank:
    fresh = FAMILIES[ONLINE].fresh
    assert fresh is not None, "the online family learns while it steps"  # noqa: S101
    return fresh(series, step=interval)
