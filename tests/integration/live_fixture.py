"""A cluster on which everything is real but the kubelet, whose containers are processes.

Samples lie in VictoriaMetrics before the test begins, also those of the next minutes, so no busy
machine can deliver one too late: every tick has a sample, and every incident is known beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from tests.integration.invariants import Cluster
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.operator_fixture import OperatorProcess, Stage
from tests.integration.postgres_fixture import Postgres
from tests.integration.process_kubelet import ProcessKubelet

HISTORY_SECONDS = 900
AHEAD_SECONDS = 1200
RAISED_BY = 60.0
# A cooldown of three seconds, and what comes after it.
OVER_SECONDS = 5
DELAY_SECONDS = 2
MODEL, WATCH = "checkout", "latency"


@dataclass(frozen=True, slots=True)
class Incident:
    """A pod whose values are far too high from one second to another, both included."""

    pod: str
    first: int
    last: int


def quiet_from(incidents: Sequence[Incident], moment: int) -> int:
    """The first second from `moment` on at which every incident of before is resolved."""
    running = [one.last for one in incidents if one.first <= moment <= one.last + OVER_SECONDS]
    return max([moment, *(last + OVER_SECONDS for last in running)])


@dataclass(frozen=True, slots=True)
class Timeline:
    """What some pods report, every second of the past and of the minutes to come."""

    metric: str
    pods: Sequence[str]
    now: int
    incidents: Sequence[Incident] = ()

    def lines(self) -> Iterator[str]:
        """All samples, as VictoriaMetrics imports them."""
        first, last = self.now - HISTORY_SECONDS, self.now + AHEAD_SECONDS
        for pod in self.pods:
            chance = np.random.default_rng(zlib.crc32(f"{self.metric} {pod}".encode()))
            values = 100.0 + chance.normal(size=last - first)
            for one in self.incidents:
                if one.pod == pod:
                    values[one.first - first : one.last - first + 1] += RAISED_BY
            for second, value in enumerate(values.tolist(), first):
                yield f'{self.metric}{{pod="{pod}"}} {value!r} {second * 1000}'


@dataclass(slots=True)
class Live:
    """A stage with a kubelet that runs what it is given.

    Attributes:
        stage: API server, database, operators.
        kubelet: Runs trainers and detectors.
        source: Where the samples are.
        operators: Those that a kubelet would start again when they end.
    """

    stage: Stage
    kubelet: ProcessKubelet
    source: VictoriaMetrics
    operators: list[OperatorProcess] = field(default_factory=list)

    def start_operator(self, **environment: str) -> OperatorProcess:
        """A replica that is looked after."""
        operator = self.stage.operator(**environment).start()
        self.operators.append(operator)
        return operator

    def revive_operators(self) -> None:
        """Starts those again that ended, in the same pod."""
        for operator in self.operators:
            if operator.process is None or operator.process.poll() is not None:
                operator.start()

    def apply(self, timeline: Timeline, **spec: Any) -> None:
        """A model, and a watch of what the timeline brings."""
        self.source.import_text(timeline.lines())
        self.stage.add_model(
            MODEL,
            **{
                "source": {"type": "victoriametrics", "url": self.source.url},
                "algorithm": {"type": "zscore"},
                "training": {"window": "10m"},
                "rollout": {"rollbackWindow": "1s"},
                "versionHistoryLimit": 1,
                **spec,
            },
        )
        self.stage.add_watch(
            WATCH,
            model=MODEL,
            query=timeline.metric,
            interval="1s",
            delay=f"{DELAY_SECONDS}s",
            detection={
                "cooldown": "3s",
                "falseAlarmsPerWeek": 5000,
                "minDeviation": {"absolute": 20},
            },
        )

    async def not_ready(self) -> list[str]:
        """What keeps model and watch from being Ready."""
        found = []
        for kind, name in (("AnomalyModel", MODEL), ("MetricWatch", WATCH)):
            ready = self.stage.namespace.conditions(kind, name).get("Ready", {})
            if ready.get("status") != "True":
                found.append(f"{name}: {ready.get('message')}")
        return found

    def retrain(self) -> None:
        """Asks for another version, as a person would."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        annotation = {"annotations": {"metricwatch.io/retrain-requested-at": now}}
        self.stage.namespace.merge("AnomalyModel", MODEL, {"metadata": annotation})

    def describe(self) -> str:
        """What a person would look at first."""
        logs = sorted(self.kubelet.directory.glob("*/log"))
        ends = [f"{log.parent.name}:\n{log.read_text()[-1500:]}" for log in logs[-4:]]
        return "\n".join([self.stage.describe(), *ends])


def held_by(stage: Stage) -> Cluster:
    """What the API server holds in the namespace of a stage."""
    held = stage.namespace.all
    return Cluster(
        models=held("AnomalyModel"),
        watches=held("MetricWatch"),
        jobs=held("Job"),
        deployments=held("Deployment"),
        pods=held("Pod"),
        secrets=held("Secret"),
    )


@contextlib.asynccontextmanager
async def asking(stage: Stage) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of a stage, of the test's own."""
    connection = await asyncpg.connect(
        stage.database_url, server_settings={"application_name": "test"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def wrong_anomalies(
    connection: asyncpg.Connection, incidents: Sequence[Incident], *, since: int, until: int
) -> list[str]:
    """How the anomalies between two quiet seconds differ from the incidents there were."""
    rows = await connection.fetch(
        "SELECT labels ->> 'pod' AS pod, extract(epoch FROM started_at)::bigint AS first, "
        "extract(epoch FROM last_anomalous_at)::bigint AS last, samples, state "
        "FROM anomaly_points WHERE started_at BETWEEN to_timestamp($1) AND to_timestamp($2)",
        since,
        until,
    )
    found = {tuple(row) for row in rows}
    wanted = {
        (one.pod, one.first, one.last, one.last - one.first + 1, "resolved")
        for one in incidents
        if since <= one.first <= until
    }
    doubled = len(rows) - len(found)
    return [
        *(f"lost or cut: {one}" for one in sorted(wanted - found)),
        *(f"not an incident: {one}" for one in sorted(found - wanted)),
        *([f"{doubled} are doubled"] if doubled else []),
    ]


async def comes_to_rest(
    live: Live, look: Callable[[], Awaitable[list[str]]], *, seconds: float = 300.0
) -> None:
    """Waits until a question has no answer any more; whoever ended is started again meanwhile."""
    deadline = time.monotonic() + seconds
    while True:
        live.revive_operators()
        found = await look()
        if not found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{found}\n{live.describe()}")
        await asyncio.sleep(0.5)


@pytest.fixture
async def live(
    stage: Stage, victoriametrics: VictoriaMetrics, postgres: Postgres, tmp_path: Path
) -> AsyncIterator[Live]:
    """A stage without a model yet. A commit that was answered outlives a crash of PostgreSQL."""
    stage.kubelet.stop()
    name = stage.database_url.rpartition("/")[2]
    await postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    directory = tmp_path / "pods"
    directory.mkdir()
    kubelet = ProcessKubelet(stage.namespace, directory)
    kubelet.start()
    yield Live(stage, kubelet, victoriametrics)
    # Operators first: they would make new pods for those that end.
    for operator in stage.operators:
        if operator.process is not None and operator.process.poll() is None:
            operator.process.send_signal(signal.SIGCONT)
            operator.stop(signal.SIGKILL)
    kubelet.stop()
