"""Many series of one system anomalous at the same time are one anomaly: the system's.

A system anomaly opens when at least `ENOUGH_SERIES` and at least `ENOUGH_SHARE` of the system's
series have an open anomaly; it starts when the one that made them enough started. It groups all
that are open while it is, and ends when less than half of that is left. The decision depends only
on what is open, in no order, so any shard may make it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH_SERIES = 3
ENOUGH_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Member:
    """An open anomaly of one series of the system; `severity` counts up from 0, the mildest."""

    key: int
    started_at: int
    severity: int


@dataclass(frozen=True, slots=True)
class SystemAnomaly:
    """An anomaly of a whole system and the keys of the anomalies it groups, ascending."""

    started_at: int
    ended_at: int | None
    severity: int
    members: tuple[int, ...]


def enough(series: int) -> int:
    """How many of so many series make a system anomaly.

    >>> [enough(count) for count in (2, 10, 11, 100)]
    [3, 3, 4, 30]
    """
    return max(ENOUGH_SERIES, math.ceil(ENOUGH_SHARE * series))


def group_systems(
    members: Sequence[Member], *, series: int, now: int, standing: SystemAnomaly | None = None
) -> SystemAnomaly | None:
    """The system anomaly that the open anomalies of one system make at this tick.

    Args:
        members: The open anomalies of the system's series.
        series: How many series the system has.
        now: The tick, unix seconds.
        standing: The system anomaly that is open, if one is.

    Returns:
        None when there is none; one with `ended_at` when the standing one ends at this tick.
    """
    needed = enough(series)
    if standing is None and len(members) < needed:
        return None
    severity = max((member.severity for member in members), default=0)
    keys = {member.key for member in members}
    if standing is None:
        starts = sorted(member.started_at for member in members)
        return SystemAnomaly(starts[needed - 1], None, severity, tuple(sorted(keys)))
    return SystemAnomaly(
        started_at=standing.started_at,
        ended_at=now if 2 * len(members) < needed else None,
        severity=max(severity, standing.severity),
        members=tuple(sorted(keys | set(standing.members))),
    )
