"""Forgetting versions that are over, with everything that was stored for them.

Scores go first, a few series and one day at a time, and then the version itself with its
artifacts, what detectors said of it, and the trials of its search. Interrupted anywhere, the next
call finds the version still there and goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.models import model_id_of
from metricwatch.store.notify import notify_model
from metricwatch.store.partitions import DAY_SECONDS, list_days
from metricwatch.store.pool import Database
from metricwatch.store.studies import forget_studies

PRUNE_SECONDS = 2.0
"""How long one call goes on deleting: who calls has other things to do for this model."""
BATCH_SERIES = 20
"""Series whose scores of one day one statement deletes: 28,800 rows at one a minute."""

_MAY_BE_PRUNED = (VersionState.RETIRED, VersionState.FAILED, VersionState.REJECTED)

# The newest version of all stays whatever its state, so that no number is ever given twice. What a
# serving version may be rolled back to stays as well, whoever forgets to say so.
_DOOMED = """
SELECT version FROM (
    SELECT version FROM models WHERE model_id = $1 AND state = ANY ($2) AND NOT version = ANY ($4)
        AND version < (SELECT max(version) FROM models WHERE model_id = $1)
    ORDER BY version DESC OFFSET $3
) old
WHERE version NOT IN (
    SELECT replaced FROM models
    WHERE model_id = $1 AND state = 'Serving' AND replaced IS NOT NULL)
ORDER BY version
"""
# Probed series by series along the primary key, from the first one that still has scores.
_DELETE_SCORES = """
DELETE FROM prediction_errors WHERE metric_id = ANY (ARRAY(
    SELECT m.id FROM metrics m CROSS JOIN LATERAL (
        SELECT 1 FROM prediction_errors e
        WHERE e.metric_id = m.id AND e.version = $2
            AND e.ts >= to_timestamp($3) AND e.ts < to_timestamp($4) LIMIT 1) has
    WHERE m.model_id = $1 ORDER BY m.id LIMIT $5))
AND version = $2 AND ts >= to_timestamp($3) AND ts < to_timestamp($4)
"""


async def prune_versions(
    database: Database,
    *,
    model_uid: str,
    keep: int,
    protect: Collection[int] = (),
    seconds: float = PRUNE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[int, ...]:
    """Delete all but the `keep` newest versions that are over; return the deleted numbers.

    Args:
        database: where they are.
        model_uid: Kubernetes uid of the model.
        keep: how many stay, not counting those of `protect`.
        protect: versions that stay whatever their age.
        seconds: after so long what is left stays for the next call.
        clock: seconds, only ever growing.

    Raises:
        RowMissing: the model is not in the database.
        StoreError: as `Database.acquire`; what was deleted stays deleted.
    """
    started = clock()
    async with database.acquire() as connection:
        model_id = await model_id_of(connection, model_uid)
        rows = await connection.fetch(_DOOMED, model_id, list(_MAY_BE_PRUNED), keep, list(protect))
    deleted: list[int] = []
    for row in rows:
        version: int = row["version"]
        while not await _delete_scores(database, model_id=model_id, version=version):
            if clock() - started >= seconds:
                return tuple(deleted)
        if await _delete_version(database, model_uid=model_uid, version=version):
            deleted.append(version)
    return tuple(deleted)


async def _delete_scores(database: Database, *, model_id: int, version: int) -> bool:
    """Delete one batch of a version's scores; True when there are none left."""
    async with database.acquire() as connection:
        for day in await list_days(connection):
            tag = await connection.execute(
                _DELETE_SCORES,
                model_id,
                version,
                day * DAY_SECONDS,
                (day + 1) * DAY_SECONDS,
                BATCH_SERIES,
            )
            if tag != "DELETE 0":
                return False
    return True


async def _delete_version(database: Database, *, model_uid: str, version: int) -> bool:
    async with database.transaction() as connection:
        model_id = await model_id_of(connection, model_uid)
        # Looked at again: it may have been pinned since, and serves.
        gone = await connection.fetchval(
            "DELETE FROM models WHERE model_id = $1 AND version = $2 AND state = ANY ($3) "
            "RETURNING true",
            model_id,
            version,
            list(_MAY_BE_PRUNED),
        )
        if gone is None:
            return False
        await connection.execute(
            "DELETE FROM watch_health WHERE version = $2 "
            "AND watch_id IN (SELECT id FROM watches WHERE model_id = $1)",
            model_id,
            version,
        )
        await forget_studies(connection, model_uid=model_uid, versions=(version,))
        await notify_model(connection, model_id)
    return True
