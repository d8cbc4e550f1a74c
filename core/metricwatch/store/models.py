"""Models and their versions: `models_info` and `models`.

Which state may follow which is decided here, in one place, and guarded in the statements
themselves, so two operators at work for a moment cannot undo each other. `serving.set_serving` is
the only way into and out of Serving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.artifacts import write_artifacts
from metricwatch.store.connection import Connection, Row
from metricwatch.store.errors import RowMissing, TransitionRefused, VersionConflict
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import Artifact, TrainingResult, Version

_FOLLOWS: Mapping[VersionState, tuple[VersionState, ...]] = {
    # A retired version that is the newest good one again starts as a candidate does.
    VersionState.CANDIDATE: (VersionState.TRAINING, VersionState.RETIRED),
    VersionState.FAILED: (VersionState.TRAINING, VersionState.CANDIDATE),
    # By the gate, before any detector of it ran, or by the comparison with the serving version.
    VersionState.REJECTED: (VersionState.TRAINING, VersionState.CANDIDATE),
    # A candidate that a newer one overtook before it ever served.
    VersionState.RETIRED: (VersionState.CANDIDATE,),
}

VERSION_COLUMNS = """
    id, version, state, reason, message, request, request_hash, attempt, code_version,
    extract(epoch FROM window_start)::bigint AS window_start,
    extract(epoch FROM window_end)::bigint AS window_end, data_hash, seed, report,
    extract(epoch FROM created_at)::bigint AS created_at,
    extract(epoch FROM trained_at)::bigint AS trained_at,
    extract(epoch FROM served_at)::bigint AS served_at,
    extract(epoch FROM retired_at)::bigint AS retired_at,
    extract(epoch FROM ready_at)::bigint AS ready_at, replaced
