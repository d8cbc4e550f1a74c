"""What people say of anomalies: that one was a false alarm, or a real one.

The trainer learns from what was dismissed as from any other samples, and from nothing that was
confirmed; the quality gate refuses a version that raises more of the dismissed ones than the
version that serves. What was said may be said anew, or taken back.
"""

from __future__ import annotations

from collections.abc import Sequence

from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import Feedback
from metricwatch.store.systems import lock_systems_of

LONGEST_REASON = 1000

_JUDGE = """
UPDATE anomaly_points
SET feedback = $2, feedback_reason = $3, feedback_by = $4, feedback_at = now()
WHERE model_id = $1 AND id = ANY ($5::bigint[]) RETURNING id
"""
_REOPEN = """
UPDATE anomaly_points
SET feedback = NULL, feedback_reason = NULL, feedback_by = NULL, feedback_at = NULL
WHERE model_id = $1 AND id = ANY ($2::bigint[]) RETURNING id
"""


async def judge_anomalies(
    connection: Connection,
    *,
    model_id: int,
    ids: Sequence[int],
    feedback: Feedback,
    reason: str,
    by: str,
) -> None:
    """Record what a person says of anomalies of a model: of all of them, or of none.

    Args:
        connection: where to write.
        model_id: row id of the model.
        ids: of the anomalies.
        feedback: what they were.
        reason: for others to read; its first 1,000 characters are kept.
        by: who says so.

    Raises:
        RowMissing: the model has no anomaly with one of these ids.
    """
    values = (str(feedback), reason[:LONGEST_REASON], by, list(ids))
    await _change(connection, _JUDGE, model_id, ids, *values)


async def reopen_anomalies(connection: Connection, *, model_id: int, ids: Sequence[int]) -> None:
    """Take back what was said of anomalies of a model: of all of them, or of none.

    Raises:
        RowMissing: the model has no anomaly with one of these ids.
    """
    await _change(connection, _REOPEN, model_id, ids, list(ids))


async def _change(
    connection: Connection, statement: str, model_id: int, ids: Sequence[int], *values: object
) -> None:
    async with connection.transaction():
        # As a detector does that writes several of them, so that neither waits for the other.
        await lock_systems_of(connection, model_id=model_id, anomaly_ids=ids)
        rows = await connection.fetch(statement, model_id, *values)
        missing = sorted(set(ids) - {row["id"] for row in rows})
        if missing:
            raise RowMissing(f"there is no anomaly {', '.join(map(str, missing))} of this model")
        await notify_model(connection, model_id)
