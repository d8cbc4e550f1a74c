"""The trials that searches for parameters left behind, in Optuna's tables.

Trainers make and fill them (`metricwatch_optuna`); here they are only removed, by the name of
their study, `MODEL-UID/VERSION/…`. The operator needs no Optuna for that, and which tables hang on
a study is read from the database: releases of Optuna differ in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from metricwatch.store.connection import Connection, Row

SCHEMA = "metricwatch_optuna"

_TABLES = """
SELECT c.relname AS name, bool_or(a.attname = 'trial_id') AS of_trial
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
WHERE n.nspname = $1 AND c.relkind = 'r' AND a.attname IN ('study_id', 'trial_id')
GROUP BY c.relname ORDER BY c.relname
"""
_STUDIES = f"""
SELECT coalesce(array_agg(study_id), '{{}}') FROM {SCHEMA}.studies
WHERE split_part(study_name, '/', 1) = $1
    AND ($2::text[] IS NULL OR split_part(study_name, '/', 2) = ANY ($2))
"""  # noqa: S608 - a constant


async def forget_studies(
    connection: Connection, *, model_uid: str, versions: Collection[int] | None = None
) -> int:
    """Remove the studies of some versions of a model, or of all; return how many there were."""
    tables = await connection.fetch(_TABLES, SCHEMA)
    if not any(table["name"] == "studies" for table in tables):
        return 0
    wanted = None if versions is None else [str(version) for version in versions]
    async with connection.transaction():
        found: list[int] = await connection.fetchval(_STUDIES, model_uid, wanted)
        if found:
            for statement in _deletions(tables):
                await connection.execute(statement, found)
    return len(found)


def _deletions(tables: Collection[Row]) -> Iterator[str]:
    """What hangs on trials first, then trials and what else hangs on studies, then those."""
    # Names are from PostgreSQL's own catalogue, of a schema that only Optuna fills.
    for table in tables:
        if table["of_trial"] and table["name"] != "trials":
            yield (
                f'DELETE FROM {SCHEMA}."{table["name"]}" WHERE trial_id IN '  # noqa: S608
                f"(SELECT trial_id FROM {SCHEMA}.trials WHERE study_id = ANY ($1))"
            )
    rest = [table["name"] for table in tables if not table["of_trial"]]
    for name in ["trials", *(name for name in rest if name != "studies"), "studies"]:
        yield f'DELETE FROM {SCHEMA}."{name}" WHERE study_id = ANY ($1)'  # noqa: S608
