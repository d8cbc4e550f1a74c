"""Bringing a database to a revision: once, whoever asks and however often.

All revisions run in one transaction that begins with an advisory lock, so of several pods one
migrates and the others find nothing left to do, and a killed pod leaves no half of a schema.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

# "mwmigr" in ASCII; advisory locks are per database.
_LOCK = 0x6D776D696772
_SECONDS_BETWEEN_TRIES = 0.5
_TRIES_BETWEEN_WORDS = 10
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

Connect = Callable[[], Awaitable[Any]]
"""Opens an asyncpg connection."""


OLDEST_SERVER = 14
"""DETACH PARTITION … CONCURRENTLY, by which old scores go, came with PostgreSQL 14."""


class MigrationRefused(Exception):
    """The database cannot be brought to the revision that was asked for."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did: revisions before and after, None for an empty database."""

    before: str | None
    after: str | None


def newest_revision() -> str:
    """The revision that this package migrates to.

    >>> newest_revision() >= "0001"
    True
    """
    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def read_revision(connect: Connect) -> str | None:
    """The revision of a database; None when it was never migrated."""
    with _driver_errors():
        async with _engine(connect).connect() as connection:
            revision: str | None = await connection.run_sync(_current)
    return revision


async def migrate(
    connect: Connect,
    *,
    to: str = "head",
    allow_data_loss: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Migration:
    """Bring a database to a revision, `head` or a number or `base` (empty).

    Args:
        connect: opens a connection; nothing else is done with it.
        to: the revision wanted.
        allow_data_loss: go back to an older revision, which drops what is newer.
        say: told what is being waited for.

    Raises:
        MigrationRefused: either revision is unknown here, or data would be lost.
    """
    with _driver_errors():
        async with _engine(connect).begin() as connection:
            require_server(int(await connection.scalar(text("SHOW server_version_num"))))
            await _lock(connection, say)
            done: Migration = await connection.run_sync(_migrate, to, allow_data_loss)
    return done


def require_server(version_number: int) -> None:
    """Refuse a server that is too old, by its `server_version_num`.

    Raises:
        MigrationRefused: it is.

    >>> require_server(150_018)
    """
    if version_number // 10_000 < OLDEST_SERVER:
        raise MigrationRefused(
            f"this is PostgreSQL {version_number // 10_000}; {OLDEST_SERVER} or newer is needed"
        )


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Raise what asyncpg raised, not SQLAlchemy's wrapping of it: callers know one driver."""
    try:
        yield
    except DBAPIError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, _DRIVER_ERRORS):
            cause = cause.__cause__
        raise cause or error from error


def _engine(connect: Connect) -> Any:
    # One connection, closed at the end: the URL, TLS and all, is the caller's and asyncpg's.
    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)


async def _lock(connection: AsyncConnection, say: Callable[[str], None]) -> None:
    tries = 0
    while not await connection.scalar(
        text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK}
    ):
        if tries % _TRIES_BETWEEN_WORDS == 0:
            say("another migration of this database is running: waiting for it")
        tries += 1
        await asyncio.sleep(_SECONDS_BETWEEN_TRIES)


def _migrate(connection: Connection, to: str, allow_data_loss: bool) -> Migration:
    config = _config()
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    wanted = newest_revision() if to == "head" else to
    before = _current(connection)
    if before is not None and before not in known:
        raise MigrationRefused(
            f"the database has schema {before} and this release knows none newer than "
            f"{newest_revision()}: use the image that made it, or a newer one"
        )
    if wanted != "base" and wanted not in known:
        raise MigrationRefused(
            f"there is no revision {wanted}: known are {', '.join(sorted(known))}"
        )
    goes_back = before is not None and (wanted == "base" or wanted < before)
    if goes_back and not allow_data_loss:
        raise MigrationRefused(
            f"going back from {before} to {wanted} drops data: add --allow-data-loss if it may go"
        )
    if goes_back:
        command.downgrade(config, wanted)
    elif wanted != "base":
        command.upgrade(config, wanted)
    return Migration(before=before, after=_current(connection))


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("metricwatch_migrations")))
    return config
