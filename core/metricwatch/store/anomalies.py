"""Anomalies of single series (`anomaly_points`).

An anomaly is written as it is now, keyed by series and start, so writing is a statement of fact
that may be repeated: a replay, a replica, or a version that takes over changes nothing twice. An
anomaly that ended stays ended, and one that a person acknowledged stays acknowledged until it
ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from metricwatch.store.connection import Connection, Row
from metricwatch.store.metrics import labels_of
from metricwatch.store.notify import notify_model
from metricwatch.store.rows import (
    WHOLE,
    AnomalyRow,
    AnomalyState,
    Feedback,
    Remark,
    Slice,
    StoredAnomaly,
)
from metricwatch.store.systems import lock_system_of

_LIVE = ("open", "acknowledged")

# In the order of AnomalyRow's fields, with the form in which a whole column of them is sent.
_COLUMNS = {
    "metric_id": "bigint",
    "started_at": "float8",
    "last_anomalous_at": "float8",
    "peak_at": "float8",
    "ended_at": "float8",
    "state": "text",
    "kind": "text",
    "severity": "text",
    "direction": "text",
    "peak_score": "float8",
    "peak_value": "float8",
    "peak_expected": "float8",
    "samples": "int",
    "explanation": "jsonb",
}
_TIMES = frozenset({"started_at", "last_anomalous_at", "peak_at", "ended_at"})
_ARRAYS = ", ".join(f"${index}::{form}[]" for index, form in enumerate(_COLUMNS.values(), 3))
_SELECTED = ", ".join(
    f"to_timestamp(c.{name})" if name in _TIMES else f"c.{name}" for name in _COLUMNS
)
_NEVER_CHANGED = ("metric_id", "started_at", "direction", "state")
_ASSIGNED = ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS if name not in _NEVER_CHANGED
)

_UPSERT = f"""
INSERT INTO anomaly_points
    (model_id, watch_uid, watch_name, labels, system, version, {", ".join(_COLUMNS)})
SELECT w.model_id, w.uid, w.name, m.labels, coalesce(w.settings ->> 'system', ''), $2, {_SELECTED}
FROM unnest({_ARRAYS}) AS c ({", ".join(_COLUMNS)})
JOIN metrics m ON m.id = c.metric_id
JOIN watches w ON w.id = m.watch_id AND w.id = $1
ON CONFLICT (metric_id, started_at) DO UPDATE SET {_ASSIGNED},
    state = CASE WHEN excluded.state = 'open' THEN anomaly_points.state ELSE excluded.state END
    WHERE anomaly_points.state IN ('open', 'acknowledged')
RETURNING id, metric_id
"""  # noqa: S608 - assembled from constants

_READ = """
SELECT id, model_id, watch_uid, watch_name, coalesce(metric_id, 0) AS metric_id, labels, system,
    version, kind, state, severity, direction, peak_score, peak_value, peak_expected, samples,
    explanation,
    extract(epoch FROM started_at)::bigint AS started_at,
    extract(epoch FROM last_anomalous_at)::bigint AS last_anomalous_at,
    extract(epoch FROM peak_at)::bigint AS peak_at,
    extract(epoch FROM ended_at)::bigint AS ended_at, system_anomaly_id,
    feedback, feedback_reason, feedback_by, extract(epoch FROM feedback_at)::bigint AS feedback_at
FROM anomaly_points
"""
_READ_OPEN = f"""{_READ}
WHERE state IN ('open', 'acknowledged') AND metric_id IN (
    SELECT id FROM metrics
    WHERE watch_id = $1 AND (series_id & x'7fffffff'::bigint) % $2::bigint = $3::bigint)
ORDER BY started_at, id
"""  # noqa: S608 - assembled from constants
_READ_TOUCHING = f"""{_READ}
WHERE model_id = (SELECT id FROM models_info WHERE uid = $1)
    AND ($2::text IS NULL OR watch_uid = $2)
    AND coalesce(ended_at, 'infinity') >= to_timestamp($3)
    AND ($4::float8 IS NULL OR started_at <= to_timestamp($4))
    AND (NOT $5 OR state IN ('open', 'acknowledged'))
