"""What every source offers to the trainer and the detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metricwatch.series import Grid, Labels, Panel

Progress = Callable[[int, int], None]
"""Called with the ticks read so far and the ticks there are."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The value of S series at one tick.

    Attributes:
        at: the tick, unix seconds.
        labels: one entry for each series that has a value, in label order.
        values: float64[S]; NaN where the server answered NaN or an infinity.
        left_out: series the query gives beyond the limit that was asked for.
    """

    at: int
    labels: tuple[Labels, ...]
    values: NDArray[np.float64]
    left_out: int = 0


class Source(Protocol):
    """A place where series can be read. Safe for several queries at once."""

    @property
    def ahead(self) -> float:
        """Seconds by which the source's clock is ahead of ours: its samples have its times.

        0 while both agree within two seconds. Any answer may change it.
        """
        ...

    async def compare_clocks(self) -> None:
        """Finds out what `ahead` is now.

        Raises:
            SourceError: one of its kinds says what to do.
        """
        ...

    async def query_range(
        self,
        expr: str,
        grid: Grid,
        *,
        progress: Progress | None = None,
        max_series: int | None = None,
    ) -> Panel:
        """Returns every series of `expr` over `grid`, in label order.

        Args:
            expr: a PromQL or MetricsQL expression.
            grid: the ticks at which it is evaluated; any length, asked for in pieces.
            progress: told after each piece.
            max_series: return the first so many by label order and count the others.

        Raises:
            SourceError: one of its kinds says what to do.
        """
        ...

    async def query(
        self, expr: str, *, at: int, step: int, max_series: int | None = None
    ) -> Sample:
        """Returns every series that has a value at the tick `at`, in label order.

        The value is the one that `query_range` gives at this tick on a grid of the same `step`,
        and as fresh as the server can give it. Asked again, `labels` is the same object as long as
        the series are the same, so that a caller can keep what it derived from them.

        Args:
            expr: a PromQL or MetricsQL expression.
            at: the tick, unix seconds.
            step: the watch's interval, seconds. VictoriaMetrics looks back this far for a sample,
                and it is the window of a rate() without one.
            max_series: return the first so many by label order and count the others.

        Raises:
            SourceError: one of its kinds says what to do.
        """
        ...

    async def close(self) -> None:
        """Closes connections; the source cannot be used afterwards."""
        ...
