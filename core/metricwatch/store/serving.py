"""Which version serves: the only way into and out of the state Serving.

```
Candidate ─┐                          ┌─ PROMOTED, PINNED ──► Retired, Superseded
Retired ───┼──► Serving ──► leaves by ┤
Rejected ──┘                          └─ ROLLED_BACK ───────► Rejected
   (only when a person names it, or it is rolled back to; it is Rejected again afterwards)
```

A change is one transaction that holds the model's row, so of two operators at work for a moment
the second one finds what the first one did.
"""

from __future__ import annotations

from collections.abc import Mapping

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.connection import Connection, Row
from metricwatch.store.errors import RowMissing, TransitionRefused
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import TakeOver

_MAY_SERVE: Mapping[TakeOver, tuple[VersionState, ...]] = {
    TakeOver.PROMOTED: (VersionState.CANDIDATE, VersionState.RETIRED),
    TakeOver.PINNED: (VersionState.CANDIDATE, VersionState.RETIRED, VersionState.REJECTED),
    TakeOver.ROLLED_BACK: (VersionState.RETIRED, VersionState.REJECTED),
}

# A version that was rejected keeps its reason while it serves, and is rejected again afterwards:
# whoever pins it does not make it one that is promoted by itself later.
_LEAVE = """
UPDATE models SET retired_at = now(),
    state = CASE WHEN $2 OR reason <> '' THEN 'Rejected' ELSE 'Retired' END,
    reason = CASE WHEN $2 OR reason = '' THEN $3 ELSE reason END,
    message = CASE WHEN $2 OR reason = '' THEN $4 ELSE message END
WHERE model_id = $1 AND state = 'Serving'
"""
_ENTER = """
UPDATE models SET state = 'Serving', served_at = now(), retired_at = NULL, replaced = $3,
    reason = CASE WHEN state = 'Rejected' THEN reason ELSE '' END,
    message = CASE WHEN state = 'Rejected' THEN message ELSE '' END
WHERE model_id = $1 AND version = $2
"""


async def set_serving(
    connection: Connection,
    *,
    model_id: int,
    version: int,
    how: TakeOver = TakeOver.PROMOTED,
    reason: str = "Superseded",
    message: str = "",
) -> bool:
    """Let a version serve and end the service of the one before, at once.

    Args:
        connection: where to write.
        model_id: row id of the model.
        version: that is to serve.
        how: what makes it serve. Promoted, it remembers which version it took over from
            (`replaced`); only from there, and only to that one, it may be rolled back.
        reason: of the version that goes, one word.
        message: about the version that goes; by default that this one took over.

    Returns:
        False when it serves already.

    Raises:
        TransitionRefused: the version is not trained, is in a state that may not serve, or is not
            the one that a rollback leads to.
        RowMissing: the model is not in the database.
    """
    async with connection.transaction():
        model = await connection.fetchrow(
            "SELECT serving_version FROM models_info WHERE id = $1 FOR UPDATE", model_id
        )
        if model is None:
            raise RowMissing(f"the model of version {version} is not in the database")
        before: int | None = model["serving_version"]
        if before == version:
            return False
        await _require(connection, model_id=model_id, version=version, before=before, how=how)
        await connection.execute(
            _LEAVE,
            model_id,
            how is TakeOver.ROLLED_BACK,
            reason,
            message or f"version {version} took over",
        )
        replaced = before if how is TakeOver.PROMOTED else None
        await connection.execute(_ENTER, model_id, version, replaced)
        await connection.execute(
            "UPDATE models_info SET serving_version = $2 WHERE id = $1", model_id, version
        )
        await notify_model(connection, model_id)
    return True


async def mark_ready(connection: Connection, *, model_id: int, version: int) -> bool:
    """Record that the detectors of a version could serve; False when that is recorded already.

    Raises:
        TransitionRefused: the version is not in the database, or not trained.
    """
    async with connection.transaction():
        row = await _lock(connection, model_id=model_id, version=version)
        if row is None or row["trained_at"] is None:
            raise TransitionRefused(f"version {version} is {_found(row)} and cannot be ready")
        if row["ready_at"] is not None:
            return False
        await connection.execute(
            "UPDATE models SET ready_at = now() WHERE model_id = $1 AND version = $2",
            model_id,
            version,
        )
        await notify_model(connection, model_id)
    return True


async def _require(
    connection: Connection, *, model_id: int, version: int, before: int | None, how: TakeOver
) -> None:
    row = await _lock(connection, model_id=model_id, version=version)
    if row is None or row["trained_at"] is None or row["state"] not in _MAY_SERVE[how]:
        raise TransitionRefused(f"version {version} is {_found(row)} and cannot serve ({how})")
    if how is not TakeOver.ROLLED_BACK:
        return
    replaced = await connection.fetchval(
        "SELECT replaced FROM models WHERE model_id = $1 AND version = $2", model_id, before
    )
    if replaced != version:
        raise TransitionRefused(
            f"version {before} did not take over from version {version}: no way back to it"
        )


async def _lock(connection: Connection, *, model_id: int, version: int) -> Row | None:
    return await connection.fetchrow(
        "SELECT state, trained_at, ready_at FROM models "
        "WHERE model_id = $1 AND version = $2 FOR UPDATE",
        model_id,
        version,
    )


def _found(row: Row | None) -> str:
    return "not in the database" if row is None else str(row["state"])
