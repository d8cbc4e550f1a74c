"""What one tick says about S series: expectation, band, and one score for every family.

Rarity alone decides the score, except that a deviation smaller than `minDeviation` counts for no
more than its share of it. The band is where a sample alone would alert: a series inside of it may
still be anomalous, for what its latest samples say together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from metricwatch.anomalies.components import Blame
from metricwatch.anomalies.policy import Policy
from metricwatch.resources.detection import Direction

Floats = NDArray[np.float64]
HIGHEST_SCORE = 1e6
"""Scores are cut here, so that none is infinite in a database or a metric."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One tick of S series.

    Attributes:
        time: Unix seconds.
        value, expected, lower, upper: In the series' own unit; NaN where there is none.
        rarity: -log10 of the share of intervals in which an ordinary series is so odd.
        score: Rarity over threshold, above 1 is anomalous; NaN where there is nothing to judge.
        typical: How far out normal samples are, as a standard deviation, to say it of others.
        severity: How odd things have been lately; for ranking, never for alerts.
        side: 1 too high, -1 too low, 0 odd without a direction.
        long: The latest samples together are odd, rather than the newest one.
        blame: Which channels have to do with it, where some of the series are systems.
    """

    time: int
    value: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    rarity: Floats
    score: Floats
    typical: Floats
    severity: Floats
    side: NDArray[np.int8]
    long: NDArray[np.bool_]
    blame: Blame | None = None

    @property
    def series(self) -> int:
        """How many series."""
        return len(self.value)

    def padded(self, series: int) -> Verdicts:
        """The same for `series` slots: those that came later had no sample at this tick."""
        return _padded(self, series)


_FLOATS = ("value", "expected", "lower", "upper", "rarity", "score", "typical", "severity")


@dataclass(frozen=True, slots=True)
class SpanVerdicts:
    """B ticks of S series: what `Verdicts` has of each, a column for each tick.

    Attributes:
        times: int64[B], unix seconds, ascending.
        blame: its weights and deviations have a column for each tick as well.
    """

    times: NDArray[np.int64]
    value: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    rarity: Floats
    score: Floats
    typical: Floats
    severity: Floats
    side: NDArray[np.int8]
    long: NDArray[np.bool_]
    blame: Blame | None = None

    @property
    def series(self) -> int:
        """How many series."""
        return len(self.value)

    def padded(self, series: int) -> SpanVerdicts:
        """The same for `series` slots: those that came later had no samples in this span."""
        return _padded(self, series)

    def __len__(self) -> int:
        return len(self.times)

    def __iter__(self) -> Iterator[Verdicts]:
        return (self.at(tick) for tick in range(len(self)))

    def at(self, tick: int) -> Verdicts:
        """The verdicts of one tick, a position."""
        return Verdicts(
            time=int(self.times[tick]),
            **{name: getattr(self, name)[:, tick] for name in (*_FLOATS, "side", "long")},
            blame=self.blame_at(tick),
        )

    def blame_at(self, tick: int) -> Blame | None:
        """Who is to blame at one tick, a position."""
        blame = self.blame
        if blame is None:
            return None
        return replace(blame, weight=blame.weight[:, tick], deviation=blame.deviation[:, tick])


Said = TypeVar("Said", Verdicts, SpanVerdicts)


def _padded(said: Said, series: int) -> Said:
    missing = series - said.series
    if missing <= 0:
        return said
    more = ((0, missing), *((0, 0) for _ in said.value.shape[1:]))
    columns: dict[str, Any] = {
        name: np.pad(getattr(said, name), more, constant_values=np.nan) for name in _FLOATS
    }
    columns |= {name: np.pad(getattr(said, name), more) for name in ("side", "long")}
    return replace(said, **columns)


def judge(
    policy: Policy,
    *,
    time: int,
    value: Floats,
    expected: Floats,
    rarity: Floats,
    reach: Floats,
    typical: Floats,
    severity: Floats,
    side: NDArray[np.int8],
    long: NDArray[np.bool_],
) -> Verdicts:
    """The verdicts of one tick.

    Args:
        policy: The watch's settings.
        time: Unix seconds of the tick.
        value: float64[S], NaN where there is no sample.
        expected: float64[S], NaN while a family is not warm.
        rarity: float64[S], NaN where there is nothing to judge.
        reach: float64[S], the |residual| that alerts by itself, NaN where there is no such.
        typical: float64[S], the spread of normal samples, as a standard deviation.
        severity: float64[S].
        side: int8[S].
        long: bool[S].
    """
    lower, upper, score = _judged(policy, value, expected, rarity, reach, side)
    return Verdicts(
        time=time,
        value=value,
        expected=expected,
        lower=lower,
        upper=upper,
        rarity=rarity,
        score=score,
        typical=typical,
        severity=severity,
        side=side,
        long=long,
    )


def judge_all(
    policy: Policy,
    *,
    times: NDArray[np.int64],
    value: Floats,
    expected: Floats,
    rarity: Floats,
    reach: Floats,
    typical: Floats,
    severity: Floats,
    side: NDArray[np.int8],
    long: NDArray[np.bool_],
) -> SpanVerdicts:
    """The verdicts of B ticks: for each what `judge` says of it.

    Args:
        policy: The watch's settings.
        times: int64[B], unix seconds.
        value: float64[S, B]; this and what follows has a column for each tick.
        expected: float64[S, B].
        rarity: float64[S, B].
        reach: float64[S, B].
        typical: float64[S, B].
        severity: float64[S, B].
        side: int8[S, B].
        long: bool[S, B].
    """
    lower, upper, score = _judged(policy, value, expected, rarity, reach, side)
    return SpanVerdicts(
        times=times,
        value=value,
        expected=expected,
        lower=lower,
        upper=upper,
        rarity=rarity,
        score=score,
        typical=typical,
        severity=severity,
        side=side,
        long=long,
    )


def with_systems(
    policy: Policy, verdicts: Said, *, slots: NDArray[np.int64], blame: Blame
) -> Said:
    """The verdicts with something to show for systems, which have no samples of their own.

    The value of a system is its rarity, in powers of ten: the same for systems of any kind and
    size. The band ends where it alerts. `minDeviation` is in the unit of samples and says nothing
    about it, and without samples `judge` has passed it over.

    Args:
        policy: The watch's settings.
        verdicts: Of `judge` or `judge_all`, for all slots.
        slots: int64[G], the slots of the systems.
        blame: Of their channels.
    """
    value, expected = verdicts.value.copy(), verdicts.expected.copy()
    lower, upper = verdicts.lower.copy(), verdicts.upper.copy()
    value[slots] = np.minimum(verdicts.rarity[slots], HIGHEST_SCORE)
    known = np.zeros(value.shape, np.bool_)
    known[slots] = ~np.isnan(value[slots])
    expected[known] = lower[known] = 0.0
    upper[known] = policy.threshold
    return replace(verdicts, value=value, expected=expected, lower=lower, upper=upper, blame=blame)


def _judged(
    policy: Policy,
    value: Floats,
    expected: Floats,
    rarity: Floats,
    reach: Floats,
    side: NDArray[np.int8],
) -> tuple[Floats, Floats, Floats]:
    """Lower and upper bound and the score: each of one sample alone, in arrays of any shape."""
    least = np.maximum(policy.least_absolute, policy.least_relative * np.abs(expected))
    width = np.maximum(reach, least)
    score = _score(policy, rarity, value - expected, least, side)
    return expected - width, expected + width, score


def _score(
    policy: Policy,
    rarity: Floats,
    residual: Floats,
    least: Floats,
    side: NDArray[np.int8],
) -> Floats:
    score: Floats = np.clip(rarity / policy.threshold, 0.0, HIGHEST_SCORE)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.abs(residual) / least
    # "Smaller than", so that a deviation of exactly `least` counts.
    score = np.where(share < 1.0, np.minimum(score, share), score)
    if policy.direction is Direction.ABOVE:
        score = np.where(side < 0, 0.0, score)
    elif policy.direction is Direction.BELOW:
        score = np.where(side > 0, 0.0, score)
    return score
