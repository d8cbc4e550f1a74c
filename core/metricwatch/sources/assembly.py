"""One panel from the pieces of a history. Pure.

Series come and go over two weeks, so each piece may bring new ones. Only the first `max_series`
by label order are ever held: what is beyond them among the series seen so far is beyond them
among all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metricwatch.series import Grid, Labels, Panel


class PanelBuilder:
    """Collects pieces of one grid."""

    def __init__(self, grid: Grid, *, max_series: int | None) -> None:
        self._grid = grid
        self._max_series = max_series
        self._seen: set[Labels] = set()
        self._labels: tuple[Labels, ...] = ()
        self._values: NDArray[np.float64] = np.empty((0, grid.count))

    def add(self, chunk: Grid, labels: Sequence[Labels], values: NDArray[np.float64]) -> None:
        """Takes the answer for `chunk`: labels of S series and float64[S, ticks of the chunk]."""
        self._make_room(labels)
        rows = {one: row for row, one in enumerate(self._labels)}
        kept = [(rows[one], source) for source, one in enumerate(labels) if one in rows]
        if not kept or chunk.count == 0:
            return
        targets, sources = (np.array(column, dtype=np.intp) for column in zip(*kept, strict=True))
        first = self._grid.index_of(chunk.start)
        self._values[targets, first : first + chunk.count] = values[sources]

    def panel(self) -> Panel:
        """Returns what was collected, in label order."""
        return Panel(
            grid=self._grid,
            labels=self._labels,
            values=self._values,
            left_out=len(self._seen) - len(self._labels),
        )

    def _make_room(self, labels: Sequence[Labels]) -> None:
        new = set(labels) - self._seen
        if not new:
            return
        self._seen |= new
        arranged = tuple(sorted(new.union(self._labels)))[: self._max_series]
        if arranged == self._labels:
            return
        rows = {one: row for row, one in enumerate(self._labels)}
        known = [(row, rows[one]) for row, one in enumerate(arranged) if one in rows]
        values = np.full((len(arranged), self._grid.count), np.nan)
        for row, old in known:
            values[row] = self._values[old]
        self._labels, self._values = arranged, values
