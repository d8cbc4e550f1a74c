"""The samples of one recording as the page draws them: thinned, in base64."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch_cli.backtest.judging import EVENT_GAP, find_runs
from metricwatch_cli.backtest.outcome import Outcome
from metricwatch_cli.backtest.recordings import Recording
from metricwatch_cli.backtest.thinning import thin
from metricwatch_cli.backtest.walking import Walk


def page_series(
    recording: Recording, walk: Walk, outcome: Outcome, *, most_points: int
) -> dict[str, Any]:
    """Returns JSON values; times are positions in the grid.

    Args:
        recording: what was walked through.
        walk: what came of it.
        outcome: its figures.
        most_points: about how many samples to keep of each column, a quarter of it history.
    """
    rows = recording.rows
    truth = [] if rows.truth is None else find_runs(rows.truth, gap=EVENT_GAP)
    return {
        "title": outcome.title,
        "start": recording.grid.start,
        "step": recording.grid.step,
        "ticks": recording.grid.count,
        "history": recording.history,
        "truth": [[int(rows.ticks[start]), int(rows.ticks[end - 1])] for start, end in truth],
        "columns": [
            _column(recording, walk, column, most_points)
            for column in range(len(recording.columns))
        ],
        "anomalies": list(outcome.anomalies),
    }


def _column(recording: Recording, walk: Walk, column: int, most: int) -> dict[str, Any]:
    history = recording.history
    old, new = recording.values[column, :history], recording.values[column, history:]
    nothing = np.full(history, np.nan)
    before = thin(old, nothing, np.zeros(history, np.bool_), most=most // 4)
    alarm = walk.alarm[column]
    at = thin(new, walk.score[column], alarm, most=most)
    return {
        "name": recording.columns[column],
        "family": walk.families[column],
        "past": {"at": _packed(before, "<u4"), "value": _packed(old[before], "<f4")},
        "at": _packed(at + history, "<u4"),
        "value": _packed(new[at], "<f4"),
        **{
            name: _packed(getattr(walk, name)[column][at], "<f4")
            for name in ("expected", "lower", "upper", "score")
        },
        "alarms": [[start + history, end - 1 + history] for start, end in find_runs(alarm, gap=0)],
    }


def _packed(numbers: NDArray[Any], kind: str) -> str:
    """Returns little-endian numbers in base64; what float32 cannot hold becomes infinite."""
    with np.errstate(over="ignore"):
        return base64.b64encode(numbers.astype(kind).tobytes()).decode()