ORDER BY started_at DESC, id DESC LIMIT $6
"""  # noqa: S608 - assembled from constants


async def write_anomalies(
    connection: Connection, *, watch_id: int, version: int, anomalies: Sequence[AnomalyRow]
) -> dict[int, int]:
    """Record anomalies of one watch as they are now; return the row id by metric of those written.

    Of several states of one anomaly the last counts. A series has at most one anomaly that is not
    over: another one of the same series, found open, is resolved. Anomalies of series that are no
    longer known, or that ended already, are left as they are.
    """
    last = {(anomaly.metric_id, anomaly.started_at): anomaly for anomaly in anomalies}
    if not last:
        return {}
    rows = sorted(last.values(), key=lambda row: (row.metric_id, row.started_at))
    ended = [row for row in rows if row.state not in _LIVE]
    opened = [row for row in rows if row.state in _LIVE]
    async with connection.transaction():
        await lock_system_of(connection, watch_id=watch_id)
        # Those that end come first: an end and the next beginning may come in one call.
        written = await _upsert(connection, watch_id, version, ended)
        await _resolve_others(connection, opened)
        written |= await _upsert(connection, watch_id, version, opened)
        if written:
            model_id = await connection.fetchval(
                "SELECT model_id FROM watches WHERE id = $1", watch_id
            )
            await notify_model(connection, model_id)
    return written


async def load_open(
    connection: Connection, *, watch_id: int, part: Slice = WHOLE
) -> tuple[StoredAnomaly, ...]:
    """Anomalies of a watch's series in this slice that are not over, oldest first."""
    rows = await connection.fetch(_READ_OPEN, watch_id, part.shards, part.shard)
    return tuple(_stored(row) for row in rows)


async def list_anomalies(
    connection: Connection,
    *,
    model_uid: str,
    watch_uid: str | None = None,
    start: int = 0,
    end: int | None = None,
    only_open: bool = False,
    limit: int = 1000,
) -> tuple[StoredAnomaly, ...]:
    """Anomalies of a model that touch the time from `start` to `end`, newest first.

    Args:
        connection: where to read.
        model_uid: Kubernetes uid of the model.
        watch_uid: only those of this watch.
        start: unix seconds; one that ended before is left out.
        end: unix seconds; one that started after is left out.
        only_open: leave out what is over.
        limit: at most this many.
    """
    rows = await connection.fetch(
        _READ_TOUCHING,
        model_uid,
        watch_uid,
        start,
        end,
        only_open,
        limit,
    )
    return tuple(_stored(row) for row in rows)


async def _upsert(
    connection: Connection, watch_id: int, version: int, rows: Sequence[AnomalyRow]
) -> dict[int, int]:
    if not rows:
        return {}
    written = await connection.fetch(_UPSERT, watch_id, version, *_columns(rows))
    return {row["metric_id"]: row["id"] for row in written}


async def _resolve_others(connection: Connection, opened: Sequence[AnomalyRow]) -> None:
    if not opened:
        return
    # Two versions may start an anomaly of one series at different ticks around a change of
    # serving.
    await connection.execute(
        """
        UPDATE anomaly_points p
        SET state = 'resolved', ended_at = greatest(p.started_at, p.last_anomalous_at)
        FROM unnest($1::bigint[], $2::float8[]) AS o (metric_id, started_at)
        WHERE p.metric_id = o.metric_id AND p.started_at <> to_timestamp(o.started_at)
            AND p.state IN ('open', 'acknowledged')
        """,
        [row.metric_id for row in opened],
        [row.started_at for row in opened],
    )


def _columns(rows: Sequence[AnomalyRow]) -> list[list[Any]]:
    return [[_storable(getattr(row, name)) for row in rows] for name in _COLUMNS]


def _storable(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _stored(row: Row) -> StoredAnomaly:
    values = {name: row[name] for name in _COLUMNS}
    for name in ("peak_score", "peak_value", "peak_expected"):
        values[name] = math.nan if values[name] is None else values[name]
    values["state"] = AnomalyState(row["state"])
    return StoredAnomaly(
        id=row["id"],
        model_id=row["model_id"],
        watch_uid=row["watch_uid"],
        watch_name=row["watch_name"],
        labels=labels_of(row["labels"]),
        system=row["system"],
        version=row["version"],
        system_anomaly_id=row["system_anomaly_id"],
        anomaly=AnomalyRow(**values),
        remark=_remark(row),
    )


def _remark(row: Row) -> Remark | None:
    if row["feedback"] is None:
        return None
    return Remark(
        feedback=Feedback(row["feedback"]),
        reason=row["feedback_reason"],
        by=row["feedback_by"],
        at=row["feedback_at"],
    )
