"""Moving mean: the cheap family that needs no training and learns while it steps.

It scores series that a version does not know yet. Mean and variance are exponentially weighted
(West 1979; Finch 2009), with the plain average over the first samples so that the start is
unbiased.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    RESIDUAL,
    Family,
    FloatArray,
    Header,
    OnlineBank,
    Prediction,
    Report,
    ShouldStop,
    Tensors,
    check_history,
    own_parameters,
    step_through,
    take_tensor,
)
from metricwatch.algorithms.innovation import Winsor
from metricwatch.resources.algorithm import ZscoreParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_FIRST_SAMPLES = 3
_CLIP = 4.0
_LEAST_RELATIVE_SCALE = 1e-3
_LEAST_SCALE = 1e-9


class ZscoreBank:
    """Exponentially weighted mean and variance of S series."""

    family = "zscore"
    streams = (RESIDUAL,)

    def __init__(self, mean: FloatArray, variance: FloatArray, count: FloatArray, alpha: float):
        """Takes the state over as it is; `count` is how many samples each series has seen."""
        self._mean = mean
        self._variance = variance
        self._count = count
        self._alpha = alpha
        self._winsor = Winsor(len(mean), limit=_CLIP)

    @property
    def series(self) -> int:
        """S."""
        return len(self._mean)

    @property
    def warmup(self) -> int:
        """Three half-lives hold seven eighths of what the mean is made of."""
        return max(_FIRST_SAMPLES, min(3000, round(3 * math.log(2) / self._alpha)))

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Scores one tick against what was known before it, then learns from it."""
        del time  # the same at any hour
        young = self._count < _FIRST_SAMPLES
        expected = np.where(young, np.nan, self._mean)
        known = ~np.isnan(values)
        innovation = values - self._mean
        scale = np.sqrt(self._variance)
        floor = _LEAST_RELATIVE_SCALE * np.abs(self._mean) + _LEAST_SCALE
        clipped = self._winsor.clip(innovation, np.maximum(scale, floor))
        pull = np.where(young & known, innovation, clipped)
        rate = np.maximum(self._alpha, 1.0 / (self._count + 1.0)) * known
        self._mean = self._mean + rate * pull
        self._variance = (1.0 - rate) * (self._variance + rate * pull * pull)
        self._count = self._count + known
        return Prediction.forecast(expected, values - expected)

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives."""
        return step_through(self, grid, values)

    def grow(self, count: int) -> None:
        """Adds `count` series that have seen nothing."""
        nothing = np.zeros(count)
        self._mean = np.concatenate([self._mean, nothing])
        self._variance = np.concatenate([self._variance, nothing])
        self._count = np.concatenate([self._count, nothing])
        self._winsor.grow(count)

    def header(self) -> dict[str, Any]:
        """Returns the learning rate."""
        return {"alpha": self._alpha}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns mean, variance and count: here the state is what was learned."""
        return {"mean": self._mean, "variance": self._variance, "count": self._count}


def fresh(series: int, *, step: int, parameters: ApiModel | None = None) -> OnlineBank:
    """Returns a bank of `series` series that have seen nothing, for ticks `step` seconds apart."""
    half_life = own_parameters(ZscoreParameters, parameters).half_life.seconds
    alpha = 1.0 - 0.5 ** (step / max(half_life, step))
    return ZscoreBank(np.zeros(series), np.zeros(series), np.zeros(series), alpha)


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
    alpha = header.get("alpha")
    if not isinstance(alpha, float) or not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha!r}, expected a number in (0, 1]")
    shape = tensors["mean"].shape if "mean" in tensors else ()
    mean, variance, count = (
        take_tensor(tensors, name, shape, np.float64) for name in ("mean", "variance", "count")
    )
    if mean.ndim != 1 or (variance < 0).any() or (count < 0).any():
        raise ValueError("mean, variance and count do not describe a moving mean")
    return ZscoreBank(mean, variance, count, alpha)


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns how many samples the first average takes."""
    own_parameters(ZscoreParameters, parameters)
    return _FIRST_SAMPLES


ZSCORE = Family(
    name="zscore",
    parameters=ZscoreParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    fresh=fresh,
)
