"""Watches: what detectors are asked to look at (`watches`).

A watch belongs to one model at a time. When it goes, or moves to another model, its open anomalies
are resolved in the same transaction: nobody will say again whether they are over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import ValidationError

from metricwatch.assignments import WatchSettings
from metricwatch.store.connection import Connection, Row
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import WatchRow
from metricwatch.store.systems import lock_watches


async def upsert_watch(
    connection: Connection,
    *,
    model_id: int,
    uid: str,
    namespace: str,
    name: str,
    generation: int,
    settings: WatchSettings,
) -> bool:
    """Record a watch of a model; False when the row says so already and nothing was written."""
    async with connection.transaction():
        # Moved here from another model: its series and anomalies belong to that one.
        elsewhere = await connection.fetch(
            "SELECT id, model_id FROM watches WHERE uid = $1 AND model_id <> $2", uid, model_id
        )
        for row in elsewhere:
            await _remove(connection, [row["id"]], model_id=row["model_id"])
        written = await connection.fetchval(
            """
            INSERT INTO watches (uid, model_id, namespace, name, generation, settings)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (uid) DO UPDATE
                SET generation = excluded.generation, settings = excluded.settings
                WHERE (watches.generation, watches.settings)
                    IS DISTINCT FROM (excluded.generation, excluded.settings)
            RETURNING id
            """,
            uid,
            model_id,
            namespace,
            name,
            generation,
            settings.to_row(),
        )
        if written is not None:
            await notify_model(connection, model_id)
    return written is not None


async def remove_watches(connection: Connection, *, model_id: int, keep: Collection[str]) -> int:
    """Remove a model's watches but those with the uids to `keep`; return how many were removed.

    Their open anomalies are resolved. Series, decisions and health go with them; anomalies stay,
    and stored scores age out.
    """
    async with connection.transaction():
        rows = await connection.fetch(
            "SELECT id FROM watches WHERE model_id = $1 AND NOT uid = ANY ($2)",
            model_id,
            list(keep),
        )
        if rows:
            await _remove(connection, [row["id"] for row in rows], model_id=model_id)
    return len(rows)


async def load_watches(connection: Connection, *, model_uid: str) -> tuple[WatchRow, ...]:
    """The watches of a model by id. One with settings that cannot be read takes no other down."""
    rows = await connection.fetch(
        """
        SELECT id, uid, namespace, name, generation, settings FROM watches
        WHERE model_id = (SELECT id FROM models_info WHERE uid = $1) ORDER BY id
        """,
        model_uid,
    )
    return tuple(_watch_of(row) for row in rows)


async def _remove(connection: Connection, ids: Sequence[int], *, model_id: int) -> None:
    await lock_watches(connection, watch_ids=ids)
    await connection.execute(
        """
        UPDATE anomaly_points
        SET state = 'resolved', ended_at = greatest(last_anomalous_at, started_at)
        WHERE state IN ('open', 'acknowledged')
            AND watch_uid IN (SELECT uid FROM watches WHERE id = ANY ($1))
        """,
        ids,
    )
    await connection.execute("DELETE FROM watches WHERE id = ANY ($1)", ids)
    await notify_model(connection, model_id)


def _watch_of(row: Row) -> WatchRow:
    settings, problem = None, ""
    try:
        settings = WatchSettings.from_row(row["settings"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"settings.{where}: {first['msg']}"
    return WatchRow(
        id=row["id"],
        uid=row["uid"],
        namespace=row["namespace"],
        name=row["name"],
        generation=row["generation"],
        settings=settings,
        problem=problem,
    )
