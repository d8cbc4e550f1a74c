"""What repeats itself by the clock and the calendar, over a slow level.

expected(t) = level + trend(t) + profiles(t) + holidays(t) + events(t). A profile is the median
over its periods, so an incident in one of them leaves no trace, and it is shrunk by how well its
periods agree with each other (James & Stein 1961; analysis of variance): a series without a daily
rhythm gets a flat daily profile instead of learned noise. The parts are those of Prophet (Taylor &
Letham, The American Statistician 2018), learned with medians. The level is the median of the last
day's half-hour means of what the parts do not explain: a drifted level is followed within a day,
an incident of some hours is not. A second stream is the residual in spreads of its hour.
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
)
from metricwatch.algorithms.seasonal_learning import Knowledge, learn, plan_for
from metricwatch.algorithms.seasonal_level import DayLevel, blocks_of_day, follow
from metricwatch.algorithms.seasonal_storage import (
    header_of,
    knowledge_from,
    tensors_of,
    whole,
)
from metricwatch.algorithms.wall_clock import DAY, Seconds
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.seasonal import SeasonalParameters, SeasonalTrend
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid

PHASE_RESIDUAL = Stream("phase_residual", Horizon.SHORT, signed=True)
"""The residual in spreads of the hour of the day it falls in."""

_MOST_WARMUP = 3000
_MOST_ROWS_AT_ONCE = 256
_SAMPLES_AT_ONCE = 2**21
"""A fit holds about ten arrays of so many numbers at a time, 16 MB each."""
_TICKS_AHEAD = 16
"""What the clock says is worked out for so many ticks at once: looking up phases of one tick costs
as much as of sixteen, and two numbers for each tick and series are kept until it comes."""


class SeasonalBank:
    """Patterns of S series and the level that each is at."""

    family = "seasonal"
    streams = (RESIDUAL, PHASE_RESIDUAL)

    def __init__(self, known: Knowledge, *, step: int) -> None:
        """Takes what is known over; the state starts at the level where the history ended.

        Args:
            known: what the history taught.
            step: seconds between samples.
        """
        self._step = step
        self._known = known
        self._level = DayLevel(known.level, step=step)
        self._ahead = Grid(start=0, step=step, count=0)
        self._base = np.empty((0, self.series))
        self._scale = np.empty((0, self.series))
        self._held = np.empty(0, dtype=np.bool_)

    @property
    def series(self) -> int:
        """S."""
        return len(self._known.centre)

    @property
    def warmup(self) -> int:
        """The day that the level looks back on, or as much of it as is cheap to read."""
        return max(blocks_of_day(DAY), min(_MOST_WARMUP, DAY // self._step))

    def step(self, time: int, values: FloatArray) -> Prediction:
        """Advances all series by one tick."""
        row, off = divmod(time - self._ahead.start, self._step)
        if off or not 0 <= row < self._ahead.count:
            self._look_ahead(time)
            row = 0
        self._level.enter(time // self._level.block)
        base = self._base[row]
        expected = base + self._level.value
        if not self._held[row]:
            self._level.take(values - base)
        evidence = np.empty((2, len(values)))
        np.subtract(values, expected, out=evidence[0])
        np.divide(evidence[0], self._scale[row], out=evidence[1])
        return Prediction(expected=expected, residual=evidence[0], evidence=evidence)

    def backtest(self, grid: Grid, values: FloatArray) -> Prediction:
        """Returns what one step for each tick gives, a block of the level at a time."""
        times = grid.timestamps()
        base, scale, held = self._by_the_clock(times)
        unexplained = values.T - base
        unexplained[held] = np.nan
        expected = base + follow(self._level, times, unexplained)
        expected = np.ascontiguousarray(expected.T)
        evidence = np.empty((2, *values.shape))
        np.subtract(values, expected, out=evidence[0])
        np.divide(evidence[0], scale.T, out=evidence[1])
        return Prediction(expected=expected, residual=evidence[0], evidence=evidence)

    def header(self) -> dict[str, Any]:
        """Returns the step and what is known but for arrays."""
        return {"step": self._step, **header_of(self._known)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns centre, level at the end of the history, spread, and nodes of each part."""
        return tensors_of(self._known)

    def _look_ahead(self, time: int) -> None:
        self._ahead = Grid(start=time, step=self._step, count=_TICKS_AHEAD)
        self._base, self._scale, self._held = self._by_the_clock(self._ahead.timestamps())

    def _by_the_clock(self, times: Seconds) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Returns what needs no samples: expectation but for the level, spread, level held.

        float64[T, S], float64[T, S] and bool[T].
        """
        known = self._known
        base = known.pattern.at(times, self.series) + known.centre
        return base, known.ratio.at(times) * known.spread, known.pattern.extraordinary(times)


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
    """Returns what the history teaches about the clock and the calendar.

    Raises:
        FitStopped: `should_stop` returned true.
        ValueError: shapes do not fit together, or the country has no public holidays known.
    """
    del scaling, seed, labels  # medians are the same in any scale, and nothing is random
    check_history(values, grid)
    plan = plan_for(own_parameters(SeasonalParameters, parameters), grid)
    banks = []
    at_once = max(1, min(_MOST_ROWS_AT_ONCE, _SAMPLES_AT_ONCE // max(grid.count, 1)))
    for first in range(0, len(values), at_once):
        if should_stop is not None and should_stop():
            raise FitStopped
        rows = values[first : first + at_once]
        banks.append(SeasonalBank(learn(rows, grid, plan), step=grid.step))
        if progress is not None:
            done = min(first + at_once, len(values))
            progress(Progress(family="seasonal", series=done, of=len(values)))
    if len(banks) == 1:
        return banks[0]
    tensors = [bank.tensors() for bank in banks]
    return restore(
        banks[0].header(),
        {name: np.concatenate([part[name] for part in tensors]) for name in tensors[0]},
    )


def restore(header: Header, tensors: Tensors) -> SeasonalBank:
    """Returns the bank that `header` and `tensors` describe, with a fresh state.

    Raises:
        ValueError: they do not fit together.
    """
    step = whole(header.get("step"), "step", least=1, most=10**9)
    return SeasonalBank(knowledge_from(header, tensors), step=step)


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns what a level takes; profiles come with longer history."""
    own_parameters(SeasonalParameters, parameters)
    return 24


def search(suggest: Suggest) -> SeasonalParameters:
    """Returns parameters to try; zone, country and events are facts and not up for trial."""
    return SeasonalParameters(
        trend=SeasonalTrend(suggest.suggest_categorical("trend", [*SeasonalTrend])),
        monthly=suggest.suggest_categorical("monthly", [False, True]),
    )


SEASONAL = Family(
    name="seasonal",
    parameters=SeasonalParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
