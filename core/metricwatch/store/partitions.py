"""The day partitions of `prediction_errors`: made ahead, made on demand, dropped when old.

A partition is made as a table of its own and then attached, because ATTACH lets writers go on
while CREATE … PARTITION OF waits for all of them and makes all others wait. Makers are serialised
by an advisory lock, so any number of processes may try at once. There is no default partition:
DETACH CONCURRENTLY, by which old days go without a pause for writers, does not work with one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from metricwatch.store.connection import Connection
from metricwatch.store.pool import Database

DAY_SECONDS = 86_400
TABLE = "prediction_errors"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# "mwpart" in ASCII: one number for all partition makers of a database.
_LOCK = 0x6D7770617274

_LISTING = f"""
SELECT c.relname AS name, i.inhdetachpending AS pending
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = '{TABLE}'::regclass ORDER BY c.relname
"""  # noqa: S608 - constants only

# Also those that a process detached and was stopped before it dropped them.
_TABLES = f"""
SELECT c.relname AS name FROM pg_class c
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = '{TABLE}'::regclass)
    AND c.relkind = 'r' AND c.relname ~ '^{TABLE}_[0-9]{{8}}$' AND c.relname < $1
ORDER BY c.relname
"""  # noqa: S608 - constants only


def partition_name(day: int) -> str:
    """Name of the partition of a day counted from 1970-01-01 UTC.

    >>> partition_name(20_000)
    'prediction_errors_20241004'
    """
    return f"{TABLE}_{_EPOCH + timedelta(days=day):%Y%m%d}"


async def list_partitions(connection: Connection) -> tuple[str, ...]:
    """Names of the partitions that writers see, oldest first."""
    return tuple(row["name"] for row in await connection.fetch(_LISTING) if not row["pending"])


async def list_days(connection: Connection) -> tuple[int, ...]:
    """Days that have a partition, counted from 1970-01-01 UTC, oldest first."""
    names = await list_partitions(connection)
    dates = (datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC) for name in names)
    return tuple((date - _EPOCH).days for date in dates)


async def ensure_partitions(connection: Connection, *, now: int, days_ahead: int = 2) -> None:
    """Make the partitions of yesterday (late samples), today and the days ahead, where missing."""
    today = now // DAY_SECONDS
    await create_partitions(connection, days=range(today - 1, today + days_ahead + 1))


async def create_partitions(connection: Connection, *, days: Iterable[int]) -> None:
    """Make the partitions of these days (counted from 1970-01-01 UTC), where missing."""
    present = set(await list_partitions(connection))
    missing = [day for day in sorted(days) if partition_name(day) not in present]
    if not missing:
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        present = {row["name"] for row in await connection.fetch(_LISTING)}
        for day in missing:
            name = partition_name(day)
            if name in present:
                continue
            first, last = (_EPOCH + timedelta(days=count) for count in (day, day + 1))
            # Identifiers and bounds cannot be parameters; both are made from an integer here.
            await connection.execute(
                f"CREATE TABLE IF NOT EXISTS {name} (LIKE {TABLE} INCLUDING CONSTRAINTS);"
                f"ALTER TABLE {TABLE} ATTACH PARTITION {name} "
                f"FOR VALUES FROM ('{first.isoformat()}') TO ('{last.isoformat()}')"
            )


async def drop_partitions(database: Database, *, before: int) -> tuple[str, ...]:
    """Drop the partitions of days over before `before` (unix seconds); return their names.

    Safe while others write, and when another process does the same or was stopped half-way.

    Raises:
        StoreError: PostgreSQL is away or refused; what was dropped stays dropped.
    """
    limit = partition_name(before // DAY_SECONDS)
    dropped = []
    async with database.connect() as connection:
        # A session lock: DETACH CONCURRENTLY refuses to run within a transaction.
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return ()
        attached = {row["name"]: row["pending"] for row in await connection.fetch(_LISTING)}
        for row in await connection.fetch(_TABLES, limit):
            name = row["name"]
            if name in attached:
                how = "FINALIZE" if attached[name] else "CONCURRENTLY"
                await connection.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {name} {how}")
            await connection.execute(f"DROP TABLE {name}")
            dropped.append(name)
    return tuple(dropped)
