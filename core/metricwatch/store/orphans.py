"""Scores whose series is gone: left by a watch that was removed, or by a detector still ending.

No foreign key guards scores, because checking it costs more than it guards, and a watch may have
more of them than one transaction should delete. So they are looked for: series by series along
the index, whatever the number of rows between, and then deleted a few series at a time.
"""

from __future__ import annotations

from metricwatch.store.connection import Connection
from metricwatch.store.partitions import list_partitions
from metricwatch.store.pool import Database

BATCH_SERIES = 20
"""Series whose scores of one day one statement deletes: 28,800 rows a version at one a minute."""

# Each step jumps to the next series in the index. Its row in `metrics` was there before the first
# score, and ids are never given twice: what has no row now has none for ever.
_ORPHANS = """
WITH RECURSIVE scored AS (
    (SELECT metric_id FROM {table} ORDER BY metric_id LIMIT 1)
    UNION ALL
    SELECT (SELECT p.metric_id FROM {table} p WHERE p.metric_id > s.metric_id
        ORDER BY p.metric_id LIMIT 1)
    FROM scored s WHERE s.metric_id IS NOT NULL
)
SELECT s.metric_id FROM scored s
WHERE s.metric_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM metrics m WHERE m.id = s.metric_id)
"""


async def forget_orphans(database: Database) -> int:
    """Delete scores of series that are not known; return how many there were.

    Safe while others write, and from several processes at once; interrupted, the next call goes
    on.

    Raises:
        StoreError: as `Database.acquire`; what was deleted stays deleted.
    """
    deleted = 0
    async with database.acquire() as connection:
        tables = await list_partitions(connection)
    for table in tables:
        async with database.acquire() as connection:
            rows = await connection.fetch(_ORPHANS.format(table=table))
            series = [row["metric_id"] for row in rows]
            for first in range(0, len(series), BATCH_SERIES):
                deleted += await _delete(connection, table, series[first : first + BATCH_SERIES])
    return deleted


async def _delete(connection: Connection, table: str, series: list[int]) -> int:
    # The name of a partition is made from a date, by us.
    tag = await connection.execute(
        f"DELETE FROM {table} WHERE metric_id = ANY ($1)",  # noqa: S608
        series,
    )
    return int(tag.rsplit(" ", 1)[1])
