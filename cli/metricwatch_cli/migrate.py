"""`metricwatch migrate`: bring the database's schema to what this release needs.

Safe to run again and from several pods at once. It waits for a database that is still starting, so
it can run as a Helm hook beside one.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

import asyncpg

from metricwatch.store.connection import connect
from metricwatch.store.errors import (
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
    mapped_errors,
)
from metricwatch.store.location import URL_FILE_VARIABLE, URL_VARIABLE, DatabaseLocation

_PAUSE = 1.0
_CONNECT_SECONDS = 5.0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the subcommand."""
    parser = subparsers.add_parser(
        "migrate",
        help="bring the database's schema to what this release needs",
        description="Bring the database's schema to what this release needs. The database is the "
        f"one of {URL_FILE_VARIABLE} (a file with a PostgreSQL URL) or {URL_VARIABLE}. Safe to "
        "run again, and from several places at once.",
    )
    parser.add_argument(
        "--to",
        default="head",
        metavar="REVISION",
        help="a revision or base; else the newest",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for a database that does not answer (default: 60)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit with 1 when the schema is not the one this release needs",
    )
    parser.add_argument(
        "--allow-data-loss", action="store_true", help="let --to go back to an older revision"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Migrate or check; 1 when the schema is not as it should be afterwards."""
    return asyncio.run(_run(options, os.environ))


async def _run(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    # Not at the top: other subcommands have no use for SQLAlchemy.
    from metricwatch_migrations.apply import MigrationRefused

    deadline = time.monotonic() + options.wait
    waiting = False
    while True:
        try:
            location = DatabaseLocation.from_environment(environment)
            with mapped_errors():
                return await (_check(location) if options.check else _migrate(location, options))
        except StoreMisconfigured as error:
            return _fail(str(error))
        except StoreUnavailable as error:
            if time.monotonic() >= deadline:
                return _fail(str(error))
            if not waiting:
                _say(f"waiting up to {options.wait:.0f} s for the database: {error}")
            waiting = True
            await asyncio.sleep(_PAUSE)
        except (StoreError, MigrationRefused) as error:
            return _fail(str(error))


async def _migrate(location: DatabaseLocation, options: argparse.Namespace) -> int:
    from metricwatch_migrations.apply import migrate

    started = time.monotonic()
    done = await migrate(
        _connector(location), to=options.to, allow_data_loss=options.allow_data_loss, say=_say
    )
    if done.before == done.after:
        _say(f"the schema is {done.after or 'empty'} already: nothing to do")
    else:
        seconds = time.monotonic() - started
        change = f"{done.before or 'empty'} → {done.after or 'empty'}"
        _say(f"migrated the schema: {change} ({seconds:.1f} s)")
    return 0


async def _check(location: DatabaseLocation) -> int:
    from metricwatch.store.schema import require_revision
    from metricwatch_migrations.apply import read_revision

    found = await read_revision(_connector(location))
    require_revision(found)
    _say(f"the schema is {found}, as this release needs it")
    return 0


def _connector(location: DatabaseLocation) -> Callable[[], Awaitable[asyncpg.Connection]]:
    async def open_connection() -> asyncpg.Connection:
        settings = {"application_name": "metricwatch migrate", "timezone": "UTC"}
        return await connect(location, timeout=_CONNECT_SECONDS, server_settings=settings)

    return open_connection


def _say(message: str) -> None:
    # Flushed line by line: in a pod's log waiting is seen while it lasts.
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def _fail(message: str) -> int:
    sys.stderr.write(f"metricwatch migrate: {message}\n")
    return 1
