"""What came of walking through one recording, as the report says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from metricwatch_cli.backtest.judging import WEEK, Tally, tally_rows
from metricwatch_cli.backtest.recordings import Flags, Floats, Recording
from metricwatch_cli.backtest.walking import Found, Walk


@dataclass(frozen=True, slots=True)
class ColumnCount:
    """Anomalies of one column.

    Attributes:
        column: its name.
        family: what scored it.
        anomalies: how many began.
    """

    column: str
    family: str
    anomalies: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The figures of one recording; small, because it travels between processes.

    Attributes:
        dataset, name: which recording.
        interval: seconds between two ticks.
        history: ticks that were learned from.
        start, end: first and last tick walked through, unix seconds; 0 when there is none.
        samples: that were there to be scored, over all columns.
        weeks: how long the walk was, times the columns with a score of their own.
        columns: one for each.
        anomalies: as they are written to anomalies.csv and anomalies.json.
        labelled: counts against labels, None without any.
        injected: counts by kind of injected anomalies.
        notes: what a reader should know.
        seconds: time it took.
    """

    dataset: str
    name: str
    interval: int
    history: int
    start: int
    end: int
    samples: int
    weeks: float
    columns: tuple[ColumnCount, ...]
    anomalies: tuple[dict[str, Any], ...]
    labelled: Tally | None
    injected: Mapping[str, Tally] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """DATASET/NAME."""
        return f"{self.dataset}/{self.name}" if self.dataset else self.name

    @property
    def families(self) -> dict[str, int]:
        """How many columns each family scored."""
        count: dict[str, int] = {}
        for one in self.columns:
            count[one.family] = count.get(one.family, 0) + 1
        return count


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """What was said of each row of a file, [C, N].

    Attributes:
        score: above 1 is anomalous.
        severity: how odd things had been lately, for ranking.
        blame: how much the column has to do with it, larger is more; NaN for not at all.
        alarm: part of an anomaly that was open by then.
    """

    score: Floats
    severity: Floats
    blame: Floats
    alarm: Flags


def row_scores(recording: Recording, walk: Walk) -> RowScores:
    """Returns what was said of each row.

    A row that is not the last of its tick gets what was known at the tick before; a missing
    sample scores 0.
    """
    rows = recording.rows
    at = rows.ticks - recording.history - ~rows.sampled
    first = at < 0
    at = np.maximum(at, 0)

    def of(values: Floats) -> Floats:
        return np.where(first, 0.0, np.nan_to_num(values[:, at], nan=0.0))

    blame = walk.severity if np.isnan(walk.blame).all() else walk.blame
    return RowScores(
        score=of(walk.score),
        severity=of(walk.severity),
        blame=np.where(first, np.nan, blame[:, at]),
        alarm=walk.alarm[:, at] & ~first,
    )


def describe(
    recording: Recording,
    walk: Walk,
    *,
    injected: Mapping[str, Tally],
    notes: Sequence[str],
    seconds: float,
) -> Outcome:
    """Returns the figures of a walk."""
    ahead = recording.walked
    rows = recording.rows
    scores = len(np.unique(walk.judged))
    alarm = row_scores(recording, walk).alarm
    began = np.bincount([one.column for one in walk.found], minlength=len(recording.columns))
    labelled = None
    if rows.truth is not None:
        labelled = tally_rows(
            np.asarray(alarm.any(axis=0)), rows.truth, rows.times, interval=recording.grid.step
        )
    return Outcome(
        dataset=recording.dataset,
        name=recording.name,
        interval=recording.grid.step,
        history=recording.history,
        start=ahead.grid.start if ahead.grid.count else 0,
        end=ahead.grid.end if ahead.grid.count else 0,
        samples=int(np.count_nonzero(~np.isnan(ahead.values))),
        weeks=ahead.grid.count * recording.grid.step * scores / WEEK,
        columns=tuple(
            ColumnCount(column, family, int(count))
            for column, family, count in zip(recording.columns, walk.families, began, strict=True)
        ),
        anomalies=tuple(_as_row(recording, one) for one in walk.found),
        labelled=labelled,
        injected=injected,
        notes=(*recording.notes, *notes),
        seconds=seconds,
    )


def format_time(seconds: int | None) -> str | None:
    """Returns a time in RFC 3339.

    >>> format_time(1700000000)
    '2023-11-14T22:13:20Z'
    """
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_row(recording: Recording, found: Found) -> dict[str, Any]:
    anomaly, why = found.anomaly, found.explanation
    return {
        "dataset": recording.dataset,
        "series": recording.name,
        "column": recording.columns[found.column],
        "startedAt": format_time(anomaly.started_at),
        "peakAt": format_time(anomaly.peak_at),
        "lastAnomalousAt": format_time(anomaly.last_anomalous_at),
        "endedAt": format_time(anomaly.ended_at),
        "state": str(anomaly.state),
        "kind": str(anomaly.kind),
        "severity": anomaly.severity,
        "direction": anomaly.direction,
        "samples": anomaly.samples,
        **why,
    }
