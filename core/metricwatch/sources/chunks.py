"""How a long history is asked for in pieces. Pure.

Prometheus refuses more than 11,000 points a series, and every server holds the whole answer of
one query in memory, so a piece is bounded both by points a series and by points in all. How many
series a query gives is known only from its first answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from metricwatch.series import Grid

POINTS_PER_SERIES = 11_000
"""What Prometheus allows at most (web/api/v1: "exceeded maximum resolution")."""

POINTS_PER_QUERY = 1_000_000
"""About 25 MB of JSON."""

_SERIES_UNTIL_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How far a history has been read, and how large the next piece may be.

    Attributes:
        grid: all that is wanted.
        done: ticks read so far.
        series: series in the largest answer so far.
        most: ticks a piece may have after the server found one too large.
    """

    grid: Grid
    done: int = 0
    series: int = _SERIES_UNTIL_KNOWN
    most: int = POINTS_PER_SERIES

    def next_chunk(self) -> Grid | None:
        """Returns the ticks to ask for next, or None when everything is read.

        >>> plan = ChunkPlan(grid=Grid(start=0, step=60, count=20_160), series=10)
        >>> plan.next_chunk()
        Grid(start=0, step=60, count=11000)
        """
        if self.done >= self.grid.count:
            return None
        points = max(1, min(self.most, POINTS_PER_QUERY // max(1, self.series)))
        return self.grid.part(self.done, points)

    def after(self, chunk: Grid, *, series: int) -> ChunkPlan:
        """Returns the plan once `chunk` was answered with `series` series."""
        known = series if self.done == 0 else max(self.series, series)
        return replace(self, done=self.done + chunk.count, series=known)

    def smaller(self, chunk: Grid) -> ChunkPlan | None:
        """Returns the plan after `chunk` was too large, or None when it cannot be divided."""
        return None if chunk.count <= 1 else replace(self, most=chunk.count // 2)
