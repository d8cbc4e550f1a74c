"""A picture of one recording: value, band, score, anomalies and labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from metricwatch_cli.backtest.judging import EVENT_GAP, find_runs
from metricwatch_cli.backtest.recordings import Flags, Recording
from metricwatch_cli.backtest.thinning import thin
from metricwatch_cli.backtest.walking import Walk

_MOST_COLUMNS = 6
_MOST_POINTS = 6000
_INCHES = (15.0, 2.6)
_DPI = 110
_VALUE, _PAST, _BAND, _ALARM, _TRUTH = "#2563a8", "#9aa3ad", "#9cc3ea", "#d1242f", "#e3a008"


def write_plot(path: Path, recording: Recording, walk: Walk) -> None:
    """Draws up to six columns, those with most anomalies, and the score of each, as PNG."""
    # Not at the top: matplotlib takes a second to load, and not every run draws.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = busiest_columns(walk, most=_MOST_COLUMNS)
    figure = Figure(figsize=(_INCHES[0], 0.9 + _INCHES[1] * len(shown)), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        2 * len(shown), 1, sharex=True, squeeze=False, height_ratios=[3.0, 1.0] * len(shown)
    )[:, 0]
    for place, column in enumerate(shown):
        _draw_value(axes[2 * place], recording, walk, column)
        _draw_score(axes[2 * place + 1], recording, walk, column)
    count = len(walk.found)
    figure.suptitle(
        f"{recording.title}: {count} {'anomaly' if count == 1 else 'anomalies'} (times in UTC)",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    _legend(figure, axes[0])
    for axis in axes:
        axis.margins(x=0.005)
    figure.align_ylabels()
    figure.tight_layout(h_pad=0.3, rect=(0.0, 0.0, 1.0, 1.0 - 0.2 / (0.9 + len(shown))))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def busiest_columns(walk: Walk, *, most: int) -> list[int]:
    """Returns the columns with most anomalies, as many as asked for, in their own order."""
    columns = len(walk.score)
    count = np.bincount([one.column for one in walk.found], minlength=columns)
    chosen = np.argsort(-count, kind="stable")[:most]
    return sorted(int(one) for one in chosen)


def _draw_value(axis: Any, recording: Recording, walk: Walk, column: int) -> None:
    past, ahead = recording.learned_from, recording.walked
    nothing = np.zeros(past.grid.count, np.bool_)
    old = past.values[column]
    at = thin(old, np.full(len(old), np.nan), nothing, most=_MOST_POINTS // 2)
    axis.plot(_dates(past.grid.timestamps()[at]), old[at], color=_PAST, lw=0.7, label="history")
    times = ahead.grid.timestamps()
    values = ahead.values[column]
    at = thin(values, walk.score[column], walk.alarm[column], most=_MOST_POINTS)
    dates = _dates(times[at])
    axis.fill_between(
        dates,
        walk.lower[column][at],
        walk.upper[column][at],
        color=_BAND,
        alpha=0.55,
        lw=0,
        label="normal",
    )
    axis.plot(dates, values[at], color=_VALUE, lw=0.8, label="value")
    odd = np.flatnonzero(walk.score[column] > 1.0)
    axis.plot(_dates(times[odd]), values[odd], ".", color=_ALARM, ms=4, label="score above 1")
    _shade(axis, times, walk.alarm[column], color=_ALARM, label="anomaly")
    if recording.rows.truth is not None:
        _shade(axis, recording.rows.times, recording.rows.truth, color=_TRUTH, label="labelled")
    _limit(axis, [values, old])
    axis.set_ylabel(recording.columns[column])
    axis.grid(alpha=0.25)


def _draw_score(axis: Any, recording: Recording, walk: Walk, column: int) -> None:
    score = walk.score[column]
    at = thin(score, score, walk.alarm[column], most=_MOST_POINTS)
    dates = _dates(recording.walked.grid.timestamps()[at])
    axis.plot(dates, np.minimum(score[at], 4.0), color="#57606a", lw=0.7)
    axis.axhline(1.0, color=_ALARM, lw=0.8, ls="--")
    axis.set_ylim(0.0, 4.05)
    axis.set_ylabel("score")
    axis.grid(alpha=0.25)


def _shade(axis: Any, times: Any, flags: Flags, *, color: str, label: str) -> None:
    step = np.median(np.diff(times)) if len(times) > 1 else 1
    for number, (start, end) in enumerate(find_runs(flags, gap=EVENT_GAP)):
        first, last = _dates(np.array([times[start] - step / 2, times[end - 1] + step / 2]))
        axis.axvspan(first, last, color=color, alpha=0.22, lw=0, label="" if number else label)


def _limit(axis: Any, samples: Sequence[Any]) -> None:
    """The samples decide what is seen: a band of a cold start may be endless."""
    known = np.concatenate([one[np.isfinite(one)] for one in samples])
    if len(known):
        low, high = float(known.min()), float(known.max())
        margin = 0.08 * (high - low) or max(0.08 * abs(high), 1.0)
        axis.set_ylim(low - margin, high + margin)


def _legend(figure: Any, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=8, frameon=False)


def _dates(times: Any) -> list[datetime]:
    return [datetime.fromtimestamp(float(one), UTC) for one in times]
