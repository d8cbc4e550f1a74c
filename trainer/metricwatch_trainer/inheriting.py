"""Reading what a version takes over from the one that serves.

What cannot be read whole is no reason to fail: such a watch is learned like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from metricwatch.artifact import ArtifactError, unpack
from metricwatch.assignments import TrainingRequest, TrainingWatch
from metricwatch.series import Labels
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.models import read_version
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, Version
from metricwatch_trainer.settings import Phase, Settings
from metricwatch_trainer.taking_over import (
    TakenWatch,
    are_complete,
    rows_of,
    watches_taken_over,
)

_log: Any = structlog.get_logger("metricwatch_trainer")


@dataclass(frozen=True, slots=True)
class Heir:
    """The version in training.

    Attributes:
        settings: which version, and which slice of it.
        version: its row.
        request: what it was asked for.
        from_labels: its family learns from recorded anomalies.
    """

    settings: Settings
    version: Version
    request: TrainingRequest
    from_labels: bool

    async def take_over(
        self, database: Database, serving: Version | None
    ) -> Mapping[str, TakenWatch]:
        """Returns by uid the watches that need not be learned.

        Args:
            database: open.
            serving: the version that serves; its report may lack its series.

        Raises:
            StoreError: the database is away, or the serving version went in this moment.
        """
        settings, training = self.settings, self.request.training
        searching = settings.phase is Phase.SEARCH
        watches = watches_taken_over(
            self.version,
            serving,
            self.request,
            # Pods that search are not those that learn.
            shards=training.parallelism if searching else settings.shards,
            from_labels=self.from_labels,
        )
        if serving is None or not watches:
            return {}
        async with database.acquire() as connection:
            whole = await read_version(
                connection, model_uid=settings.model_uid, version=serving.version
            )
        found = {watch.uid: await self._taken(database, whole, watch) for watch in watches}
        return {uid: one for uid, one in found.items() if one is not None}

    async def _taken(
        self, database: Database, serving: Version, watch: TrainingWatch
    ) -> TakenWatch | None:
        """Returns what the serving version knows of a watch; None when it is not all there."""
        report, part = serving.report or {}, self.settings.part
        rows = rows_of(report, watch, scope=self.request.scope, part=part)
        try:
            artifacts, labels = await self._read(database, serving, watch)
        except ArtifactError as error:
            _learned_anew(serving, watch, f"{error}")
            return None
        if not are_complete(labels, rows):
            _learned_anew(serving, watch, "its chunks are not what its report says")
            return None
        told = next(one for one in report["watches"] if one["uid"] == watch.uid)
        return TakenWatch(watch, serving.version, told, rows, artifacts)

    async def _read(
        self, database: Database, serving: Version, watch: TrainingWatch
    ) -> tuple[list[Artifact], list[Labels]]:
        """Returns the chunks of a watch that are this pod's, as they are stored, and their series.

        Raises:
            ArtifactError: one is damaged, of another release, or of another watch.
        """
        artifacts: list[Artifact] = []
        labels: list[Labels] = []
        part = self.settings.part
        async with database.acquire() as connection:
            async for one in read_artifacts(
                connection,
                version_id=serving.id,
                watch_uid=watch.uid,
                shard=part.shard if part.shards > 1 else None,
            ):
                chunk = await asyncio.to_thread(unpack, one.content, checksum=one.sha256.hex())
                if (chunk.watch_uid, chunk.interval) != (watch.uid, watch.interval_seconds):
                    raise ArtifactError("a chunk is of another watch than its row")
                artifacts.append(one)
                labels += chunk.labels
        return artifacts, labels


def _learned_anew(serving: Version, watch: TrainingWatch, why: str) -> None:
    _log.warning("learned anew", watch=watch.name, version=serving.version, why=why)
