"""All series of one watch scored, one tick at a time: banks, calibration, verdicts. No I/O.

The slots of a watch are cut into segments, one for each chunk of the model version and a last one
for series that the version does not know. That last one is an online bank which grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FAMILIES, Bank, OnlineBank
from metricwatch.anomalies import Policy, Verdicts, judge
from metricwatch.artifact import ModelChunk
from metricwatch.calibration import Calibration
from metricwatch.series import Grid, Labels

Floats = NDArray[np.float64]
ONLINE = "zscore"
"""The family that scores what the version does not know."""
_RARITY_OF_99 = 2.0
_NORMAL_99 = 2.5758
"""A normal distribution has 1 % of its samples further out than so many standard deviations."""
_MOST_WARMUP_TICKS = 50_000


@dataclass(slots=True)
class _Segment:
    first: int
    bank: Bank
    calibration: Calibration

    @property
    def slots(self) -> slice:
        return slice(self.first, self.first + self.bank.series)


class Scorer:
    """Banks and calibrations over the slots of one watch."""

    def __init__(self, chunks: Sequence[ModelChunk], *, interval: int) -> None:
        """The series of `chunks` have the first slots, in that order."""
        self._interval = interval
        self._segments: list[_Segment] = []
        self.known: list[Labels] = []
        for chunk in chunks:
            self._segments.append(_Segment(len(self.known), chunk.bank, chunk.calibration))
            self.known += chunk.labels
        self._online: OnlineBank = _fresh(0, interval)
        calibration = Calibration.fresh(0, step=interval)
        self._segments.append(_Segment(len(self.known), self._online, calibration))

    @property
    def series(self) -> int:
        """How many slots it has."""
        return len(self.known) + self._online.series

    @property
    def warmup(self) -> int:
        """Ticks of history that bring every bank up to date."""
        longest = max(segment.bank.warmup for segment in self._segments)
        return min(longest, _MOST_WARMUP_TICKS)

    def family_of(self, slot: int) -> str:
        """The family that scores a slot."""
        return next(
            segment.bank.family for segment in reversed(self._segments) if slot >= segment.first
        )

    def families(self) -> dict[str, int]:
        """How many slots each family has."""
        count: dict[str, int] = {}
        for segment in self._segments:
            family = segment.bank.family
            count[family] = count.get(family, 0) + segment.bank.series
        return count

    def grow(self, series: int) -> None:
        """Adds slots for series that the version does not know, until there are so many."""
        more = series - self.series
        if more > 0:
            self._online.grow(more)
            self._segments[-1].calibration.grow(more)

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
            prediction = segment.bank.backtest(grid, values[segment.slots])
            if segment is self._segments[-1]:
                self._calibrate_online(prediction.residual)

    def _calibrate_online(self, residuals: Floats) -> None:
        """A series the version does not know has no calibration but what its history teaches."""
        calibration = self._segments[-1].calibration
        nothing = np.zeros(calibration.series, np.bool_)
        for residual in residuals.T:
            calibration.adapt(residual, calibration.rarity(residual), excluded=nothing)

    def step(self, policy: Policy, *, time: int, values: Floats) -> Verdicts:
        """Scores one tick; every bank advances, and no calibration learns before `learn`.

        Args:
            policy: The settings in force.
            time: Unix seconds, later than the last tick.
            values: float64[S] over all slots, NaN where there is no sample.
        """
        self.grow(len(values))
        expected, rarity, reach, typical = (np.full(self.series, np.nan) for _ in range(4))
        for segment in self._segments:
            if segment.bank.series == 0:
                continue
            slots = segment.slots
            prediction = segment.bank.step(time, values[slots])
            expected[slots] = prediction.expected
            rarity[slots] = segment.calibration.rarity(prediction.residual)
            reach[slots] = segment.calibration.reach(policy.threshold)
            typical[slots] = segment.calibration.reach(_RARITY_OF_99) / _NORMAL_99
        return judge(
            policy,
            time=time,
            value=values,
            expected=expected,
            rarity=rarity,
            reach=reach,
            typical=typical,
        )

    def learn(self, verdicts: Verdicts, *, excluded: NDArray[np.bool_]) -> None:
        """Lets the calibrations adapt to a tick; `excluded` bool[S] are in an open anomaly."""
        residual = verdicts.value - verdicts.expected
        for segment in self._segments:
            if segment.bank.series:
                slots = segment.slots
                segment.calibration.adapt(
                    residual[slots], verdicts.rarity[slots], excluded=excluded[slots]
                )


def _fresh(series: int, interval: int) -> OnlineBank:
    fresh = FAMILIES[ONLINE].fresh
    assert fresh is not None, "the online family learns while it steps"  # noqa: S101
    return fresh(series, step=interval)
