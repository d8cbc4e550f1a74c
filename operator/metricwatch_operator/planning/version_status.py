"""What a model's status says about its versions."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from metricwatch.reported import RunReport, read_report
from metricwatch.resources import QualityGate, Reason
from metricwatch.store.rows import Version
from metricwatch.words import visible
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.facts import Facts
from metricwatch_operator.planning.gate import Judgement, Reading, judge, numbers, read_measurement

_LONGEST_MESSAGE = 1024


def version_status(version: Version, facts: Facts) -> dict[str, Any]:
    """One entry of `status.versions`."""
    report, reading = read_report(version.report), read_measurement(version.report)
    has_window = version.window_start is not None and version.window_end is not None
    window = {"from": optional_time(version.window_start), "to": optional_time(version.window_end)}
    # Empty words are left out: the API server would keep them, and a diff would show them for
    # ever.
    values: dict[str, Any] = {
        "version": version.version,
        "state": str(version.state),
        "reason": version.reason,
        "message": visible(_message(version, report))[:_LONGEST_MESSAGE],
        "trainedAt": optional_time(version.trained_at),
        "window": window if has_window else None,
        "algorithm": report.family or str(version.request["algorithm"]["type"]),
        "families": report.families,
        "quality": _quality(report) | numbers(reading.measured),
        "verdict": str(_judge(version, reading, facts).verdict) if version.trained_at else "",
        "dataHash": version.data_hash or "",
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def verdict_of(version: Version, facts: Facts) -> Judgement:
    """What the gate says of a version by the limits as they are now."""
    return _judge(version, read_measurement(version.report), facts)


def _judge(version: Version, reading: Reading, facts: Facts) -> Judgement:
    model = facts.desired.model
    limits = model.spec.quality_gate if model else QualityGate()
    return judge(reading, limits, is_first=_was_first(version, facts))


def _was_first(version: Version, facts: Facts) -> bool:
    """Whether nothing served when a version was trained."""
    measured = (version.report or {}).get("gate")
    compared = measured.get("serving") if isinstance(measured, Mapping) else None
    return compared is None and not any(
        one.served_at is not None and one.version < version.version for one in facts.versions
    )


def _message(version: Version, report: RunReport) -> str:
    """What is to be said of a version, and what of its report nobody can read."""
    if not report.problems:
        return version.message
    unread = f"its report cannot be read in full: {'; '.join(report.problems)}"
    return f"{version.message}; {unread}" if version.message else unread


def _quality(report: RunReport) -> dict[str, float]:
    """The trainer's numbers, of all watches together."""
    found = {"trained": report.trained, "leftOut": report.left_out}
    numbers = {name: float(value) for name, value in found.items() if value is not None}
    errors = [
        watch.error_to_persistence
        for watch in report.watches
        if watch.error_to_persistence is not None
    ]
    return numbers | ({"errorToPersistence": round(median(errors), 4)} if errors else {})


def last_failure(version: Version, facts: Facts) -> dict[str, Any]:
    """`status.lastFailure`, of a version that failed."""
    run = facts.decision.runs.get(version.version)
    at = (run.ended_at if run else None) or version.trained_at or version.created_at
    return {
        "reason": version.reason or Reason.TRAINING_FAILED.value,
        "message": visible(version.message)[:_LONGEST_MESSAGE],
        "version": version.version,
        "time": optional_time(at),
    }


def optional_time(unix_seconds: int | None) -> str | None:
    """A time as Kubernetes writes it; None when there is none."""
    return None if unix_seconds is None else format_time(time_of(unix_seconds))
