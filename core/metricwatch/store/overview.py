"""Everything the operator tells about a model and its watches, in one consistent look."""

from __future__ import annotations

from metricwatch.store.connection import Connection
from metricwatch.store.health import HEALTH_COLUMNS, health_of, present_sharding
from metricwatch.store.models import VERSION_COLUMNS, version_of
from metricwatch.store.pool import Database
from metricwatch.store.rows import ModelOverview, WatchHealth, WatchOverview

_MODEL = (
    "SELECT id, uid, namespace, name, generation, serving_version FROM models_info WHERE uid = $1"
)
_VERSIONS = f"""
SELECT {VERSION_COLUMNS.replace("report,", "report - 'series' AS report,")}
FROM models WHERE model_id = $1 ORDER BY version DESC
"""  # noqa: S608 - the columns are a constant
# A suspended model is passed over; its own place is counted all the same, for when it goes on.
# A version whose model went away without a word (its finalizer taken off by hand, its namespace no
# longer looked after) stays in training for ever: after a day nobody waits for it.
_QUEUE_POSITION = """
SELECT count(v.id) FROM (
    SELECT created_at, id FROM models WHERE model_id = $1 AND state = 'Training'
    ORDER BY version DESC LIMIT 1
) own
LEFT JOIN (models v JOIN models_info i ON i.id = v.model_id AND NOT i.suspended)
    ON v.state = 'Training' AND v.created_at > now() - interval '1 day'
        AND (v.created_at, v.id) < (own.created_at, own.id)
GROUP BY own.id
"""
_WATCHES = """
SELECT w.id, w.uid, w.namespace, w.name, w.generation,
    (SELECT coalesce(jsonb_object_agg(o.severity, o.count), '{}') FROM (
        SELECT severity, count(*) AS count FROM anomaly_points
        WHERE watch_uid = w.uid AND model_id = $1 AND state IN ('open', 'acknowledged')
            AND feedback IS DISTINCT FROM 'dismissed'
        GROUP BY severity) o) AS open_anomalies,
    (SELECT extract(epoch FROM max(started_at))::bigint FROM anomaly_points
        WHERE watch_uid = w.uid) AS last_anomaly_at
FROM watches w WHERE w.model_id = $1 ORDER BY w.namespace, w.name, w.id
"""
_HEALTH = f"""
SELECT {HEALTH_COLUMNS} FROM watch_health
WHERE watch_id IN (SELECT id FROM watches WHERE model_id = $1)
"""  # noqa: S608 - the columns are a constant


async def read_model_overview(database: Database, uid: str) -> ModelOverview | None:
    """The overview of the model with this Kubernetes uid; None when the database does not know it.

    Raises:
        StoreError: as `Database.acquire`.
    """
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        model = await connection.fetchrow(_MODEL, uid)
        if model is None:
            return None
        versions = tuple(version_of(row) for row in await connection.fetch(_VERSIONS, model["id"]))
        watches = await _read_watches(connection, model["id"])
        position: int | None = await connection.fetchval(_QUEUE_POSITION, model["id"])
    return ModelOverview(
        **dict(model), versions=versions, watches=watches, queue_position=position
    )


async def _read_watches(connection: Connection, model_id: int) -> tuple[WatchOverview, ...]:
    rows = await connection.fetch(_WATCHES, model_id)
    health: dict[int, list[WatchHealth]] = {row["id"]: [] for row in rows}
    for row in await connection.fetch(_HEALTH, model_id):
        health[row["watch_id"]].append(health_of(row))
    return tuple(
        WatchOverview(**dict(row), health=present_sharding(health[row["id"]])) for row in rows
    )
