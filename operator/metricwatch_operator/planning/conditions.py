"""Conditions of a status: set with the rules of the Kubernetes API conventions.

`lastTransitionTime` moves only when `status` does; a condition that says nothing new is left
exactly as it was, so that a reconcile without news writes nothing. Abnormal-true conditions are
there only while they are True, as kstatus expects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from metricwatch.resources.conditions import ConditionType
from metricwatch.words import visible

LONGEST_MESSAGE = 1024
_ABNORMAL_TRUE = frozenset({ConditionType.RECONCILING, ConditionType.STALLED})


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition should say now. `status` None is Unknown."""

    type: ConditionType
    status: bool | None
    reason: str
    message: str = ""


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes times.

    >>> format_time(datetime(2026, 3, 1, 12, tzinfo=UTC))
    '2026-03-01T12:00:00Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The time that `format_time`, or any RFC 3339 writer, wrote.

    Raises:
        ValueError: `text` is no such time, or has no offset from UTC.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(
            f"{text!r} has no time zone: write an RFC 3339 time like 2026-03-01T12:00:00Z"
        )
    return time


def time_of(unix_seconds: float) -> datetime:
    """The time in UTC of so many seconds since 1970."""
    return datetime.fromtimestamp(unix_seconds, UTC)


def next_conditions(
    previous: Iterable[Mapping[str, Any]],
    findings: Iterable[Finding],
    *,
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """The conditions to write, in the order of the findings.

    Args:
        previous: Conditions of the present status.
        findings: What is the case; one for each condition type.
        generation: `metadata.generation` that the findings are about.
        now: Transition time of what changed.
    """
    known = {condition["type"]: condition for condition in previous}
    written = []
    for finding in findings:
        if finding.type in _ABNORMAL_TRUE and not finding.status:
            continue
        status = _STATUS_WORDS[finding.status]
        before = known.get(finding.type.value, {})
        unchanged = before.get("status") == status and "lastTransitionTime" in before
        written.append(
            {
                "type": finding.type.value,
                "status": status,
                "reason": str(finding.reason),
                "message": _shorten(finding.message),
                "lastTransitionTime": before["lastTransitionTime"]
                if unchanged
                else format_time(now),
                "observedGeneration": generation,
            }
        )
    return written


def edges(
    previous: Iterable[Mapping[str, Any]], current: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The conditions of `current` whose status or reason differs from `previous`."""
    known = {
        condition["type"]: (condition["status"], condition["reason"]) for condition in previous
    }
    return [
        dict(condition)
        for condition in current
        if known.get(condition["type"]) != (condition["status"], condition["reason"])
    ]


_STATUS_WORDS = {True: "True", False: "False", None: "Unknown"}


def _shorten(message: str) -> str:
    message = visible(message)
    if len(message) <= LONGEST_MESSAGE:
        return message
    return message[: LONGEST_MESSAGE - 1] + "…"
