"""What one tick says about S series: expectation, band, and one score for every family.

`score > 1` is exactly "outside the band on a side that counts". Rarity alone decides it, except
that a deviation smaller than `minDeviation` widens the band: its score is at most its share of
that deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
        rarity: -log10 of the probability that a normal sample is at least as far out.
        score: Rarity over threshold, above 1 is anomalous; NaN where there is nothing to judge.
        typical: How far out normal samples are, as a standard deviation, to say it of others.
    """

    time: int
    value: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    rarity: Floats
    score: Floats
    typical: Floats

    @property
    def series(self) -> int:
        """How many series."""
        return len(self.value)

    def padded(self, series: int) -> Verdicts:
        """The same for `series` slots: those that came later had no sample at this tick."""
        missing = series - self.series
        if missing <= 0:
            return self
        nothing = np.full(missing, np.nan)
        return Verdicts(
            self.time,
            *(
                np.concatenate([column, nothing])
                for column in (
                    self.value,
                    self.expected,
                    self.lower,
                    self.upper,
                    self.rarity,
                    self.score,
                    self.typical,
                )
            ),
        )


def judge(
    policy: Policy,
    *,
    time: int,
    value: Floats,
    expected: Floats,
    rarity: Floats,
    reach: Floats,
    typical: Floats,
) -> Verdicts:
    """The verdicts of one tick.

    Args:
        policy: The watch's settings.
        time: Unix seconds of the tick.
        value: float64[S], NaN where there is no sample.
        expected: float64[S], NaN while a family is not warm.
        rarity: float64[S] of the residuals, NaN where either is missing.
        reach: float64[S], the |residual| at which rarity reaches the threshold.
        typical: float64[S], the spread of normal samples, as a standard deviation.
    """
    residual = value - expected
    least = np.maximum(policy.least_absolute, policy.least_relative * np.abs(expected))
    width = np.maximum(reach, least)
    return Verdicts(
        time=time,
        value=value,
        expected=expected,
        lower=expected - width,
        upper=expected + width,
        rarity=rarity,
        score=_score(policy, rarity, residual, least),
        typical=typical,
    )


def _score(policy: Policy, rarity: Floats, residual: Floats, least: Floats) -> Floats:
    score: Floats = np.clip(rarity / policy.threshold, 0.0, HIGHEST_SCORE)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.abs(residual) / least
    # "Smaller than", so that a deviation of exactly `least` counts.
    score = np.where(share < 1.0, np.minimum(score, share), score)
    if policy.direction is Direction.ABOVE:
        score = np.where(residual < 0, 0.0, score)
    elif policy.direction is Direction.BELOW:
        score = np.where(residual > 0, 0.0, score)
    return score
