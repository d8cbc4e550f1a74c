"""Learning and walking forward, with the code of the trainer and of the detector.

This is the only module here that calls them. What was learned is packed and unpacked in between,
as it is between a trainer Job and a detector: state that a fit leaves behind cannot leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic.alias_generators import to_snake

from metricwatch.algorithms import FitStopped, Progress, UnknownFamilyError, family_named
from metricwatch.anomalies import Anomaly, Lifecycle, Policy, Verdicts, advance, explain
from metricwatch.artifact import ModelChunk, pack, unpack
from metricwatch.series import Grid, Labels, Panel, fill_gaps
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording
from metricwatch_cli.backtest.settings import Settings
from metricwatch_detector.scoring import Scorer
from metricwatch_trainer.learning import Learned, Lesson, learn_group
from metricwatch_trainer.preparation import LeftOut, Stretch, group_series, without_stretches

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Told = Callable[[float], None]
"""Called with the share of the work that is done since the last call."""
ShouldStop = Callable[[], bool]
UID = "backtest"
_AUTO = "seasonal"
_GAP_SAMPLES = 5
_LARGEST_GROUP = 1000
_TICKS_BETWEEN = 500


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
        expected, lower, upper, score: float64[C, T], NaN where there is nothing to say.
        alarm: bool[C, T], an anomaly was open then and its samples had not calmed down.
        found: the anomalies in the order in which they began.
        families: which family scored each column.
    """

    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
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
            alarm=self.alarm[own],
            found=tuple(found),
            families=self.families[own],
        )


def lesson_for(settings: Settings) -> Lesson:
    """Returns how the trainer would learn.

    Raises:
        WrongInput: this release cannot.
    """
    algorithm, training = settings.model.algorithm, settings.model.training
    name = _AUTO if algorithm.type == "auto" else str(algorithm.type)
    try:
        family = family_named(name)
    except UnknownFamilyError as error:
        raise WrongInput(f"algorithm.type: {error}") from error
    return Lesson(
        family=family,
        parameters=getattr(algorithm, to_snake(name), None),
        scaling=training.scaling,
        seed=training.seed,
    )


def teach(panel: Panel, settings: Settings, *, told: Told, should_stop: ShouldStop) -> Taught:
    """Learns the history as a training run does.

    Raises:
        FitStopped: `should_stop` returned true.
        WrongInput: this release cannot learn what the model asks for.
    """
    lesson, training = lesson_for(settings), settings.model.training
    if settings.window is not None:
        count = min(panel.grid.count, max(1, settings.window // panel.grid.step))
        panel = panel.window(panel.grid.part(panel.grid.count - count, count))
    values = fill_gaps(panel.values, policy=training.missing.value, longest=_GAP_SAMPLES)
    stretches = [
        Stretch(start=int(one.start.timestamp()), end=int(one.end.timestamp()))
        for one in training.exclude
    ]
    groups, left_out = group_series(
        without_stretches(Panel(panel.grid, panel.labels, values), stretches),
        least_samples=training.min_samples,
        least_to_fit=lesson.family.minimum_samples(lesson.parameters),
        largest_group=_LARGEST_GROUP,
    )
    artifacts: list[bytes] = []
    learned: list[Learned] = []
    for group in groups:
        chunk, described = learn_group(
            group,
            lesson,
            watch_uid=UID,
            progress=_shares(told, len(group.panel.labels) / len(panel.labels)),
            should_stop=should_stop,
        )
        artifacts.append(pack(chunk))
        learned += described
    return Taught(tuple(artifacts), tuple(learned), left_out)


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
    lifecycle = Lifecycle.of(series)
    columns = np.ascontiguousarray(_by_slot(ahead.values, slots, series).T)
    record = _Record.of(ahead.grid, slots)
    for position, time in enumerate(ahead.grid.timestamps().tolist()):
        if position % _TICKS_BETWEEN == 0:
            if should_stop():
                raise FitStopped("stopped while walking")
            told(min(_TICKS_BETWEEN, ahead.grid.count - position) / ahead.grid.count)
        verdicts = scorer.step(policy, time=time, values=columns[position])
        for change in advance(policy, lifecycle, verdicts):
            record.anomalies[change.series, change.anomaly.started_at] = change.anomaly
        scorer.learn(verdicts, excluded=lifecycle.open[: verdicts.series])
        record.put(position, verdicts, lifecycle)
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
        names = ("expected", "lower", "upper", "score")
        return cls(
            slots=slots,
            columns={name: np.full(shape, np.nan) for name in names},
            alarm=np.zeros(shape, np.bool_),
            anomalies={},
        )

    def put(self, position: int, verdicts: Verdicts, lifecycle: Lifecycle) -> None:
        for name, column in self.columns.items():
            column[:, position] = getattr(verdicts, name)[self.slots]
        alarm = lifecycle.open & (lifecycle.calm_since == 0)
        self.alarm[:, position] = alarm[self.slots]

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
