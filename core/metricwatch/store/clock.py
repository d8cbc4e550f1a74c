"""The database's clock: one for all that processes do to rows by their age, wherever they run."""

from __future__ import annotations

from metricwatch.store.connection import Connection


async def read_time(connection: Connection) -> int:
    """Unix seconds."""
    now: int = await connection.fetchval("SELECT extract(epoch FROM now())::bigint")
    return now
