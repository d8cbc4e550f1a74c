"""Which schema this release works with, and the check that the database has it.

The check runs on every new connection, so a migration or a downgrade that happens while a process
runs is noticed as soon as it connects again.
"""

from __future__ import annotations

import asyncpg

from metricwatch.store.connection import Connection
from metricwatch.store.errors import SchemaMismatch

EXPECTED_REVISION = "0003"
"""The newest revision in `metricwatch_migrations`; a test holds the two together."""


async def read_revision(connection: Connection) -> str | None:
    """The revision of the database's schema; None when it was never migrated."""
    try:
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return None if revision is None else str(revision)


def require_revision(found: str | None, *, expected: str = EXPECTED_REVISION) -> None:
    """Refuse a schema that is not exactly the expected one.

    Revisions are numbered, so an unknown one can be told to be newer.

    Raises:
        SchemaMismatch: it is missing, older or newer. The message says what to do.

    >>> require_revision("0001", expected="0001")
    """
    if found == expected:
        return
    if found is None:
        raise SchemaMismatch(
            f"the database has no schema yet and this release needs {expected}: "
            "run `metricwatch migrate`"
        )
    if found < expected:
        raise SchemaMismatch(
            f"the database has schema {found} and this release needs {expected}: "
            "run `metricwatch migrate` of this release"
        )
    raise SchemaMismatch(
        f"the database has schema {found}, newer than {expected} of this release: "
        "upgrade the image"
    )
