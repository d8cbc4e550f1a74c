"""The database as other rooms hold it: connections with timeouts, that come back by themselves.

Nothing is connected before it is needed, so a process starts while PostgreSQL is away. Every wait
is bounded: for a free connection, for connecting, for a statement (on both sides), for a lock. A
connection that broke or timed out is thrown away and the next `acquire` makes a new one, with the
URL read anew and the schema checked. Whatever goes wrong comes out as a `StoreError`; who calls
decides whether to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

import asyncpg

from metricwatch.store.connection import Connection, connect, prepare
from metricwatch.store.errors import StoreUnavailable, mapped_errors
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.schema import read_revision, require_revision


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: for a new connection, TLS and authentication included.
        acquire: for a connection from the pool, which may have to be made.
        command: for the answer to one statement.
        lock: for a lock within a statement.
    """

    connect: float = 4.0
    acquire: float = 5.0
    command: float = 15.0
    lock: float = 5.0


class Database:
    """PostgreSQL, through a small pool. Use it in the event loop that opened it.

    >>> location = DatabaseLocation(url="postgresql://me:secret@localhost/metrics")
    >>> Database(location, application_name="metricwatch")
    Database(DatabaseLocation(url='postgresql://localhost/metrics'))
    """

    def __init__(
        self,
        location: DatabaseLocation,
        *,
        application_name: str,
        max_connections: int = 4,
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        self._location = location
        self._application_name = application_name
        self._max_connections = max_connections
        self._timeouts = timeouts
        self._pool: Any = None

    async def open(self) -> Self:
        """Make the pool; connects to nothing yet."""
        if self._pool is None:
            self._pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self._max_connections,
                connect=self._connect_pooled,
                init=_admit,
            )
        return self

    async def close(self) -> None:
        """Give back every connection; those still in use after a moment are cut."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            # A server that does not answer is no reason to stay: close() itself cuts on timeout.
            await asyncio.wait_for(pool.close(), self._timeouts.connect)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Database({self._location!r})"

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection for the length of the block; each statement commits by itself.

        Raises:
            StoreUnavailable: none in time, or it broke or timed out within the block.
            SchemaMismatch: the tables are of another release.
            StoreError: PostgreSQL refused a statement within the block.
        """
        pool = self._pool
        if pool is None:
            raise StoreUnavailable("the database is closed in this process")
        with mapped_errors():
            connection = await pool.acquire(timeout=self._timeouts.acquire)
            try:
                yield connection
            except (TimeoutError, OSError):
                # The server may never answer: no point in asking it to cancel and waiting again.
                connection.terminate()
                raise
            finally:
                await pool.release(connection, timeout=self._timeouts.acquire)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, committed when the block ends well.

        Raises:
            StoreError: as `acquire`. When it is `StoreUnavailable` the commit may or may not have
                happened: what is written must bear being written again.
        """
        async with self.acquire() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """A connection outside the pool, for listening and for maintenance: a raw asyncpg one.

        Raises:
            StoreError: as `acquire`.
        """
        with mapped_errors():
            async with asyncio.timeout(self._timeouts.acquire):
                connection = await self._connect(None)
                try:
                    await _admit(connection)
                except BaseException:
                    connection.terminate()
                    raise
            try:
                yield connection
            finally:
                connection.terminate()

    async def check(self) -> None:
        """Find out whether the database answers and has the schema of this release.

        Raises:
            StoreUnavailable: it does not answer.
            SchemaMismatch: the tables are older or newer.
        """
        async with self.acquire() as connection:
            require_revision(await read_revision(connection))

    async def _connect_pooled(self, _url: object, **pool_arguments: Any) -> asyncpg.Connection:
        return await self._connect(self._timeouts.command, **pool_arguments)

    async def _connect(self, limit: float | None, **arguments: Any) -> asyncpg.Connection:
        """A raw connection whose statements may take `limit` seconds, or as long as they need."""
        return await connect(
            self._location,
            timeout=self._timeouts.connect,
            command_timeout=limit,
            server_settings=self._settings(limit),
            **arguments,
        )

    def _settings(self, limit: float | None) -> dict[str, str]:
        # In the start-up packet, because the pool's RESET ALL goes back to exactly these.
        return {
            "application_name": self._application_name,
            "statement_timeout": str(int((limit or 0) * 1000)),
            "lock_timeout": str(int(self._timeouts.lock * 1000)),
            "idle_in_transaction_session_timeout": str(int(2000 * self._timeouts.command)),
            # What a node that vanished without a word leaves behind, sessions and their locks, is
            # gone in a minute and not in two hours.
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "timezone": "UTC",
            # Compiling costs more than any of our statements takes.
            "jit": "off",
        }


async def _admit(connection: asyncpg.Connection) -> None:
    """Refuse a new connection to a database of another release; else make it speak JSON."""
    require_revision(await read_revision(cast(Connection, connection)))
    await prepare(connection)
