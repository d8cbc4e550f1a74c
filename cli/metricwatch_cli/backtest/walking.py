"""Walking forward through recordings with the code of the detector.

What was learned comes packed, as a detector gets it: state that a fit leaves behind cannot leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FitStopped
from metricwatch.anomalies import Anomaly, Lifecycle, Policy, explain
from metricwatch.artifact import ModelChunk, unpack
from metricwatch.scorer import Scorer
from metricwatch.series import Grid, Labels
from metricwatch.walking import Columns, Stride, strides, warm_up
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.backtest.recordings import Recording
from metricwatch_cli.backtest.settings import Settings
from metricwatch_cli.backtest.spreading import ShouldStop, Told

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_OF_SAMPLES = ("expected", "lower", "upper")
_OF_SCORES = ("score", "severity")


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
            severity is for ranking, and the columns of a system have its score and severity.
        blame: float64[C, T], how much each column has to do with the score of its system.
        alarm: bool[C, T], an anomaly was open then and this sample was part of it.
        found: the anomalies in the order in which they began.
        families: which family scored each column.
        judged: int[C], equal for columns that have one score together.
    """

    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
    severity: Floats
    blame: Floats
    alarm: Flags
    found: tuple[Found, ...]
    families: tuple[str, ...]
    judged: NDArray[np.intp]

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
            blame=self.blame[own],
            alarm=self.alarm[own],
            found=tuple(found),
            families=self.families[own],
            judged=self.judged[own],
        )


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
    scorer = Scorer(chunks, interval=recording.grid.step, follow_drift=False)
    columns = Columns.of(scorer, recording.labels)
    history, ahead = recording.learned_from, recording.walked
    warm_up(scorer, policy, history.grid, columns.placed(history.values))
    record = _Record.of(ahead.grid, recording.labels, columns)
    values = columns.placed(ahead.values)
    for stride in strides(scorer, policy, Lifecycle(), ahead.grid, values):
        if should_stop():
            raise FitStopped("stopped while walking")
        record.put(stride)
        told(len(stride.verdicts) / ahead.grid.count)
    families = tuple(scorer.family_of(int(slot)) for slot in record.scored)
    return record.walk(policy, families)


def _usable(chunk: ModelChunk, interval: int) -> ModelChunk:
    if chunk.interval != interval:
        raise WrongInput(
            f"the model learned from samples every {chunk.interval} s, the data has one every "
            f"{interval} s: pass --interval {chunk.interval}s, or train on such data"
        )
    return chunk


@dataclass(slots=True)
class _Record:
    """What is kept of each tick, by column."""

    slots: NDArray[np.intp]
    scored: NDArray[np.intp]
    columns: dict[str, Floats]
    labels: tuple[Labels, ...]
    blame: Floats
    alarm: Flags
    anomalies: dict[tuple[int, int], Anomaly]

    @classmethod
    def of(cls, grid: Grid, labels: tuple[Labels, ...], own: Columns) -> _Record:
        shape = (len(labels), grid.count)
        return cls(
            slots=own.slots,
            scored=own.scored,
            labels=labels,
            columns={name: np.full(shape, np.nan) for name in (*_OF_SAMPLES, *_OF_SCORES)},
            blame=np.full(shape, np.nan),
            alarm=np.zeros(shape, np.bool_),
            anomalies={},
        )

    def put(self, stride: Stride) -> None:
        span, verdicts = stride.span, stride.verdicts
        for change in stride.changes:
            self.anomalies[change.series, change.anomaly.started_at] = change.anomaly
        for name, column in self.columns.items():
            said = getattr(verdicts, name)
            column[:, span] = said[self.slots if name in _OF_SAMPLES else self.scored]
        self.alarm[:, span] = stride.alarm[self.scored]
        if (blame := verdicts.blame) is not None:
            row = {one: position for position, one in enumerate(blame.labels)}
            own = [column for column, one in enumerate(self.labels) if one in row]
            self.blame[own, span] = blame.weight[[row[self.labels[column]] for column in own]]

    def walk(self, policy: Policy, families: tuple[str, ...]) -> Walk:
        column_of = {slot: column for column, slot in enumerate(self.scored.tolist())}
        names = {one: column for column, one in enumerate(self.labels)}
        found = []
        for (slot, _), anomaly in self.anomalies.items():
            # The anomaly of a system is told of the column that is most to blame.
            blamed = [names[one.labels] for one in anomaly.components if one.labels in names]
            column = blamed[0] if blamed else column_of[slot]
            why = explain(anomaly, policy, family=families[column])
            found.append(Found(column=column, anomaly=anomaly, explanation=why))
        found.sort(key=lambda one: (one.anomaly.started_at, one.column))
        return Walk(
            **self.columns,
            blame=self.blame,
            alarm=self.alarm,
            found=tuple(found),
            families=families,
            judged=self.scored,
        )
