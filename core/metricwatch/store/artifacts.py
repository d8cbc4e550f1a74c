"""The parameters of a version, in chunks (`model_artifacts`).

Chunks are read one at a time, so a detector of one shard needs memory for its own series and one
chunk, however large the model. Whether the content is what it should be is
`metricwatch.artifact`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from metricwatch.store.connection import Connection
from metricwatch.store.rows import Artifact

CHUNK_SECONDS = 120.0
"""For one chunk of up to tens of MiB over a slow network."""


async def write_artifacts(
    connection: Connection,
    *,
    version_id: int,
    artifacts: Iterable[Artifact],
    shard: int | None = None,
) -> int:
    """Replace a version's artifacts within the caller's transaction; return how many there are.

    Args:
        connection: in a transaction.
        version_id: row of the version.
        artifacts: the new ones.
        shard: the slice that is replaced, None for the whole version.
    """
    # Statements of this transaction move whole chunks: the usual limit is not for them.
    await connection.execute(f"SET LOCAL statement_timeout = '{int(CHUNK_SECONDS)}s'")
    await connection.execute(
        "DELETE FROM model_artifacts WHERE models_row = $1 AND ($2::int IS NULL OR shard = $2)",
        version_id,
        shard,
    )
    written = 0
    for artifact in artifacts:
        await connection.execute(
            """
            INSERT INTO model_artifacts
                (models_row, shard, chunk, family, watch_uid, series, sha256, content)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            """,
            version_id,
            artifact.shard,
            artifact.chunk,
            artifact.family,
            artifact.watch_uid,
            artifact.series,
            artifact.sha256,
            artifact.content,
            timeout=CHUNK_SECONDS,
        )
        written += 1
    return written


async def read_artifacts(
    connection: Connection,
    *,
    version_id: int,
    watch_uid: str | None = None,
    shard: int | None = None,
) -> AsyncIterator[Artifact]:
    """A version's chunks by shard and number, one in memory at a time.

    Args:
        connection: where they are.
        version_id: row of the version.
        watch_uid: only those of this watch, None for all.
        shard: only those of this slice, None for all.
    """
    keys = await connection.fetch(
        """
        SELECT shard, chunk FROM model_artifacts
        WHERE models_row = $1 AND ($2::text IS NULL OR watch_uid = $2)
            AND ($3::int IS NULL OR shard = $3)
        ORDER BY shard, chunk
        """,
        version_id,
        watch_uid,
        shard,
    )
    for key in keys:
        row = await connection.fetchrow(
            """
            SELECT shard, chunk, family, watch_uid, series, sha256, content FROM model_artifacts
            WHERE models_row = $1 AND shard = $2 AND chunk = $3
            """,
            version_id,
            key["shard"],
            key["chunk"],
            timeout=CHUNK_SECONDS,
        )
        # A version that is pruned meanwhile ends here; its detector is on its way out as well.
        if row is not None:
            yield Artifact(**{name: row[name] for name in Artifact.__slots__})
