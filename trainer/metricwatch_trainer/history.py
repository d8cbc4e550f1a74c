"""Reading what a watch is to be learned from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import numpy as np

from metricwatch.assignments import TrainingWatch
from metricwatch.series import Grid, Labels, Panel, labels_from, shard_of
from metricwatch.sources import open_source

_RETRY_SECONDS = 10.0


async def read_history(
    watch: TrainingWatch, grid: Grid, *, progress: Callable[[int, int], None]
) -> Panel:
    """Returns all series of all queries of a watch over `grid`, the first `maxSeries` by label.

    Raises:
        SourceError: the source is away, refuses, or answers with more than can be held.
    """
    source = open_source(watch.source, retry_seconds=_RETRY_SECONDS)
    try:
        panels = [
            named(
                await source.query_range(
                    query.expr, grid, progress=progress, max_series=watch.max_series
                ),
                query.name,
            )
            for query in watch.queries
        ]
    finally:
        await source.close()
    return joined(panels, most=watch.max_series)


def named(panel: Panel, query: str) -> Panel:
    """Returns the panel with the label `query`, unless the watch has a single nameless query."""
    if not query:
        return panel
    labels = tuple(labels_from(dict(one) | {"query": query}) for one in panel.labels)
    return Panel(grid=panel.grid, labels=labels, values=panel.values, left_out=panel.left_out)


def joined(panels: Sequence[Panel], *, most: int) -> Panel:
    """Returns one panel in label order, at most `most` series, the others counted."""
    if len(panels) == 1:
        return panels[0]
    whole = Panel(
        grid=panels[0].grid,
        labels=tuple(one for panel in panels for one in panel.labels),
        values=np.concatenate([panel.values for panel in panels]),
        left_out=sum(panel.left_out for panel in panels),
    )
    order = sorted(range(len(whole.labels)), key=whole.labels.__getitem__)
    chosen = whole.select(order[:most])
    return Panel(
        grid=chosen.grid,
        labels=chosen.labels,
        values=chosen.values,
        left_out=whole.left_out + max(0, len(order) - most),
    )


def slice_of(
    panel: Panel, *, shard: int, shards: int, owners: Sequence[Labels] | None = None
) -> Panel:
    """Returns the series that are this pod's.

    Args:
        panel: all of them.
        shard: which pod this is.
        shards: how many there are.
        owners: the labels that decide, one entry for each series; None for those of the series.
    """
    if shards == 1:
        return panel
    deciding = panel.labels if owners is None else owners
    mine = [row for row, labels in enumerate(deciding) if shard_of(labels, shards) == shard]
    return panel.select(mine)


class DataHash:
    """BLAKE2b over everything that was learned from, in the order of reading."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, watch_uid: str, panel: Panel) -> None:
        """Takes in one watch."""
        grid = panel.grid
        known_by = [watch_uid, grid.start, grid.step, grid.count, _plain(panel.labels)]
        self._hash.update(json.dumps(known_by, separators=(",", ":")).encode())
        # One bit pattern for NaN, whatever produced it.
        values = np.where(np.isnan(panel.values), np.nan, panel.values)
        self._hash.update(np.ascontiguousarray(values, dtype="<f8").tobytes())

    def hexdigest(self) -> str:
        """Returns 32 hexadecimal digits."""
        return self._hash.hexdigest()


def _plain(labels: Sequence[Labels]) -> list[dict[str, str]]:
    return [dict(one) for one in labels]
