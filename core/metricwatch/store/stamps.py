"""A stamp for each model: another one when something else of it is to be told than before.

The operator looks at a model when it hears of something. What nobody tells of (series that come,
anomalies that open, drift) it finds by these stamps: one statement for all models instead of a
look at each. Times that go on with every tick are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from metricwatch.store.pool import Database

# `xmin` is the transaction that wrote a row last. `newest` is the sharding that was heard of last:
# what detectors of another one reported is no longer looked at.
_STAMPS = """
WITH health AS (
    SELECT w.model_id, h.watch_id, h.version, h.shards, h.shard, h.state, h.message, h.series,
        h.left_out, h.drift, h.scored_at, h.last_sample_at,
        first_value(h.shards) OVER (
            PARTITION BY h.watch_id, h.version ORDER BY h.updated_at DESC, h.shards
        ) AS newest
    FROM watch_health h JOIN watches w ON w.id = h.watch_id
), health_of AS (
    SELECT model_id, string_agg(
        concat_ws('|', watch_id, version, shards, shard, state, message, series, left_out,
            drift, scored_at IS NULL, last_sample_at IS NULL),
        E'\\n' ORDER BY watch_id, version, shards, shard) AS text
    FROM health WHERE shards = newest GROUP BY model_id
), versions_of AS (
    SELECT model_id, string_agg(version || ':' || xmin, ',' ORDER BY version) AS text
    FROM models GROUP BY model_id
), open_of AS (
    SELECT model_id, string_agg(concat_ws('|', watch_uid, severity, count),
        ',' ORDER BY watch_uid, severity) AS text
    FROM (SELECT model_id, watch_uid, severity, count(*) AS count FROM anomaly_points
        WHERE state IN ('open', 'acknowledged') AND feedback IS DISTINCT FROM 'dismissed'
        GROUP BY model_id, watch_uid, severity) counted
    GROUP BY model_id
), watches_of AS (
    SELECT w.model_id, string_agg(concat_ws('|', w.id, w.generation,
        (SELECT max(started_at) FROM anomaly_points WHERE watch_uid = w.uid)),
        ',' ORDER BY w.id) AS text
    FROM watches w GROUP BY w.model_id
)
SELECT i.uid, md5(concat_ws('#', i.generation, i.serving_version, i.suspended, v.text, w.text,
    coalesce(o.text, '-'), coalesce(h.text, '-'))) AS stamp
FROM models_info i
LEFT JOIN versions_of v ON v.model_id = i.id
LEFT JOIN watches_of w ON w.model_id = i.id
LEFT JOIN open_of o ON o.model_id = i.id
LEFT JOIN health_of h ON h.model_id = i.id
"""


async def read_stamps(database: Database) -> Mapping[str, str]:
    """The stamp of each model, by its Kubernetes uid.

    Raises:
        StoreError: as `Database.acquire`.
    """
    async with database.acquire() as connection:
        rows = await connection.fetch(_STAMPS)
    return {row["uid"]: row["stamp"] for row in rows}
