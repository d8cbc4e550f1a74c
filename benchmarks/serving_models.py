"""Models that serve, made directly: objects through the API, rows by SQL, children by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
from tests.integration.control_plane import ControlPlane, require_success

from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import read_desired

API = "/apis/metricwatch.io/v1alpha1/namespaces/default"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
_PAGE = 500
_REPORT = {
    "family": "seasonal",
    "families": {"seasonal": 50},
    "trained": 50,
    "watches": [
        {
            "uid": "uid",
            "name": "latency",
            "found": 50,
            "trained": 50,
            "start": 1_700_000_000,
            "end": 1_701_209_600,
            "intervalSeconds": 60,
            "errorToPersistence": 0.8,
        }
    ],
    "seconds": {"total": 12.0},
}


class Fleet:
    """Models that serve their first version, each with a watch, a detector and its pod.

    Args:
        plane: Where they are.
        url: Of the database.
        count: How many.
    """

    def __init__(self, plane: ControlPlane, url: str, count: int) -> None:
        self.client = plane.client()
        self._url = url
        self._count = count

    def create(self) -> None:
        """Objects and rows, as if a detector had scored since long ago."""
        models = self._in_parallel(self._create_model, range(self._count))
        watches = self._in_parallel(self._create_watch, range(self._count))
        rows = [self._row(*pair) for pair in zip(models, watches, strict=True)]
        asyncio.run(self._insert(rows))

    def create_models(self) -> None:
        """Models alone, without a watch and without a row."""
        self._in_parallel(self._create_model, range(self._count))

    def start_detectors(self) -> None:
        """Each Deployment that the operator made becomes ready, and gets its pod."""
        list(self._in_parallel(self._start_detector, self.all(DEPLOYMENTS)))

    def score(self) -> None:
        """What detectors write of a tick that is like all others."""
        asyncio.run(
            self._execute(
                "UPDATE watch_health SET scored_at = now(), last_sample_at = now(), "
                "lag_seconds = 1, updated_at = now()"
            )
        )

    def find_series(self, number: int, series: int) -> None:
        """A detector counts other series, which nobody is notified of."""
        statement = (
            "UPDATE watch_health SET series = $2 WHERE watch_id = "
            "(SELECT id FROM watches WHERE name = 'watch-' || $1::text)"
        )
        asyncio.run(self._execute(statement, str(number), series))

    def set_available(self, deployment: str, replicas: int) -> None:
        """What the Deployment controller would say of a detector."""
        patch = {"status": _deployment_status(replicas)}
        self._patch(f"{DEPLOYMENTS}/{deployment}/status", patch)

    def model(self, number: int) -> dict[str, Any]:
        """One model."""
        path = f"{API}/anomalymodels/model-{number}"
        return dict(require_success(self.client.get(path)).json())

    def is_ready(self, number: int) -> bool:
        """Whether one model says that it is ready."""
        conditions = (self.model(number).get("status") or {}).get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def all(self, path: str) -> list[dict[str, Any]]:
        """Every object of a kind, page by page."""
        found: list[dict[str, Any]] = []
        more = ""
        while True:
            query = {"limit": str(_PAGE)} | ({"continue": more} if more else {})
            answer = require_success(self.client.get(path, params=query)).json()
            found += answer["items"]
            more = answer["metadata"].get("continue", "")
            if not more:
                return found

    def revisions(self) -> dict[str, str]:
        """The revision of everything that the operator writes."""
        paths = (f"{API}/anomalymodels", f"{API}/metricwatches", DEPLOYMENTS)
        return {
            one["metadata"]["uid"]: one["metadata"]["resourceVersion"]
            for path in paths
            for one in self.all(path)
        }

    def _create_model(self, number: int) -> dict[str, Any]:
        return self._post(
            f"{API}/anomalymodels",
            {
                "apiVersion": "metricwatch.io/v1alpha1",
                "kind": "AnomalyModel",
                "metadata": {"name": f"model-{number}"},
                "spec": {"source": {"url": "http://vm.example:8428"}},
            },
        )

    def _create_watch(self, number: int) -> dict[str, Any]:
        return self._post(
            f"{API}/metricwatches",
            {
                "apiVersion": "metricwatch.io/v1alpha1",
                "kind": "MetricWatch",
                "metadata": {"name": f"watch-{number}"},
                "spec": {
                    "modelRef": {"name": f"model-{number}"},
                    "query": f"latency{{n='{number}'}}",
                },
            },
        )

    def _row(self, model: Mapping[str, Any], watch: Mapping[str, Any]) -> tuple[Any, ...]:
        name = model["metadata"]["name"]
        observed = Observed("default", name, model=model, watches=(watch,))
        # The images matter to no request.
        desired = read_desired(observed, Config(trainer_image="t", detector_image="d"))
        settings = desired.watches[0].settings
        assert desired.request is not None
        assert settings is not None
        return (
            model["metadata"]["uid"],
            name,
            watch["metadata"]["uid"],
            watch["metadata"]["name"],
            json.dumps(settings.to_row()),
            json.dumps(desired.request.to_row()),
            desired.request.fingerprint(),
            json.dumps(_REPORT),
        )

    async def _insert(self, rows: Iterable[tuple[Any, ...]]) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            async with connection.transaction():
                await connection.executemany(_INSERT, list(rows))
            await connection.execute("ANALYZE")
        finally:
            await connection.close()

    async def _execute(self, statement: str, *arguments: Any) -> None:
        connection = await asyncpg.connect(self._url)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    def _start_detector(self, deployment: dict[str, Any]) -> None:
        name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
        self.set_available(name, 1)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": f"{name}-5d8f7c9b4-x2x7q"},
            "spec": template["spec"],
        }
        self._post(PODS, pod)
        self._patch(f"{PODS}/{pod['metadata']['name']}/status", {"status": _POD_STATUS})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return dict(require_success(self.client.post(path, json=body)).json())

    def _patch(self, path: str, body: dict[str, Any]) -> httpx.Response:
        kind = {"Content-Type": "application/merge-patch+json"}
        return require_success(self.client.patch(path, json=body, headers=kind))

    @staticmethod
    def _in_parallel(work: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, things))


def _deployment_status(available: int) -> dict[str, Any]:
    return {
        "observedGeneration": 1,
        "replicas": 1,
        "updatedReplicas": 1,
        "readyReplicas": available,
        "availableReplicas": available,
        "unavailableReplicas": 1 - available,
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": f"ReplicaSet {reason}",
                "lastUpdateTime": _NOW,
                "lastTransitionTime": _NOW,
            }
            for kind, reason in (
                ("Available", "MinimumReplicasAvailable"),
                ("Progressing", "NewReplicaSetAvailable"),
            )
        ],
    }


_NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
_POD_STATUS = {
    "phase": "Running",
    "conditions": [
        {"type": kind, "status": "True", "lastTransitionTime": _NOW}
        for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ],
    "containerStatuses": [
        {
            "name": "detector",
            "image": "detector:1",
            "imageID": "registry.example/detector@sha256:" + 64 * "0",
            "containerID": "containerd://" + 64 * "0",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _NOW}},
        }
    ],
}
_INSERT = """
WITH model AS (
    INSERT INTO models_info (uid, namespace, name, generation, serving_version)
    VALUES ($1, 'default', $2, 1, 1) RETURNING id
), watch AS (
    INSERT INTO watches (uid, model_id, namespace, name, generation, settings)
    SELECT $3, id, 'default', $4, 1, $5::jsonb FROM model RETURNING id
), version AS (
    INSERT INTO models (model_id, version, state, request, request_hash, report, code_version,
        window_start, window_end, data_hash, seed, created_at, trained_at, ready_at, served_at)
    SELECT id, 1, 'Serving', $6::jsonb, $7, $8::jsonb, '0.1.0', now() - interval '15 days',
        now() - interval '1 day', 'abc', 7, now() - interval '1 day', now() - interval '1 day',
        now() - interval '1 day', now() - interval '1 day'
    FROM model
)
INSERT INTO watch_health (watch_id, version, shards, shard, state, series, scored_at,
    last_sample_at, lag_seconds, drift)
SELECT id, 1, 1, 0, 'Scoring', 50, now(), now(), 1, 0 FROM watch
"""
