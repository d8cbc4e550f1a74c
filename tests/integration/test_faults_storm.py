"""A hundred random kills in a row, under load, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.integration.invariants import (
    leaked_sessions,
    missed_ticks,
    undecided,
    wrong_objects,
    wrong_rows,
)
from tests.integration.live_fixture import (
    AHEAD_SECONDS,
    MODEL,
    WATCH,
    Incident,
    Live,
    Timeline,
    asking,
    comes_to_rest,
    held_by,
    live,
    quiet_from,
    wrong_anomalies,
)
from tests.integration.operator_fixture import operator_plane, stage
from tests.integration.postgres_fixture import Postgres
from tests.integration.process_kubelet import Container

__all__ = ["live", "operator_plane", "stage"]

KILLS = 100
PODS = [f"pod-{number:02}" for number in range(60)]
# A Job waits longer after each pod that ended badly: nobody waits for minutes here.
MOST_KILLS_OF_A_JOB = 2
RETRAIN_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 0.5
LONGEST_LIFE_SECONDS = 6.0
OPERATOR_BYTES = 256 * 2**20
DETECTOR_BYTES = 256 * 2**20
SESSIONS = {"metricwatch-operator": 9, "metricwatch-detector": 9, "test": 1}


@dataclass(slots=True)
class Storm:
    """Kills one thing after another."""

    live: Live
    postgres: Postgres
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    seen: dict[int, float] = field(default_factory=dict)

    async def rage(self) -> None:
        """Kills until there were enough kills; whatever ended is started again meanwhile."""
        asked_at = 0.0
        while self.killed.total() < KILLS:
            if time.monotonic() - asked_at > RETRAIN_SECONDS:
                asked_at = time.monotonic()
                self.live.retrain()
            kinds: list[Callable[[], Any]] = [
                self._operator,
                self._detector,
                self._trainer,
                self._session,
                self._server,
            ]
            (kind,) = self.chance.choices(kinds, weights=[20, 30, 25, 20, 4])
            done = kind()
            if asyncio.iscoroutine(done):
                done = await done
            if done:
                self.killed[kind.__name__.strip("_")] += 1
            self.live.revive_operators()
            await asyncio.sleep(self.chance.uniform(0.0, LONGEST_PAUSE_SECONDS))

    def _is_spared(self, pid: int) -> bool:
        """Whether it may live on: without this nearly all would die before they do anything."""
        now = time.monotonic()
        age = now - self.seen.setdefault(pid, now)
        return age < self.chance.uniform(0.0, LONGEST_LIFE_SECONDS)

    def _operator(self) -> bool:
        (operator,) = self.live.operators
        if operator.process is None or self._is_spared(operator.process.pid):
            return False
        operator.stop(signal.SIGKILL)
        return True

    def _detector(self) -> bool:
        return self._kill(self.live.kubelet.alive("detector"))

    def _trainer(self) -> bool:
        left = [
            one
            for one in self.live.kubelet.alive("trainer")
            if self.jobs[_job_of(one)] < MOST_KILLS_OF_A_JOB
        ]
        return self._kill(left)

    def _kill(self, containers: list[Container]) -> bool:
        if not containers:
            return False
        container = self.chance.choice(containers)
        if container.component == "detector" and self._is_spared(container.process.pid):
            return False
        self.jobs[_job_of(container)] += 1
        container.kill()
        return True

    async def _session(self) -> bool:
        """PostgreSQL takes the death of one of its processes for a crash of all."""
        async with asking(self.live.stage) as connection:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() ORDER BY backend_start"
            )
        if not rows:
            return False
        os.kill(self.chance.choice(rows)["pid"], signal.SIGKILL)
        await asyncio.to_thread(self.postgres.wait_until_accepting)
        return True

    async def _server(self) -> bool:
        await asyncio.to_thread(self.postgres.stop, how=signal.SIGQUIT)
        await asyncio.to_thread(self.postgres.start)
        return True


def _job_of(container: Container) -> str:
    return str(container.pod["metadata"]["labels"].get("batch.kubernetes.io/job-name", ""))


def _incidents(now: int) -> list[Incident]:
    """One after another for as long as the storm may last, each of another pod.

    A series that is raised again and again would be so by habit.
    """
    starts = range(now + 10, now + AHEAD_SECONDS - 30, 20)
    return [Incident(PODS[n % 59], first, first + 11) for n, first in enumerate(starts)]


@pytest.mark.timeout(900)
async def test_a_hundred_random_kills_under_load_lose_and_double_nothing(
    live: Live, postgres: Postgres
) -> None:
    seed = int(os.environ.get("METRICWATCH_STORM_SEED") or random.randrange(2**32))
    print(f"METRICWATCH_STORM_SEED={seed}")
    now = int(time.time())
    incidents = _incidents(now)
    live.start_operator()
    live.apply(Timeline("storm", PODS, now, incidents))
    await comes_to_rest(live, live.not_ready)
    since = quiet_from(incidents, int(time.time()))
    storm = Storm(live, postgres, random.Random(seed))
    began = time.monotonic()
    await storm.rage()
    ended = time.monotonic()

    await comes_to_rest(live, live.not_ready)
    back = time.monotonic() - ended
    print(f"{dict(storm.killed)} in {ended - began:.0f} s; Ready after {back:.1f} s")
    until = quiet_from(incidents, int(time.time()))
    await _state_afterwards(live, incidents, since=since, until=until)
    await _nothing_is_left_after_deletion(live)


async def _state_afterwards(
    live: Live, incidents: list[Incident], *, since: int, until: int
) -> None:
    async def rest() -> list[str]:
        async with asking(live.stage) as connection:
            return [
                *await undecided(connection, until=until),
                *await wrong_objects(connection, held_by(live.stage)),
                *await leaked_sessions(connection, most=SESSIONS),
                *_processes(live),
            ]

    await comes_to_rest(live, rest)
    async with asking(live.stage) as connection:
        assert await wrong_rows(connection) == []
        assert await missed_ticks(connection, since=since, until=until) == []
        assert await wrong_anomalies(connection, incidents, since=since, until=until) == []
    _nothing_has_grown(live)


def _processes(live: Live) -> list[str]:
    """What runs and should not, or should and does not."""
    wanted = sum(one["spec"]["replicas"] for one in live.stage.namespace.all("Deployment"))
    detectors, trainers = live.kubelet.alive("detector"), live.kubelet.alive("trainer")
    model = live.stage.namespace.get("AnomalyModel", MODEL)
    at_work = [one for one in model["status"]["versions"] if one["state"] == "Training"]
    too_many_or_few = f"{len(detectors)} detectors run, {wanted} are wanted"
    return [
        *([too_many_or_few] if len(detectors) != wanted else []),
        *(f"{one.name} runs" for one in trainers),
        *(f"version {one['version']} is being trained" for one in at_work),
    ]


def _nothing_has_grown(live: Live) -> None:
    for detector in live.kubelet.alive("detector"):
        assert detector.resident_bytes() < DETECTOR_BYTES
    (operator,) = live.operators
    assert operator.resident_bytes() < OPERATOR_BYTES


async def _nothing_is_left_after_deletion(live: Live) -> None:
    live.stage.namespace.delete("MetricWatch", WATCH)
    live.stage.namespace.delete("AnomalyModel", MODEL)
    kinds = ("AnomalyModel", "Deployment", "Job", "Pod", "Secret")

    async def left() -> list[str]:
        names = [name for kind in kinds for name in live.stage.namespace.names(kind)]
        only = {"metricwatch-operator": SESSIONS["metricwatch-operator"], "test": 1}
        async with asking(live.stage) as connection:
            return [*names, *await leaked_sessions(connection, most=only)]

    await comes_to_rest(live, left)
    tables = ("models_info", "watches", "metrics", "prediction_errors", "anomaly_points")
    async with asking(live.stage) as connection:
        for table in tables:
            assert await connection.fetch(f"SELECT 1 FROM {table} LIMIT 1") == [], table
