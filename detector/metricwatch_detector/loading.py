"""The artifacts of a version as chunks that score; one that is broken takes no other one down."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from metricwatch.artifact import ArtifactError, ModelChunk, unpack
from metricwatch.series import shard_of
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.pool import Database
from metricwatch.store.rows import Slice
from metricwatch_detector.joining import Joiner

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a version knows about a watch.

    Attributes:
        chunks: With fresh state, each for one user; those that are alike as one.
        problems: Why chunks are missing; their series are scored by the online family.
    """

    chunks: tuple[ModelChunk, ...] = ()
    problems: tuple[str, ...] = ()


class Artifacts:
    """Hands out the chunks of one version by watch; what one watch has taken is read anew."""

    def __init__(self, database: Database, *, version_id: int, part: Slice) -> None:
        self._database = database
        self._version_id = version_id
        self._part = part
        self._ready: dict[str, Loaded] | None = None

    async def load(self) -> None:
        """Reads all chunks.

        Raises:
            StoreError: the database is away.
        """
        self._ready = await self._read(None)

    async def take(self, watch_uid: str) -> Loaded:
        """The chunks of a watch, none when the version does not know it.

        Raises:
            StoreError: the database is away.
        """
        if self._ready is None:
            await self.load()
        assert self._ready is not None  # noqa: S101 - load fills it
        # Banks carry state, so each set is used once; who starts again needs a fresh one.
        taken = self._ready.pop(watch_uid, None)
        return taken or (await self._read(watch_uid)).get(watch_uid, Loaded())

    async def _read(self, only: str | None) -> dict[str, Loaded]:
        found: dict[str, tuple[Joiner, list[str]]] = {}
        async with self._database.acquire() as connection:
            async for artifact in read_artifacts(connection, version_id=self._version_id):
                if only is not None and artifact.watch_uid != only:
                    continue
                chunks, problems = found.setdefault(artifact.watch_uid, (Joiner(), []))
                try:
                    chunk = unpack(artifact.content, checksum=artifact.sha256.hex())
                except ArtifactError as error:
                    where = f"chunk {artifact.chunk} of shard {artifact.shard}"
                    problems.append(f"{where} ({artifact.series} series): {error}")
                    _log.error(
                        "chunk left out", watch_uid=artifact.watch_uid, problem=problems[-1]
                    )
                    continue
                if self._is_mine(chunk):
                    chunks.add(chunk)
        return {uid: Loaded(chunks.chunks(), tuple(why)) for uid, (chunks, why) in found.items()}

    def _is_mine(self, chunk: ModelChunk) -> bool:
        # A shard knows the channels of systems in other shards, so as not to take them for new.
        shards, shard, named = self._part.shards, self._part.shard, (*chunk.labels, *chunk.systems)
        return any(shard_of(labels, shards) == shard for labels in named)
