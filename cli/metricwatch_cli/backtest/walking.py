"""Learning and walking forward, with the code of the trainer and of the detector.

This is the only module here that calls them. What was learned is packed and unpacked in between,
as it is between a trainer Job and a detector: state that a fit leaves behind cannot leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FitStopped, Progress
from metricwatch.anomalies import Anomaly, Lifecycle, Policy, Verdicts, advance, explain
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.assignments import TrainingRequest
from metricwatch.series import Grid, Labels, Panel, fill_gaps
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording
from metricwatch_cli.backtest.settings import Settings
from metricwatch_detector.scoring import Scorer
from metricwatch_trainer.learning import Learned, Lesson, learn_group
from metricwatch_trainer.lessons import lesson_of
from metricwatch_trainer.preparation import (
    Group,
    LeftOut,
    Stretch,
    group_series,
    with_labels,
    without_stretches,
)
from metricwatch_trainer.refusal import Refusal

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Told = Callable[[float], None]
"""Called with the share of the work that is done since the last call."""
ShouldStop = Callable[[], bool]
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


@dataclass(frozen=True, slots=True)
class Found:
    """An anomaly of one column, as it stood at the end.

    Attributes:
        column: position of the column.
        anomaly: from the lifecycle.
        explanation: what the detector would have recorded with it.
    """

    column: int
    anomaly: Anomaly
    explanation: dict[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """What a detector would have said, tick by tick, about C columns.

    Attributes:
        expected, lower, upper, score, severity: float64[C, T], NaN where there is nothing to say;
            severity is for ranking.
        alarm: bool[C, T], an anomaly was open then and this sample was part of it.
        found: the anomalies in the order in which they began.
        families: which family scored each column.
    """

    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
    severity: Floats
    alarm: Flags
    found: tuple[Found, ...]
    families: tuple[str, ...]

    def part(self, first: int, count: int) -> Walk:
        """Returns what is about so many columns from a position on."""
        own = slice(first, first + count)
        found = [
            replace(one, column=one.column - first)
            for one in self.found
            if first <= one.column < first + count
        ]
        return Walk(
            expected=self.expected[own],
            lower=self.lower[own],
            upper=self.upper[own],
            score=self.score[own],
            severity=self.severity[own],
            alarm=self.alarm[own],
            found=tuple(found),
            families=self.families[own],
        )


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
        chunks, described = learn_group(
            group,
            lesson,
            watch_uid=UID,
            progress=_shares(told, len(group.panel.labels) / len(recording.labels)),
            should_stop=should_stop,
        )
        artifacts += [pack(chunk) for chunk in chunks]
        learned += described
    return Taught(tuple(artifacts), tuple(learned), left_out)


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
    by_labels = lesson.family.learns_from_labels
    groups, left_out = group_series(
        without_stretches(Panel(panel.grid, panel.labels, values), stretches),
        least_samples=training.min_samples,
        least_to_fit=lesson.family.minimum_samples(lesson.parameters),
        largest_group=min(_LARGEST_GROUP, max(1, _GROUP_VALUES // max(panel.grid.count, 1))),
        labels=known if by_labels else None,
    )
    if not by_labels:
        return groups, left_out
    usable, others = with_labels(groups)
    return usable, left_out + others


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


def policy_for(settings: Settings, interval: int) -> Policy:
    """Returns the policy of the watch for samples that far apart, in seconds."""
    return Policy.from_detection(settings.watch.detection, interval_seconds=interval)


def walk(
    artifacts: Sequence[bytes],
    recording: Recording,
    policy: Policy,
    *,
    told: Told,
    should_stop: ShouldStop,
) -> Walk:
    """Warms up with the history, then scores tick by tick, learning only from what has been.

    Series that no artifact knows are scored by the family that learns while it scores, as they
    are in a cluster.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    chunks = [_usable(unpack(one), recording.grid.step) for one in artifacts]
    scorer = Scorer(chunks, interval=recording.grid.step)
    slots = _slots(scorer.known, recording.labels)
    series = max(len(scorer.known), int(slots.max()) + 1)
    history, ahead = recording.learned_from, recording.walked
    count = min(scorer.warmup, history.grid.count)
    recent = history.window(history.grid.part(history.grid.count - count, count))
    scorer.warm(recent.grid, _by_slot(recent.values, slots, series))
    values = _by_slot(ahead.values, slots, series)
    record = _Record.of(ahead.grid, slots)
    lifecycle = Lifecycle.of(series)
    for span in scorer.spans(ahead.grid):
        if should_stop():
            raise FitStopped("stopped while walking")
        count = span.stop - span.start
        verdicts = scorer.judge_span(policy, ahead.grid.part(span.start, count), values[:, span])
        excluded, alarm = np.zeros((2, series, count), np.bool_)
        for tick, one in enumerate(verdicts):
            for change in advance(policy, lifecycle, one):
                record.anomalies[change.series, change.anomaly.started_at] = change.anomaly
            excluded[:, tick] = lifecycle.open
            alarm[:, tick] = lifecycle.open & (one.score > 1.0)
        scorer.learn_span(excluded)
        record.put(span, verdicts, alarm)
        told(count / ahead.grid.count)
    families = tuple(scorer.family_of(int(slot)) for slot in slots)
    return record.walk(policy, families)


def _usable(chunk: ModelChunk, interval: int) -> ModelChunk:
    if chunk.interval != interval:
        raise WrongInput(
            f"the model learned from samples every {chunk.interval} s, the data has one every "
            f"{interval} s: pass --interval {chunk.interval}s, or train on such data"
        )
    return chunk


def _slots(known: Sequence[Labels], labels: Sequence[Labels]) -> NDArray[np.intp]:
    """Returns int[C]: the slot of each column; unknown ones come after all that are known."""
    position = {one: slot for slot, one in enumerate(known)}
    for one in labels:
        position.setdefault(one, len(position))
    return np.array([position[one] for one in labels], np.intp)


def _by_slot(values: Floats, slots: NDArray[np.intp], series: int) -> Floats:
    """Returns float64[slots, T]: series that the data does not have are missing."""
    placed = np.full((series, values.shape[1]), np.nan)
    placed[slots] = values
    return placed


@dataclass(slots=True)
class _Record:
    """What is kept of each tick, by column."""

    slots: NDArray[np.intp]
    columns: dict[str, Floats]
    alarm: Flags
    anomalies: dict[tuple[int, int], Anomaly]

    @classmethod
    def of(cls, grid: Grid, slots: NDArray[np.intp]) -> _Record:
        shape = (len(slots), grid.count)
        names = ("expected", "lower", "upper", "score", "severity")
        return cls(
            slots=slots,
            columns={name: np.full(shape, np.nan) for name in names},
            alarm=np.zeros(shape, np.bool_),
            anomalies={},
        )

    def put(self, span: slice, verdicts: Sequence[Verdicts], alarm: Flags) -> None:
        for name, column in self.columns.items():
            said = np.stack([getattr(one, name) for one in verdicts], axis=1)
            column[:, span] = said[self.slots]
        self.alarm[:, span] = alarm[self.slots]

    def walk(self, policy: Policy, families: tuple[str, ...]) -> Walk:
        column_of = {int(slot): column for column, slot in enumerate(self.slots)}
        found = [
            Found(
                column=column_of[slot],
                anomaly=anomaly,
                explanation=explain(anomaly, policy, family=families[column_of[slot]]),
            )
            for (slot, _), anomaly in self.anomalies.items()
        ]
        found.sort(key=lambda one: (one.anomaly.started_at, one.column))
        return Walk(**self.columns, alarm=self.alarm, found=tuple(found), families=families)
