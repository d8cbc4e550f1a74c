"""System anomalies: several series of one system anomalous at the same time (`anomaly_system`).

Series of a system belong to several watches and shards, each decided by another task or process,
so whoever changes one of its anomalies takes the system's lock, looks at all that are open, and
writes what follows; the lock goes with the transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

from metricwatch.store.connection import Connection
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import AnomalyState, StoredSystemAnomaly, SystemAnomaly


async def lock_system(connection: Connection, *, model_id: int, system: str) -> None:
    """Wait until nobody else decides about this system; holds until the transaction ends."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", f"system:{system}", model_id
    )


async def lock_system_of(connection: Connection, *, watch_id: int) -> None:
    """Lock the system of a watch, before any row of its anomalies.

    Whoever groups a system writes to anomalies of its other watches. Taking the system first and
    the rows after keeps two of them from waiting for each other.
    """
    await connection.execute(
        """
        SELECT pg_advisory_xact_lock(
            hashtextextended('system:' || (settings ->> 'system'), model_id))
        FROM watches WHERE id = $1
        """,
        watch_id,
    )


async def lock_watches(connection: Connection, *, watch_ids: Sequence[int]) -> None:
    """Take every lock of some watches that a decision takes, before they are removed.

    A decision holds its row of `decisions` and takes the system's lock after it. Whoever removes
    watches needs both as well, so takes them in the same order: the watches, which keeps new rows
    away, then all decisions, then all systems.
    """
    ids = list(watch_ids)
    await connection.execute(
        "SELECT 1 FROM watches WHERE id = ANY ($1) ORDER BY id FOR UPDATE", ids
    )
    await connection.execute(
        "SELECT 1 FROM decisions WHERE watch_id = ANY ($1) ORDER BY watch_id, shards, shard "
        "FOR UPDATE",
        ids,
    )
    await connection.execute(
        """
        SELECT pg_advisory_xact_lock(key) FROM (
            SELECT DISTINCT hashtextextended('system:' || (settings ->> 'system'), model_id) AS key
            FROM watches WHERE id = ANY ($1) ORDER BY key
        ) systems
        """,
        ids,
    )


async def lock_systems_of(
    connection: Connection, *, model_id: int, anomaly_ids: Sequence[int]
) -> None:
    """Lock the systems of some anomalies of a model, before any of their rows."""
    await connection.execute(
        """
        SELECT pg_advisory_xact_lock(key) FROM (
            SELECT DISTINCT hashtextextended('system:' || system, model_id) AS key
            FROM anomaly_points WHERE model_id = $1 AND id = ANY ($2) ORDER BY key
        ) systems
        """,
        model_id,
        list(anomaly_ids),
    )


async def read_open_system(
    connection: Connection, *, model_id: int, system: str
) -> StoredSystemAnomaly | None:
    """The system's anomaly that is not over, if there is one."""
    row = await connection.fetchrow(
        """
        SELECT s.id, s.state, s.severity, extract(epoch FROM s.started_at)::bigint AS started_at,
            ARRAY(SELECT p.id FROM anomaly_points p WHERE p.system_anomaly_id = s.id ORDER BY p.id)
                AS members
        FROM anomaly_system s
        WHERE s.model_id = $1 AND s.system = $2 AND s.state IN ('open', 'acknowledged')
        """,
        model_id,
        system,
    )
    if row is None:
        return None
    anomaly = SystemAnomaly(
        system=system,
        started_at=row["started_at"],
        ended_at=None,
        state=AnomalyState(row["state"]),
        severity=row["severity"],
        members=tuple(row["members"]),
    )
    return StoredSystemAnomaly(id=row["id"], anomaly=anomaly)


async def count_system_series(connection: Connection, *, model_id: int, system: str) -> int:
    """How many series the serving version scores in the watches of a system."""
    found = await connection.fetchval(
        """
        SELECT coalesce(sum(h.series), 0)::bigint FROM watches w
        JOIN models_info i ON i.id = w.model_id
        JOIN watch_health h ON h.watch_id = w.id AND h.version = i.serving_version
        WHERE w.model_id = $1 AND w.settings ->> 'system' = $2
        """,
        model_id,
        system,
    )
    return int(found)


async def open_members(
    connection: Connection, *, model_id: int, system: str
) -> Sequence[tuple[int, int, str]]:
    """Row id, start and severity of every anomaly of the system that is not over, oldest first."""
    rows = await connection.fetch(
        """
        SELECT id, extract(epoch FROM started_at)::bigint AS started_at, severity
        FROM anomaly_points
        WHERE model_id = $1 AND system = $2 AND state IN ('open', 'acknowledged')
        ORDER BY started_at, id
        """,
        model_id,
        system,
    )
    return [(row["id"], row["started_at"], row["severity"]) for row in rows]


async def write_system_anomaly(
    connection: Connection, *, model_id: int, anomaly: SystemAnomaly
) -> int | None:
    """Record a system anomaly as it is now, with its members; None when it ended already."""
    async with connection.transaction():
        row_id = await connection.fetchval(
            """
            INSERT INTO anomaly_system AS s (model_id, system, state, severity, started_at,
            ended_at) VALUES ($1, $2, $3, $4, to_timestamp($5), to_timestamp($6)) ON CONFLICT
            (model_id, system, started_at) DO UPDATE
                SET severity = excluded.severity, ended_at = excluded.ended_at,
                    state = CASE WHEN excluded.state = 'open' THEN s.state ELSE excluded.state END
                WHERE s.state IN ('open', 'acknowledged')
            RETURNING id
            """,
            model_id,
            anomaly.system,
            anomaly.state,
            anomaly.severity,
            anomaly.started_at,
            anomaly.ended_at,
        )
        if row_id is None:
            return None
        await connection.execute(
            """
            UPDATE anomaly_points SET system_anomaly_id = $1
            WHERE id = ANY ($2) AND model_id = $3 AND system_anomaly_id IS DISTINCT FROM $1
            """,
            row_id,
            list(anomaly.members),
            model_id,
        )
        await connection.execute(
            """
            UPDATE anomaly_system SET members =
                (SELECT count(*) FROM anomaly_points WHERE system_anomaly_id = $1) WHERE id = $1
            """,
            row_id,
        )
        await notify_model(connection, model_id)
    return int(row_id)
