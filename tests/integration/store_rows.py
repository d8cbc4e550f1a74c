"""Rows for tests of the store, with defaults that no test is about."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from metricwatch.assignments import TrainingRequest, WatchSettings
from metricwatch.series import Labels
from metricwatch.store.connection import Connection
from metricwatch.store.metrics import register_series
from metricwatch.store.models import create_version, record_training, upsert_model
from metricwatch.store.rows import AnomalyRow, AnomalyState, Artifact, TrainingResult
from metricwatch.store.serving import set_serving
from metricwatch.store.watches import load_watches, upsert_watch

NOW = 1_700_000_000
SOURCE = {"url": "http://prometheus:9090"}


def make_settings(**changes: Any) -> WatchSettings:
    settings: dict[str, Any] = {
        "queries": [{"expr": "up"}],
        "source": SOURCE,
        "intervalSeconds": 60,
        "system": "checkout",
    }
    return WatchSettings.from_row(settings | changes)


def make_request(**watch: Any) -> TrainingRequest:
    one: dict[str, Any] = {
        "uid": "watch-1",
        "namespace": "shop",
        "name": "latency",
        "queries": [{"expr": "up"}],
        "source": SOURCE,
        "intervalSeconds": 60,
    }
    return TrainingRequest.from_row({"watches": [one | watch]})


def make_labels(*pods: str) -> list[Labels]:
    return [(("__name__", "up"), ("pod", pod)) for pod in pods]


def make_artifact(chunk: int = 0, *, shard: int = 0, content: bytes = b"weights") -> Artifact:
    return Artifact(
        shard=shard,
        chunk=chunk,
        family="seasonal",
        watch_uid="watch-1",
        series=3,
        sha256=hashlib.sha256(content).digest(),
        content=content,
    )


def make_result(**report: Any) -> TrainingResult:
    return TrainingResult(
        window_start=NOW - 86_400,
        window_end=NOW,
        data_hash="abc",
        seed=7,
        code_version="0.1.0",
        report=report or {"totals": {"series": 3}, "series": [{"labels": {}}]},
    )


def make_anomaly(metric_id: int, *, started_at: int = NOW, **changes: Any) -> AnomalyRow:
    values: dict[str, Any] = {
        "metric_id": metric_id,
        "started_at": started_at,
        "last_anomalous_at": started_at,
        "peak_at": started_at,
        "ended_at": None,
        "state": AnomalyState.OPEN,
        "kind": "point",
        "severity": "warning",
        "direction": "above",
        "peak_score": 1.5,
        "peak_value": 30.0,
        "peak_expected": 10.0,
        "samples": 1,
        "explanation": {"family": "seasonal"},
    }
    return AnomalyRow(**(values | changes))


@dataclass(frozen=True, slots=True)
class World:
    """A model with one watch, series of it, and version 1 serving."""

    model_id: int
    watch_id: int
    metrics: tuple[int, ...]


async def add_model(connection: Connection, uid: str = "model-1") -> int:
    return await upsert_model(connection, uid=uid, namespace="shop", name="checkout", generation=1)


async def add_watch(
    connection: Connection,
    model_id: int,
    uid: str = "watch-1",
    *,
    model_uid: str = "model-1",
    **changes: Any,
) -> int:
    await upsert_watch(
        connection,
        model_id=model_id,
        uid=uid,
        namespace="shop",
        name=f"name-of-{uid}",
        generation=1,
        settings=make_settings(**changes),
    )
    (row,) = [row for row in await load_watches(connection, model_uid=model_uid) if row.uid == uid]
    return row.id


async def add_version(
    connection: Connection,
    model_id: int,
    version: int = 1,
    *,
    trained: bool = True,
    serving: bool = False,
) -> int:
    """A version, by default trained and still in state Training; returns its row id."""
    request = make_request()
    await create_version(
        connection,
        model_id=model_id,
        version=version,
        request=request.to_row(),
        request_hash=request.fingerprint(),
        attempt=version,
    )
    row_id: int = await connection.fetchval(
        "SELECT id FROM models WHERE model_id = $1 AND version = $2", model_id, version
    )
    if trained or serving:
        await record_training(
            connection, version_id=row_id, result=make_result(), artifacts=[make_artifact()]
        )
    if serving:
        await connection.execute("UPDATE models SET state = 'Candidate' WHERE id = $1", row_id)
        await set_serving(connection, model_id=model_id, version=version)
    return row_id


async def make_world(connection: Connection, *, pods: int = 3) -> World:
    model_id = await add_model(connection)
    watch_id = await add_watch(connection, model_id)
    await add_version(connection, model_id, serving=True)
    labels = make_labels(*(f"pod-{number}" for number in range(pods)))
    ids = await register_series(connection, watch_id=watch_id, labels=labels)
    return World(model_id=model_id, watch_id=watch_id, metrics=tuple(ids[one] for one in labels))
