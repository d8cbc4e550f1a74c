"""Systems of series: fit on folds blanked out, calibrate each system as a whole, pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import Family, Progress
from metricwatch.algorithms.base import Bank, Fit, FloatArray, Report, ShouldStop
from metricwatch.algorithms.system import (
    ChannelSystemBank,
    SystemParameters,
    fit_systems,
    restore_systems,
)
from metricwatch.artifact import ModelChunk
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Grid
from metricwatch_trainer.learning import Learned, Lesson, calibrate, describe
from metricwatch_trainer.preparation import Group, Systems

_LEAST_SAMPLES = 32


def learn_systems(
    group: Group,
    systems: Systems,
    lesson: Lesson,
    *,
    watch_uid: str,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[ModelChunk, tuple[Learned, ...]]:
    """Returns the chunk of a group of systems, and what the report says of their channels.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    family = replace(lesson.family, fit=_fit_of(systems.members))
    own = replace(lesson, family=family)
    calibrated = calibrate(group, own, progress=progress, should_stop=should_stop)
    chunk = ModelChunk(
        watch_uid=watch_uid,
        interval=group.panel.grid.step,
        labels=group.panel.labels,
        bank=calibrated.bank,
        scoring=calibrated.scoring,
        systems=systems.labels,
    )
    return chunk, describe(group, family.name, calibrated)


def _fit_of(members: NDArray[np.int64] | None) -> Fit:
    """Returns the fit of series that belong to the systems `members` int64[S], None for one."""

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
    ) -> Bank:
        del labels  # systems do not learn from them
        return fit_systems(
            values,
            grid,
            np.zeros(len(values), np.int64) if members is None else members,
            parameters,
            scaling=scaling,
            seed=seed,
            progress=progress,
            should_stop=should_stop,
        )

    return fit


SYSTEM = Family(
    name=ChannelSystemBank.family,
    parameters=SystemParameters,
    fit=_fit_of(None),
    restore=restore_systems,
    minimum_samples=lambda parameters: _LEAST_SAMPLES,
)
"""Not among `FAMILIES`: a scope asks for it, because it has no score for a single series."""
