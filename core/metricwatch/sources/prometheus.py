"""Prometheus, VictoriaMetrics, and whatever else answers the Prometheus HTTP API.

Both kinds of server get the same parameters; each ignores what it does not know. They are chosen
so that a live sample is as fresh as the server has it and equal to what history will say later
(docs/decisions/0002-reading-fresh-samples.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from metricwatch.series import Grid, Panel
from metricwatch.sources.assembly import PanelBuilder
from metricwatch.sources.chunks import ChunkPlan
from metricwatch.sources.config import SourceConfig
from metricwatch.sources.connection import Connection
from metricwatch.sources.decode import LabelOrder, decode_matrix, decode_vector
from metricwatch.sources.errors import QueryTimeout, SourceError, SourceTooLarge
from metricwatch.sources.protocol import Progress, Sample
from metricwatch.sources.retry import RetryPolicy

_UNSETTLED_SECONDS = 60
"""VictoriaMetrics repeats older values for the last `-search.latencyOffset` (30 s) of a range
whose step is below this; ticks that young are read one by one."""

_REMEMBERED_QUERIES = 1_000


class PrometheusSource:
    """A server with the Prometheus HTTP API. Safe for several queries at once."""

    def __init__(
        self,
        config: SourceConfig,
        *,
        retry: RetryPolicy,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = Connection(config, retry=retry)
        self._timeout = f"{max(1, round(1000 * config.timeout_seconds))}ms"
        self._clock = clock
        self._orders: dict[tuple[str, int | None], LabelOrder] = {}

    async def query_range(
        self,
        expr: str,
        grid: Grid,
        *,
        progress: Progress | None = None,
        max_series: int | None = None,
    ) -> Panel:
        """Returns every series of `expr` over `grid`; see `Source`."""
        builder, order = PanelBuilder(grid, max_series=max_series), LabelOrder()
        settled = grid.part(0, self._settled_ticks(grid))
        plan = ChunkPlan(grid=settled)
        while (chunk := plan.next_chunk()) is not None:
            try:
                series = await self._read_chunk(expr, chunk, order, builder)
            except (SourceTooLarge, QueryTimeout):
                smaller = plan.smaller(chunk)
                if smaller is None:
                    raise
                plan = smaller
                continue
            plan = plan.after(chunk, series=series)
            if progress is not None:
                progress(plan.done, grid.count)
        for position in range(settled.count, grid.count):
            tick = grid.part(position, 1)
            sample = await self.query(expr, at=tick.start, step=grid.step)
            builder.add(tick, sample.labels, sample.values[:, np.newaxis])
            if progress is not None:
                progress(position + 1, grid.count)
        return builder.panel()

    async def query(
        self, expr: str, *, at: int, step: int, max_series: int | None = None
    ) -> Sample:
        """Returns every series that has a value at the tick `at`; see `Source`."""
        body = await self._post("/api/v1/query", {**self._form(expr, step), "time": str(at)})
        answer = decode_vector(body)
        labels, positions = self._order(expr, max_series).arrange(answer.metrics)
        return Sample(
            at=at,
            labels=labels,
            values=answer.values[positions],
            left_out=len(answer.metrics) - len(labels),
        )

    @property
    def ahead(self) -> float:
        """Seconds by which the server's clock is ahead of ours; see `Source`."""
        return self._connection.clock.ahead

    async def compare_clocks(self) -> None:
        """Asks the server for its time; see `Source`."""
        sent = time.time()
        body = await self._connection.post("/api/v1/query", self._form("time()", 1))
        moments = decode_vector(body).values
        if len(moments) == 1 and np.isfinite(moments[0]):
            self._connection.clock.hear(float(moments[0]), sent=sent, received=time.time())

    async def close(self) -> None:
        """Closes connections."""
        await self._connection.close()

    async def _post(self, path: str, form: dict[str, str]) -> bytes:
        body = await self._connection.post(path, form)
        if self._connection.clock_is_doubtful:
            # It has answered what it was asked: a server that will not tell its time is no fault.
            with suppress(SourceError):
                await self.compare_clocks()
        return body

    async def _read_chunk(
        self, expr: str, chunk: Grid, order: LabelOrder, builder: PanelBuilder
    ) -> int:
        body = await self._post(
            "/api/v1/query_range",
            {**self._form(expr, chunk.step), "start": str(chunk.start), "end": str(chunk.end)},
        )
        answer = decode_matrix(body, chunk)
        labels, positions = order.arrange(answer.metrics)
        builder.add(chunk, labels, answer.values[positions])
        return len(labels)

    def _form(self, expr: str, step: int) -> dict[str, str]:
        return {
            "query": expr,
            "step": f"{step}s",
            "timeout": self._timeout,
            # VictoriaMetrics: without it a live query answers with samples 30 s old.
            "nocache": "1",
            # A cluster that lost a node would otherwise answer with a part of a sum.
            "deny_partial_response": "1",
            "partial_response": "false",
        }

    def _settled_ticks(self, grid: Grid) -> int:
        """How many ticks from the start a range query answers as they are."""
        if grid.step >= _UNSETTLED_SECONDS:
            return grid.count
        now = int(self._clock() + self.ahead)
        return max(0, (now - _UNSETTLED_SECONDS - grid.start) // grid.step + 1)

    def _order(self, expr: str, limit: int | None) -> LabelOrder:
        order = self._orders.get((expr, limit))
        if order is None:
            if len(self._orders) >= _REMEMBERED_QUERIES:
                self._orders.pop(next(iter(self._orders)))
            order = self._orders[expr, limit] = LabelOrder(limit=limit)
        return order
