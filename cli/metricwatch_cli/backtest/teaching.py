"""Learning the history of recordings with the code of the trainer.

What was learned is packed, as a trainer Job packs it for the database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from metricwatch.algorithms import Progress
from metricwatch.artifact import ModelChunk, pack
from metricwatch.assignments import TrainingRequest
from metricwatch.series import Panel, fill_gaps
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import ShouldStop, Told
from metricwatch_trainer.learning import Learned, Lesson, learn_group
from metricwatch_trainer.lessons import lesson_of
from metricwatch_trainer.preparation import (
    Group,
    LeftOut,
    Stretch,
    Systems,
    group_series,
    with_labels,
    without_stretches,
)
from metricwatch_trainer.refusal import Refusal
from metricwatch_trainer.system_learning import SYSTEM, learn_systems
from metricwatch_trainer.systems import Limits, group_systems

UID = "backtest"
_GAP_SAMPLES = 5
_LARGEST_GROUP = 1000
_GROUP_VALUES = 5_000_000


@dataclass(frozen=True, slots=True)
class Taught:
    """What was learned of some series.

    Attributes:
        artifacts: chunks as bytes.
        learned: what the trainer says of each series.
        left_out: series that it could not learn, and why.
    """

    artifacts: tuple[bytes, ...]
    learned: tuple[Learned, ...]
    left_out: tuple[LeftOut, ...]


def lesson_for(settings: Settings) -> Lesson:
    """Returns how the trainer would learn.

    Raises:
        WrongInput: this release cannot.
    """
    model = settings.model
    request = TrainingRequest.model_construct(
        algorithm=model.algorithm, scope=model.scope, training=model.training, watches=()
    )
    try:
        return lesson_of(request)
    except Refusal as error:
        raise WrongInput(f"the model cannot be learned: {error}") from error


def teach(
    recording: Recording, settings: Settings, *, told: Told, should_stop: ShouldStop
) -> Taught:
    """Learns the history as a training run does.

    Raises:
        FitStopped: `should_stop` returned true.
        WrongInput: this release cannot learn what the model asks for.
    """
    lesson = lesson_for(settings)
    groups, left_out = _groups(recording, settings, lesson)
    artifacts: list[bytes] = []
    learned: list[Learned] = []
    for group in groups:
        progress = _shares(told, len(group.panel.labels) / len(recording.labels))
        chunks, described = _learned(group, lesson, progress, should_stop)
        artifacts += [pack(chunk) for chunk in chunks]
        learned += described
    return Taught(tuple(artifacts), tuple(learned), left_out)


def _learned(
    group: Group,
    lesson: Lesson,
    progress: Callable[[Progress], None],
    should_stop: ShouldStop,
) -> tuple[tuple[ModelChunk, ...], tuple[Learned, ...]]:
    if group.systems is None:
        return learn_group(
            group, lesson, watch_uid=UID, progress=progress, should_stop=should_stop
        )
    own = replace(lesson, family=SYSTEM, parameters=None, choose=False)
    chunk, described = learn_systems(
        group, group.systems, own, watch_uid=UID, progress=progress, should_stop=should_stop
    )
    return (chunk,), described


def _groups(
    recording: Recording, settings: Settings, lesson: Lesson
) -> tuple[tuple[Group, ...], tuple[LeftOut, ...]]:
    """Returns series that are learned together, and those that cannot be."""
    training, panel = settings.model.training, recording.learned_from
    known = recording.known[:, : recording.history]
    if settings.window is not None:
        count = min(panel.grid.count, max(1, settings.window // panel.grid.step))
        panel = panel.window(panel.grid.part(panel.grid.count - count, count))
        known = known[:, known.shape[1] - count :]
    values = fill_gaps(panel.values, policy=training.missing.value, longest=_GAP_SAMPLES)
    stretches = [
        Stretch(start=int(one.start.timestamp()), end=int(one.end.timestamp()))
        for one in training.exclude
    ]
    filled = without_stretches(Panel(panel.grid, panel.labels, values), stretches)
    if recording.systems:
        limits = Limits(training.min_samples, _LARGEST_GROUP, _GROUP_VALUES)
        return group_systems(filled, _systems(recording), limits)
    by_labels = lesson.family.learns_from_labels
    groups, left_out = group_series(
        filled,
        least_samples=training.min_samples,
        least_to_fit=lesson.family.minimum_samples(lesson.parameters),
        largest_group=min(_LARGEST_GROUP, max(1, _GROUP_VALUES // max(panel.grid.count, 1))),
        labels=known if by_labels else None,
    )
    if not by_labels:
        return groups, left_out
    usable, others = with_labels(groups)
    return usable, left_out + others


def _systems(recording: Recording) -> Systems:
    labels = tuple(sorted(set(recording.systems)))
    number = {one: position for position, one in enumerate(labels)}
    return Systems(np.array([number[one] for one in recording.systems], np.int64), labels)


def _shares(told: Told, whole: float) -> Callable[[Progress], None]:
    """Returns what turns a fit's progress into shares of the work; a fit may begin again."""
    done = 0.0

    def progress(now: Progress) -> None:
        nonlocal done
        epoch = (now.epoch or 0) / now.epochs if now.epochs else 0.0
        share = whole * min((now.series + epoch) / max(now.of, 1), 1.0)
        if share > done:
            told(share - done)
            done = share

    return progress
