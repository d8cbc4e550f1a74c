"""Forgetting: scores by whole days, series nobody has seen for long, models that were deleted."""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.store.connection import Connection
from metricwatch.store.orphans import forget_orphans
from metricwatch.store.partitions import DAY_SECONDS, drop_partitions, list_days
from metricwatch.store.pool import Database
from metricwatch.store.studies import forget_studies
from metricwatch.store.systems import lock_watches

BATCH_ROWS = 20_000
"""Series forgotten by one statement: far from any statement timeout, and locks are short."""
BATCH_SERIES = 20
"""Series whose scores of one day one statement deletes: 28,800 rows a version at one a minute."""

_METRICS = """
SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM metrics
WHERE model_id = (SELECT id FROM models_info WHERE uid = $1)
"""
_WATCHES = "SELECT id FROM watches WHERE model_id = (SELECT id FROM models_info WHERE uid = $1)"
_DELETE_SCORES = """
DELETE FROM prediction_errors
WHERE metric_id = ANY ($1) AND ts >= to_timestamp($2) AND ts < to_timestamp($3)
"""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What retention removed.

    Attributes:
        partitions: by name.
        series: how many nobody has seen for long.
        orphans: how many scores of series that went before.
    """

    partitions: tuple[str, ...]
    series: int
    orphans: int


async def apply_retention(database: Database, *, now: int, score_days: int) -> Forgotten:
    """Drop scores older than so many days, and series unseen for as long without an open anomaly.

    Scores of series that are gone go too, however new they are.

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
            break
    orphans = await forget_orphans(database)
    return Forgotten(partitions=partitions, series=series, orphans=orphans)


async def delete_model(database: Database, *, uid: str) -> bool:
    """Delete a model and all that belongs to it; False when the database does not know it.

    Scores go first, in batches, so that a large model does not run into a timeout; interrupted,
    the next call goes on. What a watch left that was removed before, and what a detector that is
    still ending writes meanwhile, is for `forget_orphans`.

    Raises:
        StoreError: as `Database.acquire`.
    """
    async with database.acquire() as connection:
        days = await list_days(connection)
        metrics = await connection.fetchval(_METRICS, uid)
    # By day and a few series, along the index: what was deleted already is never looked at again.
    for day in days:
        for first in range(0, len(metrics), BATCH_SERIES):
            async with database.acquire() as connection:
                batch = metrics[first : first + BATCH_SERIES]
                await connection.execute(
                    _DELETE_SCORES, batch, day * DAY_SECONDS, (day + 1) * DAY_SECONDS
                )
    async with database.transaction() as connection:
        watches = await connection.fetch(_WATCHES, uid)
        await lock_watches(connection, watch_ids=[row["id"] for row in watches])
        await forget_studies(connection, model_uid=uid)
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
