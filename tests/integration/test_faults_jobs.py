"""Trainers and detectors that are killed, evicted, or lose their node; all of them processes."""

from __future__ import annotations

import asyncio
import time

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
from tests.integration.operator_fixture import operator_plane, stage, wait_for
from tests.integration.process_kubelet import Container

__all__ = ["live", "operator_plane", "stage"]

PODS = [f"pod-{number:02}" for number in range(24)]
SESSIONS = {"metricwatch-operator": 9, "metricwatch-detector": 9, "test": 1}


def _trainer(live: Live) -> Container:
    """A trainer that is at work."""
    return wait_for(lambda: next(iter(live.kubelet.alive("trainer")), None), live.describe)


def _retrain(live: Live) -> Container:
    # The annotation counts whole seconds.
    time.sleep(1.1)
    live.retrain()
    return _trainer(live)


async def _serves(live: Live, version: int) -> None:
    async def another() -> list[str]:
        model = live.stage.namespace.get("AnomalyModel", MODEL)
        found = model["status"].get("servingVersion")
        return [] if found == version else [f"version {found} serves"]

    await comes_to_rest(live, another)


async def test_pods_that_are_killed_evicted_or_lose_their_node_are_replaced_and_nothing_else(
    live: Live,
) -> None:
    now = int(time.time())
    # Each of another pod: one that is raised again and again would be so by habit.
    starts = range(now + 20, now + AHEAD_SECONDS - 60, 50)
    incidents = [Incident(PODS[n], first, first + 34) for n, first in enumerate(starts)]
    live.start_operator()
    live.apply(Timeline("jobs", PODS, now, incidents))
    await asyncio.to_thread(_trainer, live)
    live.kubelet.lose_node()
    await comes_to_rest(live, live.not_ready)
    since = quiet_from(incidents, int(time.time()))

    killed = await asyncio.to_thread(_retrain, live)
    killed.kill(why="OOMKilled")

    def said() -> bool:
        found = live.stage.namespace.conditions("AnomalyModel", MODEL)["Trained"]["message"]
        return "raise training.resources.limits.memory" in found

    await asyncio.to_thread(wait_for, said, live.describe)
    await _serves(live, 2)

    evicted = await asyncio.to_thread(_retrain, live)
    live.kubelet.evict(evicted)
    await _serves(live, 3)

    async def open_anomaly() -> list[str]:
        async with asking(live.stage) as connection:
            found = await connection.fetch("SELECT 1 FROM anomaly_points WHERE state = 'open'")
        return [] if found else ["no anomaly is open"]

    await comes_to_rest(live, open_anomaly)
    live.kubelet.lose_node()
    until = quiet_from(incidents, int(time.time()))

    async def rest() -> list[str]:
        async with asking(live.stage) as connection:
            return [
                *await undecided(connection, until=until),
                *await wrong_objects(connection, held_by(live.stage)),
                *await leaked_sessions(connection, most=SESSIONS),
            ]

    await comes_to_rest(live, rest)
    async with asking(live.stage) as connection:
        assert await wrong_rows(connection) == []
        assert await missed_ticks(connection, since=since, until=until) == []
        assert await wrong_anomalies(connection, incidents, since=since, until=until) == []
        versions = await connection.fetch("SELECT version, attempt FROM models ORDER BY version")
        assert [tuple(one) for one in versions] == [(1, 1), (2, 1), (3, 1)]
