"""Moving mean and standard deviation: the family that needs no training and learns online.

It scores series that a version does not know yet. Mean and variance are exponentially weighted
(West 1979; Finch 2009), with the plain average over the first samples so that the start is
unbiased. The spread remembers longer than the mean, and no sample widens it by more than a few
deviations: otherwise an incident would excuse itself.

The evidence is honest about how little a young series has shown. A deviation from the mean of n
samples, in standard deviations of theirs, follows Student's t, whose tail is heavy; it is turned
into the normal deviation that is as rare (Wallace 1959). Samples that follow each other are alike,
so each counts for a quarter of one, which made young series no louder than old ones on recorded
metrics.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    Family,
    FloatArray,
    Header,
    Horizon,
    OnlineBank,
    Prediction,
    Report,
    ShouldStop,
    Stream,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.moving_moments import FIRST_SAMPLES, Moments, MovingMoments, Rates
from metricwatch.resources.algorithm import ZscoreParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_SPREAD_HALF_LIVES = 28
"""The spread remembers so many times longer than the mean: a week for a mean of six hours."""
_LEAST_RATE = 1e-6
"""A spread remembers a million samples at most: float32 cannot tell a smaller share from none."""
_MOST = 1e18
"""Samples further out are taken as if they were here: their squares are numbers in float32."""
_MOST_SQUARE = np.float32(1e30)
_FOUR, _QUARTER, _ONE = np.float32(4.0), np.float32(0.25), np.float32(1.0)
_BLOCK_SAMPLES = 1 << 16


class ZscoreBank:
    """Exponentially weighted mean and variance of S series."""

    family = "zscore"
    streams = (Stream("deviation", Horizon.SHORT, signed=True),)

    def __init__(self, moments: MovingMoments) -> None:
        """Takes the state over as it is."""
        self._moments = moments

    @property
    def series(self) -> int:
        """S."""
        return self._moments.series

    @property
    def warmup(self) -> int:
        """Three half-lives hold seven eighths of what the mean is made of."""
        wanted = round(3 * math.log(2) / self._moments.rates.mean)
        return max(FIRST_SAMPLES, min(3000, wanted))

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Scores one tick against what was known before it, then learns from it."""
        del time  # the same at any hour
        prediction = self._scored(values[None])
        return Prediction(
            prediction.expected[0], prediction.residual[0], prediction.evidence[:, 0]
        )

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        expected, residual = np.empty_like(values), np.empty_like(values)
        evidence = np.empty((1, *values.shape))
        ticks = max(1, _BLOCK_SAMPLES // max(self.series, 1))
        for first in range(0, grid.count, ticks):
            part = slice(first, first + ticks)
            block = np.ascontiguousarray(values[:, part].T)
            prediction = self._scored(block)
            expected[:, part] = prediction.expected.T
            residual[:, part] = prediction.residual.T
            evidence[0, :, part] = prediction.evidence[0].T
        return Prediction(expected=expected, residual=residual, evidence=evidence)

    def _scored(self, values: FloatArray) -> Prediction:
        samples = np.minimum(np.maximum(values, -_MOST), _MOST)
        return _judge(samples, self._moments.learn(samples))

    def grow(self, count: int) -> None:
        """Adds `count` series that have seen nothing."""
        self._moments.grow(count)

    def header(self) -> dict[str, Any]:
        """Returns the learning rates."""
        return {"alpha": self._moments.rates.mean, "beta": self._moments.rates.variance}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns mean, variance and count: here the state is what was learned."""
        return self._moments.tensors()


def _judge(values: FloatArray, before: Moments) -> Prediction:
    """Returns what was expected of samples, all arrays [T, S], and how odd they are.

    After n samples t² = e² / variance · (n - 1) / (n + 1), which makes room for the errors of
    mean and spread, has f = (n - 1) / 4 degrees of freedom, and Wallace's normal deviation is
    sqrt(f log(1 + t² / f)) (8 f + 1) / (8 f + 3). With a = 1 / (n + 1) the term within the log is
    4 a e² / variance, and f times the square of the last factor is 1 / 4a - 1 + a within 2 %.
    """
    residual = values - before.mean
    with np.errstate(over="ignore"):
        rare = before.square / before.variance
    np.minimum(rare, _MOST_SQUARE, out=rare)
    rare *= before.average
    rare *= _FOUR
    np.log1p(rare, out=rare)
    weight = _QUARTER / before.average
    weight += before.average
    weight -= _ONE
    rare *= weight
    evidence = np.sqrt(rare, out=rare).astype(np.float64)
    np.copysign(evidence, residual, out=evidence)
    return Prediction(before.mean, residual, evidence[None])


def fresh(series: int, *, step: int, parameters: ApiModel | None = None) -> OnlineBank:
    """Returns a bank of `series` series that have seen nothing, for ticks `step` seconds apart."""
    half_life = max(own_parameters(ZscoreParameters, parameters).half_life.seconds, step)
    rates = Rates(
        mean=max(1.0 - 0.5 ** (step / half_life), _LEAST_RATE),
        variance=max(1.0 - 0.5 ** (step / (_SPREAD_HALF_LIVES * half_life)), _LEAST_RATE),
    )
    return ZscoreBank(MovingMoments.unseen(series, rates))


def fit(
    values: FloatArray,
    grid: Grid,
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    labels: NDArray[np.bool_] | None = None,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> OnlineBank:
    """Returns a bank that has stepped through the history once."""
    del scaling, seed, labels, progress, should_stop  # one quick pass, and nothing random in it
    check_history(values, grid)
    bank = fresh(len(values), step=grid.step, parameters=parameters)
    bank.backtest(grid, values)
    return bank


def restore(header: Header, tensors: Tensors) -> OnlineBank:
    """Returns the bank that `header` and `tensors` describe.

    Raises:
        ValueError: they do not fit together.
    """
    for name in ("alpha", "beta"):
        rate = header.get(name)
        if not isinstance(rate, float) or not _LEAST_RATE <= rate <= 1:
            raise ValueError(f"{name} is {rate!r}, expected {_LEAST_RATE} to 1")
    shape = tensors["mean"].shape if "mean" in tensors else ()
    mean = take_tensor(tensors, "mean", shape, np.float64)
    variance, count = (
        take_tensor(tensors, name, shape, np.float32) for name in ("variance", "count")
    )
    if mean.ndim != 1 or (variance < 0).any() or (count < 0).any():
        raise ValueError("mean, variance and count do not describe a moving mean")
    rates = Rates(mean=header["alpha"], variance=header["beta"])
    return ZscoreBank(MovingMoments(mean, variance, count, rates))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns how many samples the first average takes."""
    own_parameters(ZscoreParameters, parameters)
    return FIRST_SAMPLES


def search(suggest: Suggest) -> ZscoreParameters:
    """Returns a half-life to try, ten minutes to two days."""
    minutes = suggest.suggest_int("halfLifeMinutes", 10, 2880, log=True)
    return ZscoreParameters(half_life=f"{minutes}m")


ZSCORE = Family(
    name="zscore",
    parameters=ZscoreParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    fresh=fresh,
    search=search,
)
