"""A training run that several pods share (`training_shards`).

Each pod stores its slice when it has learned it: artifacts and result, all or nothing. Whoever
comes last makes the version of them in the same transaction, so a version is there whole or not
at all, and a pod that is started again finds what it stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.artifacts import CHUNK_SECONDS, write_artifacts
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing, TransitionRefused
from metricwatch.store.models import finish_training
from metricwatch.store.rows import Artifact, Slice, TrainingResult

Merge = Callable[[Sequence[TrainingResult]], TrainingResult]

_LOCKS = 7_274_019
"""The class of the advisory locks that let one pod at a time see whether it is the last."""


async def has_trained(connection: Connection, *, version_id: int, part: Slice) -> bool:
    """Whether this slice of a version is stored already."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM training_shards "
            "WHERE models_row = $1 AND shard = $2 AND shards = $3)",
            version_id,
            part.shard,
            part.shards,
        )
    )


async def record_shard(
    connection: Connection,
    *,
    version_id: int,
    part: Slice,
    result: TrainingResult,
    artifacts: Iterable[Artifact],
    merge: Merge,
) -> TrainingResult | None:
    """Store what one pod of a run made; the last of them makes the version.

    Storing again replaces what an earlier, interrupted pod of the same slice stored. Pods upload
    at the same time; only who is last is found out one by one.

    Args:
        connection: of the trainer.
        version_id: row of the version.
        part: whose result it is. What runs of another number of pods left is deleted.
        result: of this pod.
        artifacts: of this pod, each with the number of its shard; may be a generator.
        merge: makes one result of all, in the order of the shards. What it raises undoes the
            storing of this slice.

    Returns:
        The result of the whole run, None while other pods are still to come.

    Raises:
        TransitionRefused: the version is no longer in training.
        RowMissing: the version was deleted meanwhile.
    """
    async with connection.transaction():
        await _check_training(connection, version_id)
        await write_artifacts(
            connection, version_id=version_id, artifacts=artifacts, shard=part.shard
        )
        # Before the row itself: its key is held for the artifacts, by every pod that uploads.
        await connection.execute(
            "SELECT pg_advisory_xact_lock($1, $2)",
            _LOCKS,
            version_id % 2**31,
            timeout=CHUNK_SECONDS,
        )
        model_id = await _check_training(connection, version_id, lock="FOR NO KEY UPDATE")
        results = await _write_result(connection, version_id, part, result)
        if len(results) < part.shards:
            return None
        merged = merge(results)
        # What a run of more pods stored, before the number was changed.
        await connection.execute(
            "DELETE FROM model_artifacts WHERE models_row = $1 AND shard >= $2",
            version_id,
            part.shards,
        )
        await finish_training(connection, version_id=version_id, model_id=model_id, result=merged)
        await connection.execute("DELETE FROM training_shards WHERE models_row = $1", version_id)
    return merged


async def _check_training(connection: Connection, version_id: int, *, lock: str = "") -> int:
    """Make sure that the version is in training; return its model's row id."""
    row = await connection.fetchrow(
        f"SELECT state, model_id FROM models WHERE id = $1 {lock}",  # noqa: S608 - a constant
        version_id,
    )
    if row is None:
        raise RowMissing("the version was deleted while it was being trained")
    if row["state"] != VersionState.TRAINING:
        raise TransitionRefused(f"the version is {row['state']}, no longer in training")
    return int(row["model_id"])


async def _write_result(
    connection: Connection, version_id: int, part: Slice, result: TrainingResult
) -> list[TrainingResult]:
    """Add the result of one pod; return all there are, by shard."""
    await connection.execute(
        "DELETE FROM training_shards WHERE models_row = $1 AND (shards <> $2 OR shard = $3)",
        version_id,
        part.shards,
        part.shard,
    )
    await connection.execute(
        "INSERT INTO training_shards (models_row, shard, shards, result) VALUES ($1, $2, $3, $4)",
        version_id,
        part.shard,
        part.shards,
        asdict(result),
    )
    rows = await connection.fetch(
        "SELECT result FROM training_shards WHERE models_row = $1 ORDER BY shard", version_id
    )
    return [TrainingResult(**row["result"]) for row in rows]
