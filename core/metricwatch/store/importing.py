"""A version that was trained somewhere else, added to a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metricwatch.store.artifacts import write_artifacts
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing, VersionConflict
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import Artifact, TrainingResult

IMPORTED = "Imported"
"""Reason of such a version. It is Retired: it serves when somebody pins it, never by itself."""


async def import_version(
    connection: Connection,
    *,
    model_id: int,
    request: Mapping[str, Any],
    request_hash: str,
    result: TrainingResult,
    trained_at: int,
    artifacts: Iterable[Artifact],
    message: str,
) -> int:
    """Add a version with its artifacts, all or nothing; return its number, the next free one.

    Raises:
        RowMissing: the model is not in the database.
        VersionConflict: the operator took the number in this moment; try again.
    """
    async with connection.transaction():
        locked = await connection.fetchval(
            "SELECT id FROM models_info WHERE id = $1 FOR UPDATE", model_id
        )
        if locked is None:
            raise RowMissing("the model was deleted")
        row = await connection.fetchrow(
            """
            INSERT INTO models (model_id, version, state, reason, message, request, request_hash,
                code_version, window_start, window_end, data_hash, seed, report, trained_at,
                retired_at)
            SELECT $1, coalesce(max(version), 0) + 1, 'Retired', $2, $3, $4, $5, $6,
                to_timestamp($7), to_timestamp($8), $9, $10, $11, to_timestamp($12), now()
            FROM models WHERE model_id = $1
            ON CONFLICT (model_id, version) DO NOTHING RETURNING id, version
            """,
            model_id,
            IMPORTED,
            message,
            request,
            request_hash,
            result.code_version,
            result.window_start,
            result.window_end,
            result.data_hash,
            result.seed,
            result.report,
            trained_at,
        )
        if row is None:
            raise VersionConflict("the operator made a version in this moment: try again")
        await write_artifacts(connection, version_id=row["id"], artifacts=artifacts)
        await notify_model(connection, model_id)
    version: int = row["version"]
    return version
