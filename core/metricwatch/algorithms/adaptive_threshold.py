"""Adaptive threshold: how far out a sample lies in the level's own distribution.

For what nothing forecasts: counters of events, error rates, sizes of queues. There is a trailing
level, and around it three quantiles, the median and one in either tail, learned from the history
and then followed online by stochastic approximation (Robbins & Monro 1951; Tierney 1983). The
evidence is the distance from the median in units of the tail's own width, so that a metric with a
long tail upwards gets a band that reaches further up than down. No sample moves a quantile by more
than any other, however large it is; a level that stays is accepted within a day.

Level and quantiles stand still throughout a block of half an hour, in which samples are counted
only. So whole blocks are judged at once, and give what single steps give to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    Family,
    FitStopped,
    FloatArray,
    Header,
    Horizon,
    Prediction,
    Progress,
    Report,
    ShouldStop,
    Stream,
    Suggest,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.level import TrailingLevel
from metricwatch.algorithms.moving_quantiles import MovingQuantiles, Quantiles
from metricwatch.algorithms.robust import quantiles, value_step
from metricwatch.algorithms.scaling import centre_and_scale
from metricwatch.resources.algorithm import AdaptiveThresholdParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_MOST_SCALES = 1e6
"""Samples further out are taken as if they were here: float32 still tells their order."""
_LEAST_MEMORY = 500
"""Samples that the quantiles remember at least: fewer show too little of a tail."""
_LEAST_WIDTH = 1e-6
_FIT_ROWS = 256

FloatArray32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Settings:
    """What all series of a bank have in common.

    Attributes:
        step: seconds between samples.
        tail: share of samples in either tail.
        memory: seconds that the quantiles remember.
    """

    step: int
    tail: float
    memory: float


class AdaptiveThresholdBank:
    """Level, median and tails of S series."""

    family = "adaptiveThreshold"
    streams = (Stream("tail", Horizon.SHORT, signed=True),)

    def __init__(
        self,
        *,
        settings: Settings,
        centre: FloatArray,
        scale: FloatArray,
        level: FloatArray32,
        least: FloatArray32,
        initial: Quantiles,
    ) -> None:
        """Takes parameters over; the state starts where the history ended.

        Args:
            settings: what all series have in common.
            centre: float64[S], subtracted from every sample.
            scale: float64[S], above 0, what samples are divided by.
            level: float32[S], in scales from the centre, at the end of the history.
            least: float32[S], above 0, the least width of a tail, in scales.
            initial: quantiles around the level, in scales.
        """
        self._settings = settings
        self._centre = centre
        self._scale = scale
        self._initial_level = level
        self._least = least
        self._initial = initial
        self._level = TrailingLevel(level, settings.step)
        memory = max(settings.memory / settings.step, _LEAST_MEMORY)
        self._moving = MovingQuantiles(initial, least, tail=settings.tail, memory=memory)
        self._block: int | None = None
        # So many widths of a tail are one standard deviation of a normal distribution.
        self._unit = np.float32(NormalDist().inv_cdf(1.0 - settings.tail))
        self._read()

    @property
    def series(self) -> int:
        """S."""
        return len(self._centre)

    @property
    def warmup(self) -> int:
        """What the level looks back on."""
        return self._level.warmup

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        scaled = _scaled(values, self._centre, self._scale)
        self._enter(time // self._level.block)
        level = self._level.step(time, scaled)
        around = scaled - level
        self._moving.take(around)
        evidence = _in_tails(around, self._moving.now.middle, self._down, self._up)
        middle = (level + self._moving.now.middle).astype(np.float64)
        expected = self._centre + self._scale * middle
        return Prediction(expected, values - expected, evidence[None].astype(np.float64))

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives, a block of the level at a time."""
        expected = np.empty_like(values)
        evidence = np.empty((1, *values.shape))
        if grid.count == 0:
            return Prediction(expected, expected.copy(), evidence)
        scaled = _scaled(values, self._centre[:, None], self._scale[:, None])
        level = self._level.follow(grid, scaled)
        around = scaled - level
        block = grid.timestamps() // self._level.block
        starts = np.flatnonzero(np.diff(block, prepend=block[0] - 1))
        for first, end in zip(starts, [*starts[1:], grid.count], strict=True):
            self._enter(int(block[first]))
            part = around[:, first:end]
            self._moving.take(part)
            middle, down, up = self._moving.now.middle[:, None], self._down, self._up
            evidence[0, :, first:end] = _in_tails(part, middle, down[:, None], up[:, None])
            expected[:, first:end] = level[:, first:end] + middle
        expected = self._centre[:, None] + self._scale[:, None] * expected
        return Prediction(expected, values - expected, evidence)

    def header(self) -> dict[str, Any]:
        """Returns the settings."""
        return asdict(self._settings)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns centre, scale, and level and quantiles at the end of the history."""
        return {
            "centre": self._centre,
            "scale": self._scale,
            "level": self._initial_level,
            "least": self._least,
            "low": self._initial.low,
            "middle": self._initial.middle,
            "high": self._initial.high,
        }

    def _enter(self, block: int) -> None:
        """Moves the quantiles when `block` is a later one."""
        if block == self._block:
            return
        if self._block is not None:
            self._moving.move()
            self._read()
        self._block = block

    def _read(self) -> None:
        lower, upper = self._moving.widths()
        self._down, self._up = self._unit / lower, self._unit / upper


def _scaled(values: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray32:
    with np.errstate(over="ignore"):
        scaled = (values - centre) / scale
    np.minimum(scaled, _MOST_SCALES, out=scaled)
    return np.maximum(scaled, -_MOST_SCALES, out=scaled).astype(np.float32)


def _in_tails(
    around: FloatArray32, middle: FloatArray32, down: FloatArray32, up: FloatArray32
) -> FloatArray32:
    """Returns distances from the middle, each in units of its own tail."""
    away = around - middle
    unit = np.where(away < 0, down, up)
    unit *= away
    return unit


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
) -> AdaptiveThresholdBank:
    """Returns the quantiles of the history around its own trailing level."""
    del labels, scaling, seed  # quantiles are the same in any scale, and nothing is random
    check_history(values, grid)
    own = own_parameters(AdaptiveThresholdParameters, parameters)
    parts = []
    for first in range(0, max(len(values), 1), _FIT_ROWS):
        if should_stop is not None and should_stop():
            raise FitStopped
        parts.append(_fit_rows(values[first : first + _FIT_ROWS], grid, own.tail))
        if progress is not None:
            done = min(first + _FIT_ROWS, len(values))
            progress(Progress(family="adaptiveThreshold", series=done, of=len(values)))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    settings = Settings(step=grid.step, tail=own.tail, memory=own.memory.seconds)
    return _bank_of(settings, joined)


def _fit_rows(values: FloatArray, grid: Grid, tail: float) -> dict[str, NDArray[Any]]:
    """Returns the tensors of a block of series."""
    centre, scale = centre_and_scale(values, Scaling.ROBUST)
    scaled = _scaled(values, centre[:, None], scale[:, None])
    trailing = TrailingLevel(np.zeros(len(values)), grid.step)
    around = scaled.astype(np.float64)
    if grid.count:
        around -= trailing.follow(grid, scaled)
    found = quantiles(around, tail, 0.5, 1.0 - tail)
    low, middle, high = (np.nan_to_num(each).astype(np.float32) for each in found)
    return {
        "centre": centre,
        "scale": scale,
        "level": trailing.level,
        "least": np.maximum(value_step(values) / scale, _LEAST_WIDTH).astype(np.float32),
        "low": low,
        "middle": middle,
        "high": high,
    }


def _bank_of(settings: Settings, tensors: dict[str, NDArray[Any]]) -> AdaptiveThresholdBank:
    return AdaptiveThresholdBank(
        settings=settings,
        centre=tensors["centre"],
        scale=tensors["scale"],
        level=tensors["level"],
        least=tensors["least"],
        initial=Quantiles(*(tensors[name] for name in ("low", "middle", "high"))),
    )


def restore(header: Header, tensors: Tensors) -> AdaptiveThresholdBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    step, tail, memory = (header.get(name) for name in ("step", "tail", "memory"))
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"step is {step!r}, expected whole seconds")
    if not isinstance(tail, float) or not 0 < tail < 0.5:
        raise ValueError(f"tail is {tail!r}, expected a share in (0, 0.5)")
    if not isinstance(memory, float | int) or not 0 < memory < math.inf:
        raise ValueError(f"memory is {memory!r}, expected seconds")
    series = len(tensors["centre"]) if "centre" in tensors else 0
    checked = {
        name: take_tensor(tensors, name, (series,), np.float64) for name in ("centre", "scale")
    }
    for name in ("level", "least", "low", "middle", "high"):
        checked[name] = take_tensor(tensors, name, (series,), np.float32)
    if (checked["scale"] <= 0).any() or (checked["least"] <= 0).any():
        raise ValueError("scale and least must be above zero")
    if (checked["low"] > checked["middle"]).any() or (checked["middle"] > checked["high"]).any():
        raise ValueError("low, middle and high are out of order")
    return _bank_of(Settings(step=step, tail=tail, memory=memory), checked)


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns how many samples it takes until one is expected in either tail."""
    return math.ceil(1.0 / own_parameters(AdaptiveThresholdParameters, parameters).tail)


def search(suggest: Suggest) -> AdaptiveThresholdParameters:
    """Returns a tail and a memory to try."""
    return AdaptiveThresholdParameters(
        tail=suggest.suggest_float("tail", 0.005, 0.2, log=True),
        memory=f"{suggest.suggest_int('memoryDays', 1, 28, log=True)}d",
    )


ADAPTIVE_THRESHOLD = Family(
    name="adaptiveThreshold",
    parameters=AdaptiveThresholdParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
