"""What is walked through: one or more columns of values on a regular grid, and their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricwatch.series import Grid, Labels, Panel, labels_from

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]
_MOST_VALUES = 4_000_000
"""Samples of a block: what is kept of a walk takes some 40 bytes for each."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a file that are walked through, N of them, in their order.

    A file need not be regular: a row belongs to the tick next to it. Where several share a tick,
    the last one is sampled, as a query at that tick would, and the others get what was known at
    the tick before.

    Attributes:
        times: int64[N], unix seconds.
        ticks: int64[N], positions in the grid, never falling.
        truth: bool[N], rows that somebody labelled as anomalous; None without labels.
    """

    times: Integers
    ticks: Integers
    truth: Flags | None

    @property
    def count(self) -> int:
        """N."""
        return len(self.ticks)

    @property
    def sampled(self) -> Flags:
        """bool[N]: the rows whose value stands at their tick."""
        last = np.ones(self.count, np.bool_)
        last[:-1] = np.diff(self.ticks) > 0
        return last


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """History to learn from, then samples to walk through.

    Attributes:
        dataset: name of its folder, empty when it has none.
        name: of the file without its ending, or how the series is called in its source.
        columns: names of the C columns.
        labels: one entry for each column: how a saved model knows it.
        grid: T ticks.
        values: float64[C, T], NaN where there is no sample.
        known: bool[C, T], samples that somebody labelled as anomalous.
        history: how many ticks are history.
        rows: the rows after the history.
        notes: what a reader of the report should know.
        systems: the system of each column, when columns have no score of their own but their
            system has one.
    """

    dataset: str
    name: str
    columns: tuple[str, ...]
    labels: tuple[Labels, ...]
    grid: Grid
    values: Floats
    known: Flags
    history: int
    rows: Rows
    notes: tuple[str, ...] = ()
    systems: tuple[Labels, ...] = ()

    @property
    def title(self) -> str:
        """How it is called in messages: DATASET/NAME."""
        return f"{self.dataset}/{self.name}" if self.dataset else self.name

    @property
    def learned_from(self) -> Panel:
        """The history."""
        count = self.history
        return Panel(self.grid.part(0, count), self.labels, self.values[:, :count])

    @property
    def walked(self) -> Panel:
        """What comes after the history."""
        count = self.grid.count - self.history
        grid = self.grid.part(self.history, count)
        return Panel(grid, self.labels, self.values[:, self.history :])

    def as_system(self) -> Recording:
        """The same with all columns in one system."""
        own = dict(self.labels[0])
        own.pop("column", None)
        system = labels_from(own | {"system": self.name})
        return replace(self, systems=(system,) * len(self.columns))

    def walking(self, values: Floats) -> Recording:
        """The same with other values, float64[C, T - history], after the history."""
        return replace(self, values=np.hstack([self.values[:, : self.history], values]))


def stack(recordings: Sequence[Recording]) -> Recording:
    """Returns recordings of one grid and history as one with all their columns.

    A tick of many series costs little more than a tick of one.
    """
    first = recordings[0]
    return replace(
        first,
        columns=tuple(column for one in recordings for column in one.columns),
        labels=tuple(labels for one in recordings for labels in one.labels),
        values=np.vstack([one.values for one in recordings]),
        known=np.vstack([one.known for one in recordings]),
        systems=tuple(system for one in recordings for system in one.systems),
    )


def blocks_of(recordings: Sequence[Recording], *, jobs: int) -> list[list[int]]:
    """Returns positions of recordings that can be stacked, in blocks for so many processes."""
    alike: dict[tuple[Grid, int, bool], list[int]] = {}
    for number, one in enumerate(recordings):
        alike.setdefault((one.grid, one.history, bool(one.systems)), []).append(number)
    blocks = []
    for (grid, _, _), numbers in alike.items():
        columns = sum(len(recordings[number].columns) for number in numbers)
        most = min(-(-columns // jobs), max(1, _MOST_VALUES // max(grid.count, 1)))
        block: list[int] = []
        width = 0
        for number in numbers:
            own = len(recordings[number].columns)
            if block and width + own > most:
                blocks.append(block)
                block, width = [], 0
            block.append(number)
            width += own
        blocks.append(block)
    return blocks
