"""`metricwatch anomalies list`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from metricwatch.durations import parse_duration
from metricwatch.store.anomalies import list_anomalies
from metricwatch.store.rows import ModelOverview, StoredAnomaly
from metricwatch_cli.backtest.problems import WrongInput
from metricwatch_cli.terminal import as_json
from metricwatch_cli.versions.asking import find_model, opened
from metricwatch_cli.versions.tables import lined_up, time_of

_MOST = 100_000
_LONGEST = 80


async def run(options: argparse.Namespace) -> str:
    """Anomalies of a model, newest first.

    Raises:
        WrongInput: the time is no duration, or there is no such watch.
    """
    try:
        since = time.time() - parse_duration(options.since)
    except ValueError as error:
        raise WrongInput(f"--since: {error}") from error
    async with opened(options) as database:
        overview = await find_model(database, options)
        async with database.acquire() as connection:
            found = await list_anomalies(
                connection,
                model_uid=overview.uid,
                watch_uid=_uid_of(overview, options.watch),
                start=int(since),
                only_open=options.open,
                # Of those that nobody judged there may be few among many.
                limit=_MOST if options.unjudged else max(options.limit, 1),
            )
    if options.unjudged:
        found = tuple(one for one in found if one.remark is None)[: max(options.limit, 1)]
    if options.output == "json":
        return as_json([describe(one) for one in found])
    return table(found) if found else f"no anomalies within {options.since}"


def describe(stored: StoredAnomaly) -> dict[str, Any]:
    """An anomaly as JSON; what is not known is left out."""
    one, remark = stored.anomaly, stored.remark
    values: dict[str, Any] = {
        "id": stored.id,
        "watch": stored.watch_name,
        "labels": dict(stored.labels),
        "version": stored.version,
        "kind": one.kind,
        "severity": one.severity,
        "direction": one.direction,
        "state": str(one.state),
        "startedAt": time_of(one.started_at),
        "endedAt": time_of(one.ended_at),
        "peakScore": _number(one.peak_score),
        "peakValue": _number(one.peak_value),
        "peakExpected": _number(one.peak_expected),
    }
    if remark is not None:
        values["feedback"] = {
            "is": str(remark.feedback),
            "reason": remark.reason,
            "by": remark.by,
            "at": time_of(remark.at),
        }
    return {name: value for name, value in values.items() if value is not None}


def table(found: Sequence[StoredAnomaly]) -> str:
    """Anomalies as a table."""
    head = ("ID", "STARTED", "ENDED", "STATE", "SEVERITY", "WATCH", "SERIES", "FEEDBACK")
    return lined_up([head, *map(_row, found)])


def _row(stored: StoredAnomaly) -> tuple[str, ...]:
    one, remark = stored.anomaly, stored.remark
    series = ", ".join(f"{name}={value}" for name, value in stored.labels)
    return (
        str(stored.id),
        time_of(one.started_at) or "",
        time_of(one.ended_at) or "-",
        str(one.state),
        one.severity,
        stored.watch_name,
        series if len(series) <= _LONGEST else series[: _LONGEST - 1] + "…",
        "" if remark is None else f"{remark.feedback} by {remark.by}: {remark.reason}",
    )


def _uid_of(overview: ModelOverview, name: str | None) -> str | None:
    if name is None:
        return None
    known = {watch.name: watch.uid for watch in overview.watches}
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise WrongInput(f"model {overview.name} has no watch {name}; there are: {there}")
    return known[name]


def _number(value: float) -> float | None:
    # JSON has no NaN.
    return None if value != value else value
