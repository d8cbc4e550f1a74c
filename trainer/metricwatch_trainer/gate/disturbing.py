"""Anomalies put into the tail of some series, and whether a version finds them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.gate import Found
from metricwatch.injection import Injected, Injection, Kind, in_turn, inject
from metricwatch.series import Labels, Panel
from metricwatch.walking import Flags
from metricwatch_trainer.gate.walks import Walked

KINDS = (Kind.SPIKE, Kind.LEVEL_SHIFT, Kind.FLAT_LINE, Kind.DRIFT)
LATE = 2
"""An anomaly counts as found up to so many samples after its end."""
_MOST_EACH = 8
_ROOM = 72
_RARE = 0.2
_REFERENCE_TICKS = 5000
"""What is usual shows in so many samples."""


@dataclass(frozen=True, slots=True)
class Event:
    """An anomaly in the tail, put in or recorded.

    Attributes:
        labels: what has to alert, a series or the system it belongs to.
        start: first tick in the tail, a position.
        end: position after its last tick.
        kind: what was put in; None of one that was recorded.
    """

    labels: Labels
    start: int
    end: int
    kind: Kind | None = None


def disturb(
    panel: Panel, head: int, owners: Mapping[Labels, Labels], *, seed: int, avoid: Flags
) -> tuple[Panel, tuple[Event, ...]]:
    """Returns a panel with anomalies in its tail: each kind in each series, as far as they fit.

    Channels of one system take turns: one of them is anomalous at a time.

    Args:
        panel: history and tail.
        head: ticks before the tail.
        owners: the system of each series that belongs to one.
        seed: of everything random.
        avoid: bool[S, tail], samples that no anomaly may touch.
    """
    tail = panel.values[:, head:]
    made = inject(
        tail,
        count=min(max(len(KINDS), tail.shape[1] // _ROOM), _MOST_EACH),
        seed=seed,
        kinds=KINDS,
        reference=panel.values[:, max(0, head - _REFERENCE_TICKS) : head],
        avoid=avoid,
    )
    made = _one_at_a_time(made, tail, panel.labels, owners)
    values = np.concatenate([panel.values[:, :head], made.values], axis=1)
    events = [
        Event(_owner(panel.labels[one.series], owners), one.start, one.end, one.kind)
        for one in made.events
    ]
    return Panel(grid=panel.grid, labels=panel.labels, values=values), _frequent(events)


def found_by_kind(walked: Walked, events: Sequence[Event]) -> dict[str, Found]:
    """Returns how many anomalies of each kind a version found, of those in what it judges."""
    rows = walked.rows()
    found: dict[str, Found] = {}
    for one in events:
        if one.labels in rows and one.kind is not None:
            before = found.get(one.kind.value, Found())
            found[one.kind.value] = before + is_found(walked.alarm[rows[one.labels]], one)
    return found


def is_found(alarm: NDArray[np.bool_], event: Event) -> Found:
    """Returns one of one, or none of one."""
    return Found(found=int(alarm[event.start : event.end + LATE].any()), of=1)


def _frequent(events: Sequence[Event]) -> tuple[Event, ...]:
    """Returns the events without those of a kind that fits into hardly any series.

    Every kind counts the same, so that a few would decide. A flat line hardly changes a series
    that moves slowly, and is put into few of those.
    """
    count = Counter(one.kind for one in events)
    least = _RARE * max(count.values(), default=0)
    return tuple(one for one in events if count[one.kind] >= least)


def _owner(labels: Labels, owners: Mapping[Labels, Labels]) -> Labels:
    return owners.get(labels, labels)


def _one_at_a_time(
    made: Injection,
    tail: NDArray[np.float64],
    labels: Sequence[Labels],
    owners: Mapping[Labels, Labels],
) -> Injection:
    systems: dict[Labels, list[int]] = {}
    for row, one in enumerate(labels):
        if one in owners:
            systems.setdefault(owners[one], []).append(row)
    if not systems:
        return made
    values, marks = made.values.copy(), made.labels.copy()
    within = {row for rows in systems.values() for row in rows}
    events = [one for one in made.events if one.series not in within]
    for rows in systems.values():
        turns = in_turn(_part(made, rows), tail[rows])
        values[rows], marks[rows] = turns.values, turns.labels
        events += [_moved(one, rows[one.series]) for one in turns.events]
    return Injection(values=values, labels=marks, events=tuple(events))


def _part(made: Injection, rows: Sequence[int]) -> Injection:
    position = {row: own for own, row in enumerate(rows)}
    events = (_moved(one, position[one.series]) for one in made.events if one.series in position)
    return Injection(values=made.values[rows], labels=made.labels[rows], events=tuple(events))


def _moved(one: Injected, row: int) -> Injected:
    return Injected(kind=one.kind, series=row, start=one.start, end=one.end, size=one.size)
