"""What the banks of a watch say of a span of ticks, brought onto the slots of all its series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import Bank, Prediction, SystemBank
from metricwatch.anomalies import (
    Blame,
    Policy,
    SpanVerdicts,
    Verdicts,
    judge,
    judge_all,
    with_systems,
)
from metricwatch.scoring import Drift, Scored, Scoring
from metricwatch.series import Labels

Floats = NDArray[np.float64]
_MOST_DEVIATION = 1e6
"""In typical deviations: what never moved before has no better number."""


@dataclass(slots=True)
class Segment:
    """The series of one chunk, or those that the version does not know, and where they are."""

    first: int
    bank: Bank
    scoring: Scoring
    learned: bool
    """From a history, by the version; what it does not know is learned while scoring."""
    drift: Drift | None = None
    """None where it is not followed: nothing was learned that could have changed."""
    systems: SystemBank | None = field(init=False)

    def __post_init__(self) -> None:
        # To ask whether it is one takes as long as to score some series.
        self.systems = self.bank if isinstance(self.bank, SystemBank) else None

    @property
    def slots(self) -> slice:
        """Where its samples are."""
        return slice(self.first, self.first + self.bank.series)

    @property
    def scored(self) -> slice:
        """Where its scores are: systems have slots of their own, behind those of the channels."""
        if self.systems is None:
            return self.slots
        end = self.first + self.bank.series
        return slice(end, end + self.systems.systems)

    def score(self, policy: Policy, time: int, said: Prediction) -> Scored:
        """Scores what its bank says of a span, and follows how far it is from the learned."""
        ticks = said.expected.size // self.bank.series
        scored = self.scoring.score(
            time,
            said.evidence.reshape(*said.evidence.shape[:2], ticks),
            expected=said.expected.reshape(-1, ticks),
            alert=policy.threshold,
        )
        if self.drift is not None:
            self.drift.follow(self.scoring.sizes())
        return scored


@dataclass(frozen=True, slots=True, eq=False)
class Channels:
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
    def of(cls, segments: Sequence[Segment], known: Sequence[Labels]) -> Self:
        """The channels of segments, whose slots belong to `known`."""
        every = np.arange(len(known), dtype=np.int64)
        slots, system = [every[:0]], [every[:0]]
        for one in segments:
            if one.systems is not None:
                slots.append(every[one.slots])
                system.append(every[one.scored][one.systems.members])
        own, owners = np.concatenate(slots), np.concatenate(system)
        return cls(own, tuple(known[slot] for slot in own), owners, np.unique(owners))


class Sheet:
    """What the segments say about a span of B ticks, over all slots."""

    def __init__(self, series: int, ticks: int, channels: Channels) -> None:
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

    def write(self, segment: Segment, policy: Policy, said: Prediction, scored: Scored) -> None:
        """Takes down what is said of one segment."""
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
        if segment.systems is not None and said.blame is not None:
            channels, typical = segment.slots, segment.systems.typical[:, None]
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
