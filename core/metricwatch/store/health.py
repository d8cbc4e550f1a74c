"""How detectors fare with each watch (`watch_health`): written every tick."""

from __future__ import annotations

from collections.abc import Sequence

from metricwatch.store.connection import Connection, Row
from metricwatch.store.rows import HealthState, Slice, WatchHealth

# `before` sees the row as it was: all parts of a statement work on one snapshot.
_RECORD = """
WITH before AS (
    SELECT state, message FROM watch_health
    WHERE watch_id = $1 AND version = $2 AND shards = $3 AND shard = $4
), written AS (
    INSERT INTO watch_health (watch_id, version, shards, shard, state, message, series, left_out,
        scored_at, last_sample_at, lag_seconds, drift)
    SELECT id, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9), to_timestamp($10), $11, $12
    FROM watches WHERE id = $1
    ON CONFLICT (watch_id, version, shards, shard) DO UPDATE SET
        state = excluded.state, message = excluded.message, series = excluded.series,
        left_out = excluded.left_out, lag_seconds = excluded.lag_seconds, drift = excluded.drift,
        scored_at = coalesce(excluded.scored_at, watch_health.scored_at),
        last_sample_at = coalesce(excluded.last_sample_at, watch_health.last_sample_at),
        updated_at = now()
    RETURNING watch_id, state, message
)
SELECT pg_notify('metricwatch', i.uid)
FROM written n JOIN watches w ON w.id = n.watch_id JOIN models_info i ON i.id = w.model_id
WHERE NOT EXISTS (SELECT 1 FROM before b WHERE (b.state, b.message) = (n.state, n.message))
"""
HEALTH_COLUMNS = """
    watch_id, version, shards, shard, state, message, series, left_out, lag_seconds,
    drift, extract(epoch FROM scored_at)::bigint AS scored_at,
    extract(epoch FROM last_sample_at)::bigint AS last_sample_at,
    extract(epoch FROM updated_at)::bigint AS updated_at
"""


async def record_health(connection: Connection, health: WatchHealth) -> None:
    """Record how a slice of a watch fares; notifies only when its state or message is another.

    A time of None leaves the one recorded before. Nothing happens when the watch was removed.
    """
    await connection.execute(
        _RECORD,
        health.watch_id,
        health.version,
        health.part.shards,
        health.part.shard,
        health.state,
        health.message,
        health.series,
        health.left_out,
        health.scored_at,
        health.last_sample_at,
        health.lag_seconds,
        health.drift,
    )


async def read_health(connection: Connection, *, watch_id: int) -> tuple[WatchHealth, ...]:
    """The health of a watch, newest version first; of each version its present sharding only."""
    rows = await connection.fetch(
        f"SELECT {HEALTH_COLUMNS} FROM watch_health WHERE watch_id = $1",  # noqa: S608 - constant
        watch_id,
    )
    return present_sharding([health_of(row) for row in rows])


def health_of(row: Row) -> WatchHealth:
    """A health from a row with `HEALTH_COLUMNS`."""
    return WatchHealth(
        watch_id=row["watch_id"],
        version=row["version"],
        part=Slice(shards=row["shards"], shard=row["shard"]),
        state=HealthState(row["state"]),
        message=row["message"],
        series=row["series"],
        left_out=row["left_out"],
        scored_at=row["scored_at"],
        last_sample_at=row["last_sample_at"],
        lag_seconds=row["lag_seconds"],
        updated_at=row["updated_at"],
        drift=row["drift"],
    )


def present_sharding(rows: Sequence[WatchHealth]) -> tuple[WatchHealth, ...]:
    """Of each version, only the shards of the sharding that was heard of last."""
    newest: dict[int, WatchHealth] = {}
    for row in rows:
        if row.version not in newest or row.updated_at > newest[row.version].updated_at:
            newest[row.version] = row
    present = [row for row in rows if row.part.shards == newest[row.version].part.shards]
    return tuple(sorted(present, key=lambda row: (-row.version, row.part.shard)))
