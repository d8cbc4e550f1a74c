"""Who turns scores into anomalies, and up to which tick (`decisions`).

Every running version scores; the serving one decides. Each slice of a watch has one row, locked
for the length of a decision, that says which tick was decided last. A decision reads the serving
version after it holds that lock, so around a change of version each tick is decided by exactly one
of the two, and of two replicas only the first one finds anything left to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing
from metricwatch.store.pool import Database
from metricwatch.store.rows import Slice


@dataclass(frozen=True, slots=True)
class Decision:
    """The right to decide for one slice of a watch, within one transaction.

    Attributes:
        connection: write anomalies through this one, and nothing else.
        serving: whether the asking version serves. If not, write nothing and keep the verdicts.
        decided_until: last tick decided, by whatever version, or the one before the first that was
            scored; None when nobody said. Ticks up to it are done; those after it, up to the
            newest, are to be decided now.
    """

    connection: Connection
    serving: bool
    decided_until: int | None
    watch_id: int
    part: Slice

    async def decided(self, until: int) -> None:
        """Record that every tick up to `until` (unix seconds) is decided; never goes back."""
        await self.connection.execute(
            """
            UPDATE decisions SET decided_until = greatest(decided_until, to_timestamp($4))
            WHERE watch_id = $1 AND shards = $2 AND shard = $3
            """,
            self.watch_id,
            self.part.shards,
            self.part.shard,
            until,
        )


@asynccontextmanager
async def deciding(
    database: Database, *, watch_id: int, part: Slice, version: int
) -> AsyncIterator[Decision]:
    """Ask for the right to decide; the block's writes and the new `decided_until` commit together.

    When the block or the commit fails nothing was decided (or, if only the answer was lost, all of
    it): ask again and look at `decided_until`.

    Raises:
        RowMissing: the watch was removed.
        StoreError: as `Database.acquire`.
    """
    async with database.transaction() as connection:
        if await _serving(connection, watch_id) != version:
            yield Decision(connection, False, None, watch_id, part)
            return
        until = await _lock(connection, watch_id, part)
        # Once more, now that no other decision of this slice can be under way.
        serving = await _serving(connection, watch_id) == version
        yield Decision(connection, serving, until, watch_id, part)


async def read_decided_until(connection: Connection, *, watch_id: int, part: Slice) -> int | None:
    """Last tick decided for a slice, without locking; None when none was."""
    until: int | None = await connection.fetchval(_SELECT, watch_id, part.shards, part.shard)
    return until


async def mark_start(database: Database, *, watch_id: int, part: Slice, before: int) -> None:
    """Record that scoring of a slice begins after a tick, unless something is recorded already.

    Whoever takes over before the first decision could be stored begins there, not at its own
    start, so that no tick falls between the two.

    Args:
        database: where to.
        watch_id: of the watch; nothing happens when it was removed.
        part: the slice.
        before: the tick before the first one to score, unix seconds.
    """
    async with database.acquire() as connection:
        await connection.execute(
            """
            INSERT INTO decisions AS d (watch_id, shards, shard, decided_until)
            SELECT id, $2, $3, to_timestamp($4) FROM watches WHERE id = $1
            ON CONFLICT (watch_id, shards, shard) DO UPDATE
            SET decided_until = excluded.decided_until WHERE d.decided_until IS NULL
            """,
            watch_id,
            part.shards,
            part.shard,
            before,
        )


# When the number of shards has changed, what another sharding decided is done as well: up to where
# its slowest slice stands, and what is decided again from there changes nothing.
_SELECT = """
SELECT extract(epoch FROM greatest(d.decided_until, (
    SELECT max(s.slowest) FROM (
        SELECT min(o.decided_until) AS slowest FROM decisions o
        WHERE o.watch_id = d.watch_id AND o.shards <> d.shards
        GROUP BY o.shards HAVING count(o.decided_until) = o.shards
    ) s
)))::bigint AS until
FROM decisions d WHERE d.watch_id = $1 AND d.shards = $2 AND d.shard = $3
"""


async def _serving(connection: Connection, watch_id: int) -> int | None:
    row = await connection.fetchrow(
        "SELECT i.serving_version FROM watches w JOIN models_info i ON i.id = w.model_id "
        "WHERE w.id = $1",
        watch_id,
    )
    if row is None:
        raise RowMissing("the watch was removed")
    serving: int | None = row["serving_version"]
    return serving


async def _lock(connection: Connection, watch_id: int, part: Slice) -> int | None:
    key = (watch_id, part.shards, part.shard)
    row = await connection.fetchrow(f"{_SELECT} FOR UPDATE OF d", *key)
    if row is None:
        await connection.execute(
            """
            INSERT INTO decisions (watch_id, shards, shard)
            SELECT id, $2, $3 FROM watches WHERE id = $1 ON CONFLICT DO NOTHING
            """,
            *key,
        )
        row = await connection.fetchrow(f"{_SELECT} FOR UPDATE OF d", *key)
    if row is None:
        raise RowMissing("the watch was removed")
    until: int | None = row["until"]
    return until
