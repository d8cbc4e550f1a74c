"""Running a file of SQL as a whole, within the transaction of a migration."""

from __future__ import annotations

from importlib.resources import files

from alembic import op


def execute_file(name: str) -> None:
    """Execute every statement of a SQL file of this package.

    asyncpg prepares what SQLAlchemy executes, and a prepared statement is a single one; its own
    `execute` takes a script, so the file needs no splitting.
    """
    script = (files("metricwatch_migrations") / name).read_text(encoding="utf-8")
    adapted = op.get_bind().connection.dbapi_connection
    adapted.run_async(lambda connection: connection.execute(script))  # type: ignore[union-attr]
