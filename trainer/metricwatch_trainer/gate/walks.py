"""One version on the tail of some series, walked as a detector would. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms import FitStopped
from metricwatch.algorithms.base import residual_row
from metricwatch.anomalies import Action, Lifecycle, Policy
from metricwatch.artifact import ModelChunk
from metricwatch.scorer import Scorer
from metricwatch.series import Labels, Panel
from metricwatch.walking import Columns, Flags, Stride, strides, warm_up

ShouldStop = Callable[[], bool]
Counts = NDArray[np.int64]
_MISSING = "missing"


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """What a version says about the tail, after policy.

    Attributes:
        judged: what has a score each, series or systems; G of them.
        samples: int64[G], scored.
        episodes: int64[G], anomalies that opened; missing data is none.
        alarm: bool[G, T], samples that were part of an anomaly.
        forecast: the series whose next sample is forecast; R of them.
        residual: float32[R, T], NaN where there is none.
    """

    judged: tuple[Labels, ...]
    samples: Counts
    episodes: Counts
    alarm: Flags
    forecast: tuple[Labels, ...]
    residual: NDArray[np.float32]

    def rows(self) -> dict[Labels, int]:
        """Returns where each of `judged` is."""
        return {labels: row for row, labels in enumerate(self.judged)}


def known_series(chunks: Iterable[ModelChunk]) -> set[Labels]:
    """Returns the series that chunks know."""
    return {labels for chunk in chunks for labels in chunk.labels}


def warm_ticks(chunks: Iterable[ModelChunk]) -> int:
    """Returns how much history brings the chunks up to date."""
    return max((chunk.bank.warmup for chunk in chunks), default=0)


def walk_tail(
    chunks: Sequence[ModelChunk],
    panel: Panel,
    head: int,
    policy: Policy,
    *,
    should_stop: ShouldStop,
) -> Walked:
    """Walks the tail of the series that a version knows; its chunks have learned from it then.

    Args:
        chunks: of the version, with fresh state.
        panel: history and tail; series that no chunk knows are passed over.
        head: ticks before the tail.
        policy: of the watch.
        should_stop: asked now and then.

    Raises:
        FitStopped: `should_stop` returned true.
    """
    known = known_series(chunks)
    own = panel.select(np.array([labels in known for labels in panel.labels], np.bool_))
    scorer = Scorer(chunks, interval=panel.grid.step, follow_drift=False)
    columns = Columns.of(scorer, own.labels)
    warm_up(scorer, policy, own.grid.part(0, head), columns.placed(own.values[:, :head]))
    grid = own.grid.part(head, own.grid.count - head)
    taken = _Taken.of(scorer, columns, _forecast(chunks, own), grid.count)
    values = columns.placed(own.values[:, head:])
    for stride in strides(scorer, policy, Lifecycle(), grid, values):
        if should_stop():
            raise FitStopped("stopped while measuring")
        taken.put(stride)
    return taken.walked(scorer, own.labels)


def _forecast(chunks: Sequence[ModelChunk], own: Panel) -> NDArray[np.intp]:
    """Returns the columns whose next sample is forecast: others have no error."""
    able = known_series(chunk for chunk in chunks if residual_row(chunk.bank.streams) is not None)
    return np.flatnonzero([labels in able for labels in own.labels])


@dataclass(slots=True)
class _Taken:
    """What is taken down while walking."""

    slots: NDArray[np.intp]
    columns: NDArray[np.intp]
    forecast: NDArray[np.intp]
    samples: Counts
    opened: Counts
    alarm: Flags
    residual: NDArray[np.float32]

    @classmethod
    def of(
        cls, scorer: Scorer, columns: Columns, forecast: NDArray[np.intp], ticks: int
    ) -> _Taken:
        judged = np.unique(columns.scored)
        return cls(
            slots=judged,
            columns=forecast,
            forecast=columns.slots[forecast],
            samples=np.zeros(len(judged), np.int64),
            opened=np.zeros(max(scorer.series, columns.count), np.int64),
            alarm=np.zeros((len(judged), ticks), np.bool_),
            residual=np.full((len(forecast), ticks), np.nan, np.float32),
        )

    def put(self, stride: Stride) -> None:
        said = stride.verdicts
        self.samples += np.count_nonzero(~np.isnan(said.score[self.slots]), axis=1)
        self.residual[:, stride.span] = said.value[self.forecast] - said.expected[self.forecast]
        self.alarm[:, stride.span] = stride.alarm[self.slots]
        for change in stride.changes:
            if change.action is Action.OPENED and change.anomaly.direction != _MISSING:
                self.opened[change.series] += 1

    def walked(self, scorer: Scorer, labels: Sequence[Labels]) -> Walked:
        return Walked(
            judged=tuple(scorer.known[slot] for slot in self.slots),
            samples=self.samples,
            episodes=self.opened[self.slots],
            alarm=self.alarm,
            forecast=tuple(labels[column] for column in self.columns),
            residual=self.residual,
        )
