"""Telling the other processes that something of a model changed.

The payload is the model's uid. A notification is sent when its transaction commits, once for each
model however often it was asked for; who misses one finds out by polling.
"""

from __future__ import annotations

from metricwatch.store.connection import Connection

CHANNEL = "metricwatch"


async def notify_model(connection: Connection, model_id: int) -> None:
    """Notify about the model with this row id; nothing happens when it is gone."""
    await connection.execute(
        "SELECT pg_notify($1, uid) FROM models_info WHERE id = $2", CHANNEL, model_id
    )
