"""One group of series: fit, calibrate on samples that were not fitted on, pack.

A family whose fit is cheap is fitted once for each of four folds of the history, blanked out in
turn, and what it says of the blank is what calibrates (cross-conformal prediction, Vovk 2015): all
of the history has a say in what is normal, and none of it was known. Others hold the tail back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import Bank, Family, OnlineBank, Progress, SystemBank
from metricwatch.algorithms.base import FloatArray
from metricwatch.algorithms.robust import value_step
from metricwatch.artifact import ModelChunk, pack, sha256
from metricwatch.resources.schema import ApiModel
from metricwatch.resources.training import Scaling
from metricwatch.scoring import Scoring
from metricwatch.series import Labels
from metricwatch.store.rows import Artifact
from metricwatch_trainer.preparation import Group

FOLDS = 4
_LEAST_FOLD = 24
_ENOUGH_FOR_SYSTEMS = 2000
"""Ticks from which a bank of systems calibrates on what it was fitted on: it learned quantiles and
a few directions, and every fold would begin with levels that have to settle."""
_RARITY_OF_BAND = 4.0
"""One sample in ten thousand: what the report calls normal."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a group is to be learned from.

    Attributes:
        family: the family; where `choose` is true, the one that others have to beat.
        parameters: its block of the model, None for defaults.
        scaling: how samples are made comparable.
        seed: of everything random.
        choose: each series gets the family that does best on its own history.
    """

    family: Family
    parameters: ApiModel | None
    scaling: Scaling
    seed: int
    choose: bool = False

    def cheap(self) -> bool:
        """Whether a fit is so cheap that it may be made once for each fold."""
        return self.family.cheap and not getattr(self.parameters, "has_networks", False)


@dataclass(frozen=True, slots=True)
class Learned:
    """What the report says of one series.

    Attributes:
        samples: that were known.
        rmse: root mean square of the residuals that calibrated, None when there are none.
        persistence_rmse: the same of taking the last sample for the next one.
        normal_within: half the width of the band that one sample in 10,000 leaves.
        gain: by how much the family beat the one that stands for all, None where it was not
            chosen.
    """

    labels: Labels
    family: str
    samples: int
    rmse: float | None
    persistence_rmse: float | None
    normal_within: float | None
    gain: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A bank fitted on all it may see, and the scoring of what it said of the unseen.

    Attributes:
        bank: with fresh state.
        scoring: fitted on `evidence`.
        residual: float64[S, T] of the calibrating samples, NaN elsewhere.
    """

    bank: Bank
    scoring: Scoring
    residual: FloatArray


