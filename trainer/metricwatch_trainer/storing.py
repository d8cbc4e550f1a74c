"""Storing what a pod learned: the whole version, or a slice of it that others complete."""

from __future__ import annotations

from collections.abc import Iterable

from metricwatch.store.models import record_training
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, Slice, TrainingResult, Version
from metricwatch.store.training_shards import has_trained, record_shard
from metricwatch_trainer.merging import merge_results
from metricwatch_trainer.refusal import nothing_learned


async def is_stored(database: Database, version: Version, part: Slice) -> bool:
    """Returns whether an earlier pod stored this slice before it was cut off."""
    if part.shards == 1:
        return False
    async with database.acquire() as connection:
        return await has_trained(connection, version_id=version.id, part=part)


async def store_result(
    database: Database,
    version: Version,
    part: Slice,
    result: TrainingResult,
    artifacts: Iterable[Artifact],
) -> TrainingResult | None:
    """Stores what this pod learned; returns the result of the run, None while others are to come.

    A slice with nothing to learn from is stored like any other: whether that is a failure shows
    when all slices are there.

    Raises:
        Refusal: nobody learned anything; nothing is stored.
        StoreError: the database is away, or the version is not to be trained any more.
    """
    if part.shards == 1:
        if not result.report["trained"]:
            raise nothing_learned(result.report)
        async with database.acquire() as connection:
            await record_training(
                connection, version_id=version.id, result=result, artifacts=artifacts
            )
        return result
    async with database.acquire() as connection:
        return await record_shard(
            connection,
            version_id=version.id,
            part=part,
            result=result,
            artifacts=artifacts,
            merge=merge_results,
        )
