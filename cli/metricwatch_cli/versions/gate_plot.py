"""A picture of what the gate measured: both versions side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metricwatch.gate import GateMeasurement, Measured
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.versions.gate_table import Shares, error_ratio, recalls, sides

_MINE, _THEIRS, _PROMISE = "#2563a8", "#9aa3ad", "#d1242f"
_MOST_WATCHES = 20


def write_gate_plot(path: Path, gate: GateMeasurement, *, title: str, why: str) -> None:
    """Draws what was found, the share of anomalous samples and the anomalies, as PNG.

    Raises:
        WrongFile: the file cannot be written.
    """
    # Not at the top: matplotlib takes a second to load.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    watches = gate.watches[:_MOST_WATCHES]
    figure = Figure(figsize=(13.0, 3.6 + 0.28 * len(watches)), dpi=110)
    FigureCanvasAgg(figure)
    found, rates, episodes = figure.subplots(1, 3, width_ratios=[1.6, 1.0, 1.0])
    measured = gate.total()
    _draw_bars(found, recalls(measured), percent=True)
    found.set_title("share found of what was put in")
    _draw_bars(rates, [_rate(one.name or one.uid, one) for one in watches], percent=True)
    rates.set_title("share of samples in an anomaly")
    _draw_bars(episodes, [_episodes(one.name or one.uid, one) for one in watches], percent=False)
    for place, one in enumerate(watches):
        promised = sides(one)[0].promised
        episodes.plot([promised] * 2, [place - 0.42, place + 0.42], color=_PROMISE, lw=1.5)
    episodes.set_title("anomalies (red: promised)")
    ratio = error_ratio(measured)
    error = "" if ratio is None else f"; forecast error {ratio:.2f} times that of the other"
    serving = "nothing" if gate.serving is None else f"version {gate.serving}"
    head = textwrap.fill(f"{title} {f'({why})' if why else ''}", 140)
    figure.suptitle(f"{head}\ncompared with {serving}{error}", x=0.01, ha="left", fontsize=10)
    _legend(figure, gate)
    figure.tight_layout(rect=(0.0, 0.05, 1.0, 0.97))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")
    except OSError as error_:
        raise WrongFile(path, f"cannot be written: {error_.strerror or error_}") from error_


def _draw_bars(axis: Any, rows: Sequence[Shares], *, percent: bool) -> None:
    factor = 100.0 if percent else 1.0
    for offset, color, values in (
        (-0.2, _MINE, [row.candidate for row in rows]),
        (0.2, _THEIRS, [row.serving for row in rows]),
    ):
        known = [(at + offset, value) for at, value in enumerate(values) if value is not None]
        axis.barh([at for at, _ in known], [v * factor for _, v in known], 0.38, color=color)
        for at, value in known:
            axis.annotate(f" {value * factor:.3g}", (value * factor, at), va="center", fontsize=7)
    axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=8)
    axis.set_xlabel("%" if percent else "", fontsize=8)
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.invert_yaxis()
    axis.grid(alpha=0.25, axis="x")


def _rate(name: str, measured: Measured) -> Shares:
    mine, theirs = sides(measured)
    return Shares(name, mine.anomaly_rate, theirs.anomaly_rate if theirs else None)


def _episodes(name: str, measured: Measured) -> Shares:
    mine, theirs = sides(measured)
    return Shares(name, float(mine.episodes), float(theirs.episodes) if theirs else None)


def _legend(figure: Any, gate: GateMeasurement) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=_MINE, label="this version")]
    if gate.serving is not None:
        handles.append(Patch(color=_THEIRS, label=f"version {gate.serving}"))
    figure.legend(
        handles=handles, loc="lower right", ncols=len(handles), fontsize=8, frameon=False
    )