def learn_group(
    group: Group,
    lesson: Lesson,
    *,
    watch_uid: str,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[tuple[ModelChunk, ...], tuple[Learned, ...]]:
    """Returns chunks, one for each family in use, and what the report says of the series.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    from metricwatch_trainer.choosing import choose
    from metricwatch_trainer.system_learning import learn_systems

    if group.systems is not None:
        chunk, learned = learn_systems(
            group,
            group.systems,
            lesson,
            watch_uid=watch_uid,
            progress=progress,
            should_stop=should_stop,
        )
        return (chunk,), learned
    if not lesson.choose:
        chunk, learned = _learn(group, lesson, watch_uid, progress, should_stop)
        return (chunk,), learned
    chunks: list[ModelChunk] = []
    described: list[Learned] = []
    for choice in choose(group, lesson, progress=progress, should_stop=should_stop):
        own = replace(lesson, family=choice.family, parameters=choice.parameters, choose=False)
        part = group.select(choice.rows)
        chunk, learned = _learn(part, own, watch_uid, progress, should_stop)
        chunks.append(chunk)
        described += [
            replace(one, gain=gain) for one, gain in zip(learned, choice.gains, strict=True)
        ]
    return tuple(chunks), tuple(described)


def _learn(
    group: Group,
    lesson: Lesson,
    watch_uid: str,
    progress: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> tuple[ModelChunk, tuple[Learned, ...]]:
    calibrated = calibrate(group, lesson, progress=progress, should_stop=should_stop)
    chunk = ModelChunk(
        watch_uid=watch_uid,
        interval=group.panel.grid.step,
        labels=group.panel.labels,
        bank=calibrated.bank,
        scoring=calibrated.scoring,
    )
    return chunk, describe(group, lesson.family.name, calibrated)


def calibrate(
    group: Group,
    lesson: Lesson,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Calibrated:
    """Fits a group and calibrates it on samples that the fit did not see.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    values, grid = group.panel.values, group.panel.grid

    def fit(visible: NDArray[np.bool_], count: int) -> Bank:
        return lesson.family.fit(
            np.where(visible[:count], values[:, :count], np.nan),
            grid.part(0, count),
            lesson.parameters,
            scaling=lesson.scaling,
            seed=lesson.seed,
            labels=None if group.labels is None else group.labels[:, :count],
            progress=progress,
            should_stop=should_stop,
        )

    everything = np.ones(grid.count, np.bool_)
    if lesson.cheap() and grid.count >= FOLDS * _LEAST_FOLD:
        whole = fit(everything, grid.count)
        if isinstance(whole, SystemBank) and grid.count >= _ENOUGH_FOR_SYSTEMS:
            evidence, residual = _said_of(whole, group, 0, grid.count)
        else:
            evidence, residual = _folded(group, fit, whole)
    else:
        whole = fit(everything, group.head)
        evidence, residual = _said_of(whole, group, group.head, grid.count)
        if lesson.cheap():
            whole = fit(everything, grid.count)
    # Evidence of a system is in no unit of its channels, and no step of theirs is one of it.
    step, channels = value_step(values), None
    if isinstance(whole, SystemBank):
        step, channels = np.ones(whole.systems), np.bincount(whole.members)
    scoring = Scoring.fit(whole.streams, evidence, grid, value_step=step, channels=channels)
    return Calibrated(bank=whole, scoring=scoring, residual=residual)


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


def _folded(
    group: Group, fit: Callable[[NDArray[np.bool_], int], Bank], whole: Bank
) -> tuple[FloatArray, FloatArray]:
    """Returns what banks say of the fold that each did not see: evidence [K, S, T], residual.

    Evidence of systems is [K, G, T].
    """
    ticks = group.panel.grid.count
    evidence = np.full(_shape(whole, ticks), np.nan)
    residual = np.full(group.panel.values.shape, np.nan)
    cuts = np.linspace(0, ticks, FOLDS + 1).astype(np.int64)
    for first, end in pairwise(cuts.tolist()):
        visible = np.ones(ticks, np.bool_)
        visible[first:end] = False
        said, error = _said_of(fit(visible, ticks), group, first, end)
        evidence[..., first:end] = said[..., first:end]
        residual[:, first:end] = error[:, first:end]
    return evidence, residual


def _said_of(bank: Bank, group: Group, first: int, end: int) -> tuple[FloatArray, FloatArray]:
    """Returns evidence [K, S, T] and residual [S, T] of ticks first to end, NaN elsewhere."""
    grid, values = group.panel.grid, group.panel.values
    # An online bank is up to date when it has been fitted.
    run_up = 0 if isinstance(bank, OnlineBank) else min(bank.warmup, first)
    bank.backtest(grid.part(first - run_up, run_up), values[:, first - run_up : first])
    said = bank.backtest(grid.part(first, end - first), values[:, first:end])
    evidence = np.full(_shape(bank, grid.count), np.nan)
    residual = np.full(values.shape, np.nan)
    evidence[..., first:end] = said.evidence
    residual[:, first:end] = said.residual
    return evidence, residual


def _shape(bank: Bank, ticks: int) -> tuple[int, int, int]:
    """Returns the shape of a bank's evidence: a column for each series, or for each system."""
    columns = bank.systems if isinstance(bank, SystemBank) else bank.series
    return len(bank.streams), columns, ticks


def describe(group: Group, family: str, calibrated: Calibrated) -> tuple[Learned, ...]:
    """Returns what the report says of each series of a group; of systems no series has a band."""
    values = group.panel.values
    samples = np.count_nonzero(~np.isnan(values), axis=1)
    rmse = _rms(calibrated.residual)
    persistence = _rms(np.diff(values, axis=1))
    within = np.full(len(values), np.nan)
    if not isinstance(calibrated.bank, SystemBank):
        within = calibrated.scoring.reach(_RARITY_OF_BAND)[:, -1]
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
