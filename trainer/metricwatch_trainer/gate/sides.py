"""From what versions said to the counts of the report. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metricwatch.gate import Found, Side
from metricwatch.series import Labels
from metricwatch_trainer.gate.disturbing import Event, found_by_kind, is_found
from metricwatch_trainer.gate.walks import Walked

_WEEK = 604_800.0
_MOST_LOG = math.log(10.0)
_ROUNDING = 1e-6
"""Of the largest value: an error below it is none."""
_LEAST_COMMON = 16
Floats = NDArray[np.float64]


def side_of(
    walked: Walked,
    among: set[Labels],
    *,
    interval: int,
    per_week: float,
    recorded: Sequence[Event],
    dismissed: Sequence[Event] = (),
) -> Side:
    """Returns the counts of what a version says about the tail as it was.

    Args:
        walked: what it says.
        among: the series, or systems, that count.
        interval: seconds between samples.
        per_week: false alarms that the policy allows a series.
        recorded: anomalies of the tail.
        dismissed: alarms of the tail that people called false.
    """
    rows = {labels: row for labels, row in walked.rows().items() if labels in among}
    own = np.array(sorted(rows.values()), np.intp)
    samples = int(walked.samples[own].sum())

    def found(events: Sequence[Event]) -> Found:
        known = (one for one in events if one.labels in rows)
        return sum((is_found(walked.alarm[rows[one.labels]], one) for one in known), Found())

    return Side(
        series=len(own),
        samples=samples,
        anomalous=int(walked.alarm[own].sum()),
        episodes=int(walked.episodes[own].sum()),
        promised=per_week * samples * interval / _WEEK,
        recorded=found(recorded),
        dismissed=found(dismissed),
    )


def finds_of(walked: Walked, among: set[Labels], events: Sequence[Event]) -> Side:
    """Returns what a version found of the anomalies put in."""
    return Side(injected=found_by_kind(walked, [one for one in events if one.labels in among]))


def compare_errors(
    candidate: Walked, serving: Walked, values: Floats, labels: Sequence[Labels]
) -> tuple[float, int]:
    """Returns the sum of ln(error of the candidate / of the serving version), and of how many.

    Args:
        candidate: what the new version says.
        serving: what the serving version says.
        values: float64[S, T], the tail.
        labels: one entry for each series of it.
    """
    row = {one: position for position, one in enumerate(labels)}
    other = {one: position for position, one in enumerate(serving.forecast)}
    total, count = 0.0, 0
    for position, one in enumerate(candidate.forecast):
        if one not in other:
            continue
        ours, theirs = candidate.residual[position], serving.residual[other[one]]
        both = ~(np.isnan(ours) | np.isnan(theirs))
        if np.count_nonzero(both) < _LEAST_COMMON:
            continue
        least = max(_ROUNDING * float(np.abs(values[row[one], both]).max()), 1e-12)
        ratio = math.log(max(_rms(ours[both]), least) / max(_rms(theirs[both]), least))
        total += min(max(ratio, -_MOST_LOG), _MOST_LOG)
        count += 1
    return total, count


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values.astype(np.float64)))))
