"""The report of a run, as JSON values and as a table. The schema is in docs/backtest.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from metricwatch import __version__
from metricwatch.durations import format_duration
from metricwatch.words import in_one_line
from metricwatch_cli.backtest.judging import Tally
from metricwatch_cli.backtest.outcome import Outcome, format_time

FORMAT = 1


def build_report(
    outcomes: Sequence[Outcome],
    *,
    command: str,
    source: str,
    settings: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Returns the report as JSON values.

    Args:
        outcomes: one for each recording.
        command: which one made it, such as backtest.
        source: where the data came from, for people.
        settings: what was asked for.
        seconds: time of the whole run.
    """
    report: dict[str, Any] = {
        "format": FORMAT,
        "metricwatch": __version__,
        "command": command,
        "data": source,
        "settings": dict(settings),
        "seconds": round(seconds, 3),
        "total": _total(outcomes),
        "datasets": {
            name: _total([one for one in outcomes if one.dataset == name])
            for name in sorted({one.dataset for one in outcomes if one.dataset})
        },
        "series": [_series(one) for one in outcomes],
    }
    return report


def _total(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    families: dict[str, int] = {}
    for one in outcomes:
        for family, count in one.families.items():
            families[family] = families.get(family, 0) + count
    return {
        "series": len(outcomes),
        "columns": sum(len(one.columns) for one in outcomes),
        "families": families,
        **_counts(outcomes),
    }


def _counts(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    anomalies = sum(len(one.anomalies) for one in outcomes)
    weeks = sum(one.weeks for one in outcomes)
    kinds = sorted({kind for one in outcomes for kind in one.injected})
    by_kind = {
        kind: Tally.total(one.injected[kind] for one in outcomes if kind in one.injected)
        for kind in kinds
    }
    every = Tally.total(tally for one in outcomes for tally in one.injected.values())
    if every is not None:
        # Each kind was looked for over the same weeks.
        every = replace(every, weeks=sum(one.weeks for one in outcomes if one.injected))
    labelled = Tally.total(one.labelled for one in outcomes if one.labelled is not None)
    counts: dict[str, Any] = {
        "samples": sum(one.samples for one in outcomes),
        "weeks": _plain(weeks),
        "anomalies": anomalies,
        "anomaliesPerWeek": _plain(anomalies / weeks if weeks else None),
        "labelled": None if labelled is None else _tally(labelled),
    }
    if every is not None:
        counts["injected"] = {
            "all": _tally(every),
            **{kind: _tally(one) for kind, one in by_kind.items() if one is not None},
        }
    return counts


def _series(outcome: Outcome) -> dict[str, Any]:
    return {
        "dataset": outcome.dataset,
        "series": outcome.name,
        "intervalSeconds": outcome.interval,
        "historyTicks": outcome.history,
        "start": format_time(outcome.start or None),
        "end": format_time(outcome.end or None),
        "families": outcome.families,
        **_counts([outcome]),
        "columns": [
            {"column": one.column, "family": one.family, "anomalies": one.anomalies}
            for one in outcome.columns
        ],
        "notes": list(outcome.notes),
        "seconds": round(outcome.seconds, 3),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "events": tally.events,
        "detected": tally.detected,
        "episodes": _plain(tally.episodes),
        "falseEpisodes": _plain(tally.false_episodes),
        "precision": _plain(tally.precision),
        "recall": _plain(tally.recall),
        "f1": _plain(tally.f1),
        "falsePerWeek": _plain(tally.false_per_week),
        "delaySeconds": _plain(tally.delay),
    }


def _plain(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")


def format_table(report: Mapping[str, Any]) -> str:
    """Returns the report as text: a line for each series, each dataset and the total."""
    rows = [_row(_title(one), one) for one in report["series"]]
    if len(report["datasets"]) > 1:
        rows += [_row(f"all of {name}", one) for name, one in report["datasets"].items()]
    if len(report["series"]) > 1:
        rows.append(_row("total", report["total"]))
    labelled = report["total"]["labelled"] is not None
    header = ("series", "samples", "family", "anomalies", "a week")
    judged = ("events", "found", "false", "precision", "recall", "F1", "false/wk", "delay")
    parts = [_aligned([header + judged if labelled else header, *rows], left={0, 2})]
    injected = report["total"].get("injected")
    if injected:
        kinds = [_judged(tally, first=kind) for kind, tally in injected.items()]
        parts.append("injected anomalies")
        parts.append(_aligned([("kind", *judged), *kinds], left={0}))
    notes = [
        in_one_line(f"{_title(one)}: {note}") for one in report["series"] for note in one["notes"]
    ]
    return "\n".join([*parts, *notes]) + "\n"


def _title(series: Mapping[str, Any]) -> str:
    return "/".join(one for one in (series["dataset"], series["series"]) if one)


def _row(title: str, part: Mapping[str, Any]) -> tuple[str, ...]:
    families = part["families"]
    family = next(iter(families)) if len(families) == 1 else f"{len(families)} families"
    row = (
        title,
        f"{part['samples']}",
        family if families else "",
        f"{part['anomalies']}",
        _shown(part["anomaliesPerWeek"]),
    )
    labelled = part["labelled"]
    return row if labelled is None else (*row, *_judged(labelled))


def _judged(tally: Mapping[str, Any], *, first: str | None = None) -> tuple[str, ...]:
    delay = tally["delaySeconds"]
    cells = (
        f"{tally['events']}",
        f"{tally['detected']}",
        _shown(tally["falseEpisodes"], digits=0),
        _shown(tally["precision"]),
        _shown(tally["recall"]),
        _shown(tally["f1"]),
        _shown(tally["falsePerWeek"]),
        "–" if delay is None else format_duration(round(delay)),
    )
    return cells if first is None else (first, *cells)


def _shown(number: float | None, *, digits: int = 2) -> str:
    return "–" if number is None else f"{number:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]], *, left: set[int]) -> str:
    """Returns columns under their headings; numbers to the right."""
    width = max(len(row) for row in rows)
    full = [[*map(in_one_line, row), *[""] * (width - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in full) for column in range(width)]
    lines = []
    for row in full:
        cells = [
            cell.ljust(widths[column]) if column in left else cell.rjust(widths[column])
            for column, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