"""


def version_of(row: Row) -> Version:
    """A version from a row with `VERSION_COLUMNS`."""
    values: dict[str, Any] = {name: row[name] for name in Version.__slots__}
    return Version(**(values | {"state": VersionState(row["state"])}))


async def upsert_model(
    connection: Connection,
    *,
    uid: str,
    namespace: str,
    name: str,
    generation: int,
    suspended: bool = False,
) -> int:
    """Record a model, and return its row id. Without a change nothing is written.

    What an older generation says is not written over what a newer one said.
    """
    written = await connection.fetchval(
        """
        INSERT INTO models_info (uid, namespace, name, generation, suspended)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (uid) DO UPDATE
            SET generation = excluded.generation, suspended = excluded.suspended
            WHERE models_info.generation <= excluded.generation
                AND (models_info.generation, models_info.suspended)
                    <> (excluded.generation, excluded.suspended)
        RETURNING id
        """,
        uid,
        namespace,
        name,
        generation,
        suspended,
    )
    return int(written if written is not None else await model_id_of(connection, uid))


async def model_id_of(connection: Connection, uid: str) -> int:
    """Row id of the model with this Kubernetes uid.

    Raises:
        RowMissing: there is none.
    """
    found = await connection.fetchval("SELECT id FROM models_info WHERE uid = $1", uid)
    if found is None:
        raise RowMissing(f"the model with uid {uid} is not in the database")
    return int(found)


async def create_version(
    connection: Connection,
    *,
    model_id: int,
    version: int,
    request: Mapping[str, Any],
    request_hash: str,
    attempt: int = 1,
    reason: str = "",
    message: str = "",
) -> bool:
    """Record a version that is to be trained; False when exactly this one exists already.

    Raises:
        VersionConflict: the number is taken by another request or attempt.
    """
    async with connection.transaction():
        created = await connection.fetchval(
            """
            INSERT INTO models (model_id, version, state, request, request_hash, attempt, reason,
            message) VALUES ($1, $2, 'Training', $3, $4, $5, $6, $7) ON CONFLICT (model_id,
            version) DO NOTHING RETURNING id
            """,
            model_id,
            version,
            request,
            request_hash,
            attempt,
            reason,
            message,
        )
        if created is not None:
            await notify_model(connection, model_id)
            return True
    same = await connection.fetchval(
        "SELECT request_hash = $3 AND attempt = $4 FROM models "
        "WHERE model_id = $1 AND version = $2",
        model_id,
        version,
        request_hash,
        attempt,
    )
    if not same:
        raise VersionConflict(f"version {version} exists already, made for another request")
    return False


async def read_version(connection: Connection, *, model_uid: str, version: int) -> Version:
    """One version, its report complete.

    Raises:
        RowMissing: the model or the version is not in the database.
    """
    row = await connection.fetchrow(
        f"""
        SELECT {VERSION_COLUMNS} FROM models
        WHERE model_id = (SELECT id FROM models_info WHERE uid = $1) AND version = $2
        """,  # noqa: S608 - the columns are a constant
        model_uid,
        version,
    )
    if row is None:
        raise RowMissing(
            f"version {version} of the model with uid {model_uid} is not in the database"
        )
    return version_of(row)


async def set_state(
    connection: Connection,
    *,
    model_id: int,
    version: int,
    state: VersionState,
    reason: str = "",
    message: str = "",
) -> bool:
    """Move a version on; False when it is in that state with that reason and message already.

    Raises:
        TransitionRefused: the state may not follow the present one; Serving is `set_serving`'s.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT state, reason, message FROM models "
            "WHERE model_id = $1 AND version = $2 FOR UPDATE",
            model_id,
            version,
        )
        if row is None:
            raise TransitionRefused(f"version {version} is not in the database")
        if (row["state"], row["reason"], row["message"]) == (state, reason, message):
            return False
        if row["state"] != state and row["state"] not in _FOLLOWS.get(state, ()):
            raise TransitionRefused(
                f"version {version} is {row['state']} and cannot become {state}"
            )
        await connection.execute(
            """
            UPDATE models SET state = $3, reason = $4, message = $5,
                ready_at = CASE WHEN $3 <> 'Candidate' OR state = $3 THEN ready_at END,
                retired_at = CASE WHEN $3 = 'Retired' THEN coalesce(retired_at, now()) END
            WHERE model_id = $1 AND version = $2
            """,
            model_id,
            version,
            state,
            reason,
            message,
        )
        await notify_model(connection, model_id)
    return True


async def record_training(
    connection: Connection,
    *,
    version_id: int,
    result: TrainingResult,
    artifacts: Iterable[Artifact],
) -> None:
    """Store what a trainer made: artifacts, report and `trained_at`, all or nothing.

    The state stays with the operator. Storing again replaces what an earlier, interrupted pod of
    the same Job stored. `artifacts` may be a generator: one chunk is in memory at a time.

    Raises:
        TransitionRefused: the version is no longer in training, so its artifacts are in use or
        unwanted. RowMissing: the version was deleted meanwhile.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT state, model_id FROM models WHERE id = $1 FOR UPDATE", version_id
        )
        if row is None:
            raise RowMissing("the version was deleted while it was being trained")
        if row["state"] != VersionState.TRAINING:
            raise TransitionRefused(f"the version is {row['state']}, no longer in training")
        await write_artifacts(connection, version_id=version_id, artifacts=artifacts)
        await finish_training(
            connection, version_id=version_id, model_id=row["model_id"], result=result
        )


async def finish_training(
    connection: Connection, *, version_id: int, model_id: int, result: TrainingResult
) -> None:
    """Say that a version is trained, within the caller's transaction."""
    await connection.execute(
        """
        UPDATE models SET window_start = to_timestamp($2), window_end = to_timestamp($3),
            data_hash = $4, seed = $5, code_version = $6, report = $7, trained_at = now()
        WHERE id = $1
        """,
        version_id,
        result.window_start,
        result.window_end,
        result.data_hash,
        result.seed,
        result.code_version,
        result.report,
    )
    await notify_model(connection, model_id)
