"""The series that watches have found (`metrics`), and the short ids scores are stored under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metricwatch.series import Labels, series_id
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing


async def register_series(
    connection: Connection, *, watch_id: int, labels: Sequence[Labels]
) -> dict[Labels, int]:
    """The id of each series; new ones are recorded, known ones marked as seen now.

    Ask again every few hours for series in use: one not seen for long is forgotten (`retention`).

    Raises:
        RowMissing: the watch is not in the database (any more).
    """
    # By id: two versions that register the same series lock them in the same order.
    wanted = sorted({series_id(one): one for one in labels}.items())
    ids: dict[int, int] = {}
    # The watch first, not when the new rows are checked: whoever removes it locks it before them.
    rows = await connection.fetch(
        """
        WITH w AS MATERIALIZED (SELECT id, model_id FROM watches WHERE id = $1 FOR KEY SHARE)
        INSERT INTO metrics (model_id, watch_id, series_id, labels)
        SELECT w.model_id, w.id, s.series_id, s.labels
        FROM w, unnest($2::bigint[], $3::jsonb[]) AS s (series_id, labels)
        ON CONFLICT (watch_id, series_id) DO UPDATE SET last_seen = now()
        RETURNING series_id, id
        """,
        watch_id,
        [key for key, _ in wanted],
        [dict(one) for _, one in wanted],
    )
    ids = {row["series_id"]: row["id"] for row in rows}
    if len(ids) < len(wanted):
        raise RowMissing("the watch was removed while its series were being recorded")
    return {one: ids[key] for key, one in wanted}


async def read_series(connection: Connection, *, watch_id: int) -> dict[int, Labels]:
    """The labels of every series recorded for a watch, by id."""
    rows = await connection.fetch(
        "SELECT id, labels FROM metrics WHERE watch_id = $1 ORDER BY id", watch_id
    )
    return {row["id"]: labels_of(row["labels"]) for row in rows}


def labels_of(stored: Mapping[str, str]) -> Labels:
    """Labels as a row holds them, sorted by name; jsonb keeps an order of its own.

    >>> labels_of({"pod": "a", "__name__": "up"})
    (('__name__', 'up'), ('pod', 'a'))
    """
    return tuple(sorted(stored.items()))
