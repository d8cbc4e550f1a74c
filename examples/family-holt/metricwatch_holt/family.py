"""The family: its parameters, how it learns, what a search may try."""

from __future__ import annotations

import itertools
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from metricwatch.algorithms import Family, FitStopped, Progress
from metricwatch.algorithms.base import (
    Report,
    ShouldStop,
    Suggest,
    check_history,
    own_parameters,
)
from metricwatch.algorithms.robust import median, typical_deviation, value_step
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid
from metricwatch_holt.bank import NAME, Floats, HoltBank, restore

_LEVEL_RATES = (0.05, 0.1, 0.2, 0.4, 0.7)
_TREND_RATES = (0.0, 0.02, 0.1, 0.3)
_LEAST_SAMPLES = 16

Rate = Annotated[float, Field(gt=0, le=1)]


class HoltParameters(ApiModel):
    """What stands under `algorithm.external`; names are camelCase there."""

    level_rate: Rate | None = Field(
        default=None,
        description="levelRate is the share of a surprise that enters the level. Unset: whichever "
        "fits the history of each series best.",
    )
    trend_rate: Rate | None = Field(
        default=None,
        description="trendRate is the share of that which enters the trend. Unset: as above.",
    )
    damping: Rate = Field(
        default=0.98, description="damping is what is left of the trend after one sample."
    )


def fit(
    values: Floats,
    grid: Grid,
    parameters: ApiModel | None = None,
    *,
    scaling: Scaling = Scaling.ROBUST,
    seed: int = 0,
    labels: NDArray[np.bool_] | None = None,
    progress: Report | None = None,
    should_stop: ShouldStop | None = None,
) -> HoltBank:
    """Tries every pair of rates on the history of every series, and keeps the best of each."""
    del scaling, seed, labels  # rates have no unit, nothing is random, no label is needed
    check_history(values, grid)
    given = own_parameters(HoltParameters, parameters)
    series = len(values)
    step = value_step(values)
    best_error, best = np.full(series, np.inf), np.zeros((3, series))
    for level, trend in _candidates(given):
        if should_stop is not None and should_stop():
            raise FitStopped
        rates = np.full(series, level), np.full(series, trend)
        scale = np.maximum(typical_deviation(np.diff(values, axis=1)), step)
        bank = HoltBank(
            level_rate=rates[0], trend_rate=rates[1], scale=scale, damping=given.damping
        )
        residual = bank.backtest(grid, values).residual
        # A median: what no forecast could know must not choose the rates.
        error = np.nan_to_num(median(np.abs(residual)), nan=0.0)
        better = error < best_error
        best_error = np.where(better, error, best_error)
        learned = np.stack([*rates, np.maximum(typical_deviation(residual), step)])
        best = np.where(better, learned, best)
    if progress is not None:
        progress(Progress(family=NAME, series=series, of=series))
    return HoltBank(level_rate=best[0], trend_rate=best[1], scale=best[2], damping=given.damping)


def _candidates(given: HoltParameters) -> list[tuple[float, float]]:
    levels = _LEVEL_RATES if given.level_rate is None else (given.level_rate,)
    trends = _TREND_RATES if given.trend_rate is None else (given.trend_rate,)
    return list(itertools.product(levels, trends))


def minimum_samples(parameters: ApiModel | None = None) -> int:
    """Returns how many samples it takes to tell one rate from another."""
    own_parameters(HoltParameters, parameters)
    return _LEAST_SAMPLES


def search(suggest: Suggest) -> ApiModel:
    """Returns what `tuning` tries. The rates are found by `fit`; a search would do it again."""
    return HoltParameters(damping=suggest.suggest_float("damping", 0.8, 1.0))


HOLT = Family(
    name=NAME,
    parameters=HoltParameters,
    fit=fit,
    restore=restore,
    minimum_samples=minimum_samples,
    search=search,
)
