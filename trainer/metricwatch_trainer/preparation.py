"""From a panel of history to groups of series that can be learned from together. Pure.

A series that began late is not learned from a window in which it is mostly missing: series are
grouped by the longest of the windows T, T/2, T/4 … that they fill from its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricwatch.series import Grid, Labels, Panel

Flags = NDArray[np.bool_]

_TAIL_SHARE = 0.2
LEAST_TAIL = 32
_LATE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Stretch:
    """History that is not normal: of one series, or of all.

    Attributes:
        start: first tick of it, unix seconds.
        end: first tick after it.
        labels: the series; None means all.
    """

    start: int
    end: int
    labels: Labels | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A series that is not learned from, and why."""

    labels: Labels
    samples: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Systems:
    """Which series make which system.

    Attributes:
        members: int64[S], the system of each series, 0 to G - 1.
        labels: what each system is called.
    """

    members: NDArray[np.int64]
    labels: tuple[Labels, ...]

    def select(self, rows: NDArray[np.int64]) -> Systems:
        """Returns the systems of some of the series."""
        present, members = np.unique(self.members[rows], return_inverse=True)
        labels = tuple(self.labels[system] for system in present)
        return Systems(members=members.astype(np.int64), labels=labels)

    def owners(self) -> tuple[Labels, ...]:
        """Returns for each series what its system is called."""
        return tuple(self.labels[system] for system in self.members)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Series that are learned from together, over a window that they fill.

    Attributes:
        panel: what they are fitted and calibrated on.
        head: ticks to fit on before the tail that calibrates.
        labels: bool[S, T], samples known to be anomalous, for families that learn from labels.
        systems: that the series make, when they are not learned each by itself.
    """

    panel: Panel
    head: int
    labels: Flags | None = None
    systems: Systems | None = None

    def select(self, rows: NDArray[np.int64]) -> Group:
        """Returns the group of some of its series."""
        own = None if self.labels is None else self.labels[rows]
        systems = None if self.systems is None else self.systems.select(rows)
        panel = self.panel.select(rows)
        return Group(panel=panel, head=self.head, labels=own, systems=systems)


def without_stretches(panel: Panel, stretches: Iterable[Stretch]) -> Panel:
    """Returns the panel with NaN wherever a stretch covers a series."""
    values = np.where(label_stretches(panel, stretches), np.nan, panel.values)
    return Panel(grid=panel.grid, labels=panel.labels, values=values, left_out=panel.left_out)


def label_stretches(panel: Panel, stretches: Iterable[Stretch]) -> Flags:
    """Returns bool[S, T], true wherever a stretch covers a series."""
    rows = {labels: row for row, labels in enumerate(panel.labels)}
    covered = np.zeros(panel.values.shape, np.bool_)
    grid = panel.grid
    for stretch in stretches:
        first = max(0, -(-(stretch.start - grid.start) // grid.step))
        end = min(grid.count, -(-(stretch.end - grid.start) // grid.step))
        if end <= first:
            continue
        if stretch.labels is None:
            covered[:, first:end] = True
        elif stretch.labels in rows:
            covered[rows[stretch.labels], first:end] = True
    return covered


def head_of(ticks: int) -> int:
    """Returns how many of `ticks` are fitted on; the rest, a fifth at least, calibrates."""
    return max(0, ticks - max(LEAST_TAIL, round(ticks * _TAIL_SHARE)))


def group_series(
    panel: Panel,
    *,
    least_samples: int,
    least_to_fit: int,
    largest_group: int,
    labels: Flags | None = None,
) -> tuple[tuple[Group, ...], tuple[LeftOut, ...]]:
    """Returns groups of series that have enough history, and the others with a reason.

    Args:
        panel: history, gaps filled, excluded stretches NaN.
        least_samples: `minSamples` of the model.
        least_to_fit: what the family needs before the tail that calibrates.
        largest_group: most series in a group.
        labels: bool[S, T] of the panel, handed on to the groups.
    """
    known = ~np.isnan(panel.values)
    samples = np.count_nonzero(known, axis=1)
    left_out = [
        too_few(one, int(count), least_samples)
        for one, count in zip(panel.labels, samples, strict=True)
        if count < least_samples
    ]
    enough = samples >= least_samples
    groups: list[Group] = []
    for ticks, rows in windows(known, enough):
        window = panel.grid.part(panel.grid.count - ticks, ticks)
        part = panel.select(rows).window(window)
        head = head_of(ticks)
        fit = np.count_nonzero(~np.isnan(part.values[:, :head]), axis=1)
        tail = np.count_nonzero(~np.isnan(part.values[:, head:]), axis=1)
        ready = (fit >= least_to_fit) & (tail >= LEAST_TAIL // 2)
        left_out.extend(
            _too_sparse(part.labels[row], int(samples[rows[row]]), least_to_fit)
            for row in np.flatnonzero(~ready)
        )
        chosen = np.flatnonzero(ready)
        for first in range(0, len(chosen), largest_group):
            some = chosen[first : first + largest_group]
            own = None if labels is None else labels[rows[some], -ticks:]
            groups.append(Group(panel=part.select(some), head=head, labels=own))
    return tuple(groups), tuple(left_out)


def with_labels(groups: Iterable[Group]) -> tuple[tuple[Group, ...], tuple[LeftOut, ...]]:
    """Returns the groups that teach a family which learns from labels, and the other series.

    The series of a group are learned from together, so a label in any of them is one for all; it
    must lie on a sample before the tail that calibrates.
    """
    usable: list[Group] = []
    left_out: list[LeftOut] = []
    for group in groups:
        known = ~np.isnan(group.panel.values[:, : group.head])
        if group.labels is not None and (group.labels[:, : group.head] & known).any():
            usable.append(group)
            continue
        samples = np.count_nonzero(~np.isnan(group.panel.values), axis=1)
        left_out.extend(
            LeftOut(
                labels=labels,
                samples=int(count),
                reason="NoLabels",
                message="and those learned with it have no recorded anomaly before the part that "
                "calibrates",
            )
            for labels, count in zip(group.panel.labels, samples, strict=True)
        )
    return tuple(usable), tuple(left_out)


def windows(
    known: NDArray[np.bool_], enough: NDArray[np.bool_]
) -> Sequence[tuple[int, NDArray[np.intp]]]:
    """Returns for each length of window the rows whose history fills it from its start."""
    ticks = known.shape[1]
    began = np.where(known.any(axis=1), known.argmax(axis=1), ticks)
    waiting = enough.copy()
    windows = []
    length = ticks
    while waiting.any() and length > 0:
        late = ticks - length + _LATE_SHARE * length
        fitting = waiting & (began <= late)
        if fitting.any():
            windows.append((length, np.flatnonzero(fitting)))
        waiting &= ~fitting
        length //= 2
    return windows


def too_few(labels: Labels, samples: int, wanted: int) -> LeftOut:
    """Returns that a series has fewer samples than the model asks for."""
    return LeftOut(
        labels=labels,
        samples=samples,
        reason="TooFewSamples",
        message=f"has {samples} samples, training.minSamples asks for {wanted}",
    )


def _too_sparse(labels: Labels, samples: int, wanted: int) -> LeftOut:
    return LeftOut(
        labels=labels,
        samples=samples,
        reason="TooSparse",
        message=f"has {samples} samples, but fewer than {wanted} before the part that calibrates "
        "or hardly any in it",
    )


def training_grid(*, now: int, window: int, step: int, delay: int, most_ticks: int) -> Grid:
    """Returns the ticks to learn from: up to the last one that is complete by `now`.

    Args:
        now: unix seconds.
        window: how far back, seconds.
        step: the watch's interval, seconds.
        delay: how late samples may come, seconds.
        most_ticks: a longer window is cut at its start.
    """
    end = (now - delay) // step * step
    count = max(1, min(window // step, most_ticks))
    return Grid(start=end - (count - 1) * step, step=step, count=count)
