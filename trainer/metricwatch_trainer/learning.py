"""One group of series: fit, calibrate on the tail that was held back, pack.

The calibration sees residuals of samples that the bank was not fitted on. A family whose fit is
cheap is then fitted again on everything, tail included; the calibration stays, a little cautious.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from metricwatch.algorithms import Bank, Family, OnlineBank, Progress
from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import value_step
from metricwatch.artifact import ModelChunk, pack, sha256
from metricwatch.calibration import Calibration
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.series import Labels
from metricwatch.store.rows import Artifact
from metricwatch_trainer.preparation import Group


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a group is to be learned from.

    Attributes:
        family: the family.
        parameters: its block of the model, None for defaults.
        scaling: how samples are made comparable.
        seed: of everything random.
    """

    family: Family
    parameters: ApiModel | None
    scaling: Scaling
    seed: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What the report says of one series.

    Attributes:
        samples: that were known.
        rmse: root mean square of the residuals on the tail, None when it has none.
        persistence_rmse: the same of taking the last sample for the next one.
        normal_within: half the width of the band that one sample in 10,000 leaves.
    """

    labels: Labels
    family: str
    samples: int
    rmse: float | None
    persistence_rmse: float | None
    normal_within: float | None


def learn_group(
    group: Group,
    lesson: Lesson,
    *,
    watch_uid: str,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[ModelChunk, tuple[Learned, ...]]:
    """Returns the chunk and what the report says of its series.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    panel, head = group.panel, group.head
    grid = panel.grid

    def fit(first: int, count: int) -> Bank:
        return lesson.family.fit(
            panel.values[:, first : first + count],
            grid.part(first, count),
            lesson.parameters,
            scaling=lesson.scaling,
            seed=lesson.seed,
            progress=progress,
            should_stop=should_stop,
        )

    bank = fit(0, head)
    residual = _tail_residual(bank, group)
    calibration = Calibration.fit(
        residual, grid.part(head, grid.count - head), floor=value_step(panel.values)
    )
    if lesson.family.cheap:
        bank = fit(0, grid.count)
    chunk = ModelChunk(
        watch_uid=watch_uid,
        interval=grid.step,
        labels=panel.labels,
        bank=bank,
        calibration=calibration,
    )
    return chunk, _describe(group, lesson.family.name, residual, calibration)


def as_artifact(chunk: ModelChunk, *, shard: int, number: int) -> Artifact:
    """Returns the row that holds a chunk."""
    content = pack(chunk)
    return Artifact(
        shard=shard,
        chunk=number,
        family=chunk.family,
        watch_uid=chunk.watch_uid,
        series=chunk.series,
        sha256=bytes.fromhex(sha256(content)),
        content=content,
    )


def _tail_residual(bank: Bank, group: Group) -> FloatArray:
    """Returns float64[S, tail]: residuals as they would have been live."""
    panel, head = group.panel, group.head
    grid = panel.grid
    if not isinstance(bank, OnlineBank):
        run_up = min(bank.warmup, head)
        first = head - run_up
        bank.backtest(grid.part(first, run_up), panel.values[:, first:head])
    return bank.backtest(grid.part(head, grid.count - head), panel.values[:, head:]).residual


def _describe(
    group: Group, family: str, residual: FloatArray, calibration: Calibration
) -> tuple[Learned, ...]:
    values = group.panel.values
    samples = np.count_nonzero(~np.isnan(values), axis=1)
    rmse = _rms(residual)
    persistence = _rms(np.diff(values[:, group.head - 1 :], axis=1))
    within = calibration.reach(4.0)
    return tuple(
        Learned(
            labels=labels,
            family=family,
            samples=int(samples[row]),
            rmse=_plain(rmse[row]),
            persistence_rmse=_plain(persistence[row]),
            normal_within=_plain(within[row]),
        )
        for row, labels in enumerate(group.panel.labels)
    )


def _rms(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    count = np.count_nonzero(known, axis=1)
    squares = (np.where(known, values, 0.0) ** 2).sum(axis=1)
    return np.where(count > 0, np.sqrt(squares / np.maximum(count, 1)), np.nan)


def _plain(value: np.float64) -> float | None:
    """JSON has no NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
