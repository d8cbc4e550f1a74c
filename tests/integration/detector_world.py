"""A model with live series for tests of the detector: samples, a version, processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.free_ports import free_port
from tests.integration.metrics_servers import VictoriaMetrics

from metricwatch.algorithms import FAMILIES
from metricwatch.algorithms.robust import value_step
from metricwatch.artifact import ModelChunk, pack
from metricwatch.assignments import TrainingRequest, WatchSettings
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.scoring import Scoring
from metricwatch.series import Grid, Labels, labels_from
from metricwatch.store.anomalies import list_anomalies
from metricwatch.store.models import (
    create_version,
    read_version,
    record_training,
    set_state,
    upsert_model,
)
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, StoredAnomaly, TrainingResult
from metricwatch.store.serving import set_serving
from metricwatch.store.watches import load_watches, upsert_watch

T = TypeVar("T")
MODEL, WATCH = "model-1", "watch-1"
HISTORY_SECONDS = 400
PATIENCE = 180.0
DELAY_SECONDS = 4


def normal(pod: str, second: int) -> float:
    """What a pod reports when nothing is wrong: a level, and noise that depends on the time."""
    seed = hashlib.blake2b(f"{pod} {second}".encode(), digest_size=8).digest()
    return 100.0 + float(np.random.default_rng(list(seed)).normal())


@dataclass(slots=True)
class Feed:
    """Pushes samples of some pods every second until cancelled.

    Attributes:
        raised: pods that are far too high.
        pushed_after: how long it took until the samples of a second could be asked for.
    """

    server: VictoriaMetrics
    metric: str
    pods: list[str]
    raised: set[str] = field(default_factory=set)
    pushed_after: dict[int, float] = field(default_factory=dict)

    @property
    def late(self) -> set[int]:
        """Seconds whose samples a busy machine did not push in time for their tick."""
        return self.slower_than(DELAY_SECONDS - 1)

    def slower_than(self, seconds: float) -> set[int]:
        """Seconds whose samples took longer than this."""
        return {second for second, took in self.pushed_after.items() if took > seconds}

    def lines(self, second: int) -> list[str]:
        return [
            f'{self.metric}{{pod="{pod}"}} '
            f"{normal(pod, second) + (60 if pod in self.raised else 0)!r} {second * 1000}"
            for pod in self.pods
        ]

    def backfill(self, *, until: int, seconds: int = HISTORY_SECONDS) -> None:
        lines = [line for at in range(until - seconds, until + 1) for line in self.lines(at)]
        self.server.import_text(lines)

    async def run(self, start: int) -> None:
        second = start
        async with httpx.AsyncClient(base_url=self.server.url, timeout=10) as client:
            while True:
                await asyncio.sleep(max(second - time.time(), 0))
                body = "\n".join(self.lines(second))
                # The server may be away on purpose; what was not pushed then is missing.
                with suppress(httpx.TransportError):
                    await client.post("/api/v1/import/prometheus", content=body)
                    await client.get("/internal/force_flush")
                self.pushed_after[second] = time.time() - second
                second += 1


F = TypeVar("F", bound=Feed)


@asynccontextmanager
async def feeding(feed: F) -> AsyncIterator[F]:
    """Backfills, then pushes live for the length of the block."""
    now = int(time.time())
    feed.backfill(until=now)
    task = asyncio.create_task(feed.run(now + 1))
    try:
        yield feed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def settings_of(feed: Feed, **changes: Any) -> WatchSettings:
    settings: dict[str, Any] = {
        "queries": [{"expr": feed.metric}],
        "source": {"type": "victoriametrics", "url": feed.server.url},
        "intervalSeconds": 1,
        # Mostly longer than a busy machine holds up the one that pushes.
        "delaySeconds": DELAY_SECONDS,
        "system": "checkout",
        "detection": {
            "cooldown": "3s",
            "falseAlarmsPerWeek": 5000,
            "minDeviation": {"absolute": 20},
        },
    }
    return WatchSettings.from_row(settings | changes)


def chunk_of(
    feed: Feed, pods: Sequence[str], *, watch_uid: str = WATCH, family_name: str = "zscore"
) -> ModelChunk:
    """A trained chunk of these pods, from the same history that was pushed."""
    now = int(time.time())
    grid = Grid(now - 300, 1, 300)
    values = np.array(
        [[normal(pod, second) for second in grid.timestamps().tolist()] for pod in pods]
    )
    family = FAMILIES[family_name]
    bank = family.fit(values, grid)
    evidence = family.fit(values, grid).backtest(grid, values).evidence
    scoring = Scoring.fit(bank.streams, evidence, grid, value_step=value_step(values))
    labels: list[Labels] = [labels_from({"__name__": feed.metric, "pod": pod}) for pod in pods]
    return ModelChunk(watch_uid, 1, tuple(labels), bank, scoring)


def artifact_of(chunk: ModelChunk, *, number: int = 0, content: bytes | None = None) -> Artifact:
    packed = pack(chunk)
    return Artifact(
        shard=0,
        chunk=number,
        family=chunk.family,
        watch_uid=chunk.watch_uid,
        series=chunk.series,
        sha256=hashlib.sha256(packed).digest(),
        content=packed if content is None else content,
    )


@dataclass(slots=True)
class World:
    """A model in the database, and what tests do to it."""

    database: Database
    url: str
    directory: Path
    model_id: int = 0
    processes: list[DetectorProcess] = field(default_factory=list)

    async def set_watch(self, settings: WatchSettings, *, uid: str = WATCH) -> int:
        async with self.database.transaction() as connection:
            self.model_id = await upsert_model(
                connection, uid=MODEL, namespace="shop", name="checkout", generation=1
            )
            await upsert_watch(
                connection,
                model_id=self.model_id,
                uid=uid,
                namespace="shop",
                name=f"name-of-{uid}",
                generation=1,
                settings=settings,
            )
            rows = await load_watches(connection, model_uid=MODEL)
        return next(row.id for row in rows if row.uid == uid)

    async def add_version(
        self, version: int, artifacts: Sequence[Artifact], *, serving: bool = True
    ) -> None:
        request = TrainingRequest.from_row(
            {
                "watches": [
                    {
                        "uid": WATCH,
                        "namespace": "shop",
                        "name": "latency",
                        "queries": [{"expr": "up"}],
                        "source": {"url": "http://prometheus:9090"},
                        "intervalSeconds": 1,
                    }
                ]
            }
        )
        async with self.database.transaction() as connection:
            await create_version(
                connection,
                model_id=self.model_id,
                version=version,
                request=request.to_row(),
                request_hash=request.fingerprint(),
                attempt=version,
            )
            row = await read_version(connection, model_uid=MODEL, version=version)
            result = TrainingResult(0, 1, "hash", 0, "0.1.0", {})
            await record_training(
                connection, version_id=row.id, result=result, artifacts=artifacts
            )
            await set_state(
                connection,
                model_id=self.model_id,
                version=version,
                state=VersionState.CANDIDATE,
            )
        if serving:
            await self.serve(version)

    async def serve(self, version: int) -> None:
        async with self.database.acquire() as connection:
            await set_serving(connection, model_id=self.model_id, version=version)

    async def anomalies(self) -> tuple[StoredAnomaly, ...]:
        async with self.database.acquire() as connection:
            return await list_anomalies(connection, model_uid=MODEL)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self.database.acquire() as connection:
            return await connection.fetch(query, *arguments)

    def start(self, *, version: int = 1, **variables: str) -> DetectorProcess:
        process = DetectorProcess(self.url, version, self.directory, variables)
        self.processes.append(process)
        return process


class DetectorProcess:
    """`python -m metricwatch_detector` as a process of its own."""

    def __init__(self, url: str, version: int, directory: Path, variables: dict[str, str]) -> None:
        self.port = free_port()
        self.log = directory / f"detector-{version}-{self.port}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "METRICWATCH_DATABASE_URL": url,
            "METRICWATCH_MODEL_UID": MODEL,
            "METRICWATCH_VERSION": str(version),
            "METRICWATCH_PORT": str(self.port),
            **variables,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "metricwatch_detector"], env=environment, stderr=log
            )

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}")

    async def metrics(self) -> str:
        return (await self.get("/metrics")).text

    async def sample(self, name: str, **labels: str) -> float | None:
        """The first sample of this name with these labels, None without one."""
        for family in text_string_to_metric_families(await self.metrics()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    async def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the detector ended:\n{self.log.read_text()}")
        with suppress(httpx.TransportError):
            return (await self.get("/readyz")).status_code == 200
        return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Asks it to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


async def eventually(
    check: Callable[[], Awaitable[T]], *, what: str, seconds: float = PATIENCE
) -> T:
    """The first truthy answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.2)
