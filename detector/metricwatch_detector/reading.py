"""The samples of a watch, whichever queries it has, as values over its slots."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from metricwatch.assignments import WatchSettings
from metricwatch.series import Grid
from metricwatch.sources import Source
from metricwatch_detector.slots import Answers, SlotIndex

Floats = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Values over some ticks.

    Attributes:
        grid: T ticks.
        values: float64[S, T] by slot, NaN where there is no sample.
        left_out: Series beyond the watch's limit.
    """

    grid: Grid
    values: Floats
    left_out: int

    def ticks(self) -> Iterator[tuple[int, Floats]]:
        """Each tick with its values float64[S]."""
        columns = np.ascontiguousarray(self.values.T)
        yield from zip(self.grid.timestamps().tolist(), columns, strict=True)


class Reader:
    """Asks a source for the queries of one watch, all at once."""

    def __init__(self, source: Source, settings: WatchSettings, index: SlotIndex) -> None:
        self._source = source
        self._settings = settings
        self._index = index

    async def tick(self, time: int) -> History:
        """One tick, as fresh as the source has it.

        Raises:
            SourceError: says what is wrong.
        """
        settings = self._settings
        step, limit = settings.interval_seconds, settings.max_series
        samples = await _together(
            self._source.query(query.expr, at=time, step=step, max_series=limit)
            for query in settings.queries
        )
        answers = [
            (query.name, sample.labels)
            for query, sample in zip(settings.queries, samples, strict=True)
        ]
        rows = np.concatenate([sample.values for sample in samples])[:, None]
        grid = Grid(time, settings.interval_seconds, 1)
        return self._place(grid, answers, rows, sum(sample.left_out for sample in samples))

    async def history(self, grid: Grid) -> History:
        """Several ticks.

        Raises:
            SourceError: says what is wrong.
        """
        limit = self._settings.max_series
        panels = await _together(
            self._source.query_range(query.expr, grid, max_series=limit)
            for query in self._settings.queries
        )
        answers = [
            (query.name, panel.labels)
            for query, panel in zip(self._settings.queries, panels, strict=True)
        ]
        blocks = [panel.values for panel in panels]
        # A copy of a long history is large.
        rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return self._place(grid, answers, rows, sum(panel.left_out for panel in panels))

    def _place(self, grid: Grid, answers: Answers, rows: Floats, left_out: int) -> History:
        placement = self._index.place(answers)
        values = np.full((len(self._index), grid.count), np.nan)
        values[placement.slots] = rows[placement.rows]
        return History(grid, values, left_out + placement.left_out)


async def _together(queries: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The answers of queries asked at the same time; the first error ends all of them.

    Not a TaskGroup: when one of its tasks fails it leaves its parent counted as cancelled (until
    Python 3.13), and before 3.11.4 the parent's next timeout is then taken for a cancellation.
    """
    tasks = [asyncio.ensure_future(query) for query in queries]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
