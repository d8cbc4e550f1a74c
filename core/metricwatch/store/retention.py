"""Forgetting: scores by whole days, series nobody has seen for long, models that were deleted."""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.store.connection import Connection
from metricwatch.store.partitions import DAY_SECONDS, drop_partitions
from metricwatch.store.pool import Database

BATCH_ROWS = 20_000
"""Rows deleted by one statement: far from any statement timeout, and locks are short."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What retention removed: partitions by name, and the number of series."""

    partitions: tuple[str, ...]
    series: int


async def apply_retention(database: Database, *, now: int, score_days: int) -> Forgotten:
    """Drop scores older than so many days, and series unseen for as long without an open anomaly.

    Safe to run from several processes at once. Anomalies stay.

    Raises:
        StoreError: as `Database.acquire`; what was removed stays removed.
    """
    before = now - score_days * DAY_SECONDS
    partitions = await drop_partitions(database, before=before)
    series = 0
    while True:
        async with database.acquire() as connection:
            removed = await _forget_series(connection, before=before)
        series += removed
        if removed < BATCH_ROWS:
            return Forgotten(partitions=partitions, series=series)


async def delete_model(database: Database, *, uid: str) -> bool:
    """Delete a model and all that belongs to it; False when the database does not know it.

    Scores go first, in batches, so that a large model does not run into a timeout; interrupted,
    the next call goes on. What a detector that is still ending writes meanwhile ages out.

    Raises:
        StoreError: as `Database.acquire`.
    """
    deleted = BATCH_ROWS
    while deleted >= BATCH_ROWS:
        async with database.acquire() as connection:
            deleted = await _delete_scores(connection, uid=uid)
    async with database.transaction() as connection:
        # Sent although the model will be gone: its detectors learn that they can stop.
        return (
            await connection.fetchval(
                """
            WITH deleted AS (DELETE FROM models_info WHERE uid = $1 RETURNING uid)
            SELECT count(pg_notify('metricwatch', uid)) > 0 FROM deleted
            """,
                uid,
            )
            is True
        )


async def _delete_scores(connection: Connection, *, uid: str) -> int:
    tag = await connection.execute(
        """
        DELETE FROM prediction_errors p
        USING (
            SELECT e.metric_id, e.version, e.ts
            FROM metrics m JOIN prediction_errors e ON e.metric_id = m.id
            WHERE m.model_id = (SELECT id FROM models_info WHERE uid = $1)
            LIMIT $2
        ) old
        WHERE (p.metric_id, p.version, p.ts) = (old.metric_id, old.version, old.ts)
        """,
        uid,
        BATCH_ROWS,
    )
    return int(tag.rsplit(" ", 1)[1])


async def _forget_series(connection: Connection, *, before: int) -> int:
    tag = await connection.execute(
        """
        DELETE FROM metrics WHERE id IN (
            SELECT m.id FROM metrics m
            WHERE m.last_seen < to_timestamp($1) AND NOT EXISTS (
                SELECT 1 FROM anomaly_points p
                WHERE p.metric_id = m.id AND p.state IN ('open', 'acknowledged'))
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        """,
        before,
        BATCH_ROWS,
    )
    return int(tag.rsplit(" ", 1)[1])
