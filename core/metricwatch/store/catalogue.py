"""What there is, for people who look at a database: models by name, and a version's chunks."""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.store.connection import Connection


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model.

    Attributes:
        id: of its row.
        uid: of the AnomalyModel in its cluster.
        serving_version: None while none serves.
        versions: how many there are.
    """

    id: int
    uid: str
    namespace: str
    name: str
    serving_version: int | None
    suspended: bool
    versions: int


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """One chunk of a version's parameters, without its content."""

    shard: int
    chunk: int
    family: str
    watch_uid: str
    series: int
    bytes: int


async def list_models(connection: Connection) -> tuple[ModelEntry, ...]:
    """All models by namespace and name; the newest first of several with the same names."""
    rows = await connection.fetch(
        """
        SELECT id, uid, namespace, name, serving_version, suspended,
            (SELECT count(*) FROM models WHERE model_id = i.id) AS versions
        FROM models_info i ORDER BY namespace, name, id DESC
        """
    )
    return tuple(ModelEntry(**dict(row)) for row in rows)


async def list_chunks(connection: Connection, *, version_id: int) -> tuple[ChunkEntry, ...]:
    """What a version's parameters consist of, by shard and number."""
    rows = await connection.fetch(
        """
        SELECT shard, chunk, family, watch_uid, series, length(content) AS bytes
        FROM model_artifacts WHERE models_row = $1 ORDER BY shard, chunk
        """,
        version_id,
    )
    return tuple(ChunkEntry(**dict(row)) for row in rows)
