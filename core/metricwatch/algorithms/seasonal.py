"""Daily and weekly profile over a slow level.

expected(t) = level + profile_day(t) + profile_week(t). A profile is the median over its periods,
so an incident in one of them leaves no trace, and it is shrunk by how well its periods agree with
each other (James & Stein 1961; analysis of variance): a series without a daily rhythm gets a flat
daily profile instead of learned noise. The level is the median of the last day's half-hour means
of what the profiles do not explain: a drifted level is followed within a day, an incident of some
hours is not. All times are UTC.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import (
    RESIDUAL,
    Family,
    FitStopped,
    FloatArray,
    Header,
    Prediction,
    Progress,
    Report,
    ShouldStop,
    Tensors,
    check_history,
    own_parameters,
    take_tensor,
)
from metricwatch.algorithms.profile import Profile, learn_profile
from metricwatch.algorithms.robust import median
from metricwatch.resources.algorithm import SeasonalParameters
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

_DAY = 86400
_LEVEL_BLOCK = 1800
_LEAST_LEVEL_BLOCKS = 8
_MOST_WARMUP = 3000
_SHORTEST_PERIOD_NODES = 288
_LONGER_PERIOD_NODES = 168
_PERIODS_COVERED = 1.5
_ROWS_AT_ONCE = 256
_MOST_PERIODS = 4


class SeasonalBank:
    """Profiles of S series and the level that each is at."""

    family = "seasonal"
    streams = (RESIDUAL,)

    def __init__(
        self,
        *,
        step: int,
        centre: FloatArray,
        level: FloatArray,
        profiles: tuple[Profile, ...],
    ) -> None:
        """Takes parameters over; the state starts at the level where the history ended.

        Args:
            step: seconds between samples.
            centre: float64[S], taken out before anything is kept in float32.
            level: float64[S], relative to the centre, at the end of the history.
            profiles: what is added at each phase of each period.
        """
        self._step = step
        self._centre = centre
        self._initial_level = level
        self._profiles = profiles
        self._block = max(_LEVEL_BLOCK, step)
        blocks = max(_LEAST_LEVEL_BLOCKS, _DAY // self._block)
        self._level = level.copy()
        self._recent = np.repeat(level[:, None], blocks, axis=1)
        self._current: int | None = None
        self._sum = np.zeros(len(level))
        self._count = np.zeros(len(level))

    @property
    def series(self) -> int:
        """S."""
        return len(self._centre)

    @property
    def warmup(self) -> int:
        """The day that the level looks back on, or as much of it as is cheap to read."""
        return max(_LEAST_LEVEL_BLOCKS, min(_MOST_WARMUP, _DAY // self._step))

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        grid = Grid(start=time, step=self._step, count=1)
        prediction = self.backtest(grid, values[:, None])
        return Prediction.forecast(prediction.expected[:, 0], prediction.residual[:, 0])

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives, a block of the level at a time."""
        if grid.count == 0:
            return Prediction.forecast(values.copy(), values.copy())
        times = grid.timestamps()
        pattern = np.zeros_like(values)
        for profile in self._profiles:
            pattern += profile.at(times)
        unexplained = values - self._centre[:, None] - pattern
        level = np.empty_like(values)
        block = times // self._block
        starts = np.flatnonzero(np.diff(block, prepend=block[:1] - 1))
        for first, end in zip(starts, [*starts[1:], grid.count], strict=True):
            self._enter(int(block[first]))
            level[:, first:end] = self._level[:, None]
            self._take(unexplained[:, first:end])
        return Prediction.forecast(self._centre[:, None] + pattern + level, unexplained - level)

    def header(self) -> dict[str, Any]:
        """Returns the step and the periods."""
        return {"step": self._step, "periods": [profile.period for profile in self._profiles]}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns centre, level at the end of the history, and one tensor for each profile."""
        profiles = {f"profile_{index}": item.nodes for index, item in enumerate(self._profiles)}
        return {"centre": self._centre, "level": self._initial_level, **profiles}

    def _enter(self, block: int) -> None:
        """Closes the last block of the level when `block` is a later one."""
        if self._current is None:
            self._current = block
        if block == self._current:
            return
        blocks = self._recent.shape[1]
        known = self._count > 0
        mean = np.where(known, self._sum / np.maximum(self._count, 1), np.nan)
        self._recent[:, self._current % blocks] = mean
        for passed in range(max(self._current + 1, block - blocks), block):
            self._recent[:, passed % blocks] = np.nan
        level = median(self._recent)
        self._level = np.where(np.isnan(level), self._level, level)
        self._current = block
        self._sum = np.zeros(self.series)
        self._count = np.zeros(self.series)

    def _take(self, unexplained: FloatArray) -> None:
        known = ~np.isnan(unexplained)
        self._sum += np.where(known, unexplained, 0.0).sum(axis=1)
        self._count += known.sum(axis=1)


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
) -> SeasonalBank:
    """Returns profiles for the periods that the history covers, the shortest one first."""
    del scaling, seed, labels  # medians are the same in any scale, and nothing is random
    check_history(values, grid)
    own = own_parameters(SeasonalParameters, parameters)
    longest = grid.count * grid.step / _PERIODS_COVERED
    wanted = {round(period.seconds) for period in own.periods}
    periods = sorted(period for period in wanted if 2 * grid.step <= period <= longest)
    parts = []
    for first in range(0, len(values), _ROWS_AT_ONCE):
        if should_stop is not None and should_stop():
            raise FitStopped
        parts.append(_fit_rows(values[first : first + _ROWS_AT_ONCE], grid, periods))
        if progress is not None:
            done = min(first + _ROWS_AT_ONCE, len(values))
            progress(Progress(family="seasonal", series=done, of=len(values)))
    return _joined(parts, grid.step, periods)


def _fit_rows(
    values: FloatArray, grid: Grid, periods: list[int]
) -> tuple[FloatArray, FloatArray, list[Profile]]:
    """Returns centre, final level and profiles of a block of series."""
    centre = np.nan_to_num(median(values))
    left = values - centre[:, None]
    profiles = []
    for index, period in enumerate(periods):
        nodes = _SHORTEST_PERIOD_NODES if index == 0 else _LONGER_PERIOD_NODES
        profile = learn_profile(left, grid, period=period, most_nodes=nodes)
        left = left - profile.at(grid.timestamps())
        profiles.append(profile)
    day = max(_LEAST_LEVEL_BLOCKS, _DAY // grid.step)
    level = median(left[:, -day:])
    level = np.where(np.isnan(level), np.nan_to_num(median(left)), level)
    return centre, level, profiles


def _joined(
    parts: list[tuple[FloatArray, FloatArray, list[Profile]]], step: int, periods: list[int]
) -> SeasonalBank:
    """Returns one bank of the blocks of series."""
    profiles = tuple(
        Profile(period=period, nodes=np.concatenate([part[2][index].nodes for part in parts]))
        for index, period in enumerate(periods)
    )
    return SeasonalBank(
        step=step,
        centre=np.concatenate([part[0] for part in parts]),
        level=np.concatenate([part[1] for part in parts]),
        profiles=profiles,
    )


def restore(header: Header, tensors: Tensors) -> SeasonalBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    step, periods = header.get("step"), header.get("periods")
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"step is {step!r}, expected whole seconds")
    if not isinstance(periods, list) or len(periods) > _MOST_PERIODS:
        raise ValueError(f"periods is {periods!r}, expected at most {_MOST_PERIODS} of them")
    series = len(tensors["centre"]) if "centre" in tensors else 0
    profiles = []
    for index, period in enumerate(periods):
        if not isinstance(period, int) or period < 1:
            raise ValueError(f"period is {period!r}, expected whole seconds")
        name = f"profile_{index}"
        nodes = tensors[name].shape[-1] if name in tensors and tensors[name].ndim == 2 else 0
        if not 1 <= nodes <= _SHORTEST_PERIOD_NODES:
            raise ValueError(f"tensor {name} has {nodes} nodes, at most {_SHORTEST_PERIOD_NODES}")
        nodes_tensor = take_tensor(tensors, name, (series, nodes), np.float32)
        profiles.append(Profile(period=period, nodes=nodes_tensor))
    return SeasonalBank(
        step=step,
        centre=take_tensor(tensors, "centre", (series,), np.float64),
        level=take_tensor(tensors, "level", (series,), np.float64),
        profiles=tuple(profiles),
    )


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what a level takes; profiles come with longer history."""
    own_parameters(SeasonalParameters, parameters)
    return 24


SEASONAL = Family(
    name="seasonal",
    parameters=SeasonalParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
)
