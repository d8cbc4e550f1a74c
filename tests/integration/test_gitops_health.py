"""What Argo CD and Flux say of resources that the real operator brings about."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Any

from tests.gitops_programs import argo_health, kstatus
from tests.integration.operator_fixture import (
    Stage,
    TrainerEnd,
    operator_plane,
    stage,
    wait_for,
)

from metricwatch.store.health import record_health
from metricwatch.store.pool import Database
from metricwatch.store.rows import HealthState, Slice, WatchHealth

__all__ = ["operator_plane", "stage"]

MODEL, WATCH = ("AnomalyModel", "checkout"), ("MetricWatch", "latency")


def _objects(stage: Stage, *names: tuple[str, str]) -> list[dict[str, Any]]:
    # As a GitOps tool sees them: read one by one, not from a list, which has no kinds.
    return [stage.namespace.get(kind, name) for kind, name in names]


def _argo(stage: Stage, *names: tuple[str, str]) -> list[str]:
    return [health for health, _ in argo_health(_objects(stage, *names))]


def _flux(stage: Stage, *names: tuple[str, str]) -> list[str]:
    return [status for status, _ in kstatus(_objects(stage, *names))]


def _wait_for_health(stage: Stage, one: tuple[str, str], health: str, status: str) -> str:
    """Wait until both tools say so, and give the message that Argo CD shows."""
    found: list[tuple[str, str]] = []

    def said() -> bool:
        objects = _objects(stage, one)
        found[:] = [*argo_health(objects), *kstatus(objects)]
        return [word for word, _ in found] == [health, status]

    wait_for(said, lambda: f"{found} {stage.describe()}")
    return found[0][1]


async def _report(
    stage: Stage, database: Database, state: HealthState, *, message: str = "", version: int = 1
) -> None:
    now = int(time.time())
    rows = await stage.rows("SELECT id FROM watches WHERE name = $1", WATCH[1])
    health = WatchHealth(
        watch_id=rows[0]["id"],
        version=version,
        part=Slice(),
        state=state,
        message=message,
        series=4,
        left_out=0,
        scored_at=now,
        last_sample_at=now,
        lag_seconds=1.0,
    )
    async with database.transaction() as connection:
        await record_health(connection, health)


def _are(found: Sequence[str], *wanted: str) -> bool:
    return list(found) == list(wanted)


async def test_nothing_is_healthy_before_the_first_version_serves(
    stage: Stage, database: Database
) -> None:
    stage.add_model()
    stage.add_watch()
    assert _are(_argo(stage, MODEL, WATCH), "Progressing", "Progressing")
    assert _are(_flux(stage, MODEL, WATCH), "InProgress", "InProgress")

    stage.kubelet.trainer, stage.kubelet.detectors_start = None, False
    operator = stage.operator().start()
    stage.namespace.wait_for_condition(*MODEL, "Trained", "False", reason="Training")
    assert "version 1 is being trained" in _wait_for_health(
        stage, MODEL, "Progressing", "InProgress"
    )
    assert "model checkout" in _wait_for_health(stage, WATCH, "Progressing", "InProgress")

    stage.kubelet.trainer = TrainerEnd()
    stage.namespace.wait_for_condition(*MODEL, "Trained", "True")
    _wait_for_health(stage, MODEL, "Progressing", "InProgress")
    stage.kubelet.detectors_start = True
    assert "version 1 serves" in _wait_for_health(stage, MODEL, "Healthy", "Current")

    # The model serves, and nothing has been scored yet.
    _wait_for_health(stage, WATCH, "Progressing", "InProgress")
    await _report(stage, database, HealthState.SCORING)
    assert "scored by version 1" in _wait_for_health(stage, WATCH, "Healthy", "Current")

    assert operator.process is not None
    operator.process.send_signal(signal.SIGSTOP)
    stage.namespace.merge(*MODEL, {"spec": {"training": {"window": "7d"}}})
    message = _wait_for_health(stage, MODEL, "Progressing", "InProgress")
    assert message == "Waiting for the operator to look at this spec"
    stage.kubelet.trainer = None
    operator.process.send_signal(signal.SIGCONT)
    # Version 1 serves on while a version for the new spec is trained.
    _wait_for_health(stage, MODEL, "Healthy", "InProgress")
    stage.kubelet.trainer = TrainerEnd()
    stage.wait_for_serving(2)
    _wait_for_health(stage, MODEL, "Healthy", "Current")


async def test_a_version_that_nobody_changed_a_spec_for_keeps_no_tool_waiting(
    stage: Stage,
) -> None:
    stage.operator().start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    _wait_for_health(stage, MODEL, "Healthy", "Current")
    stage.kubelet.trainer = None
    await asyncio.sleep(1.1)  # the annotation counts whole seconds
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    annotation = {"metricwatch.io/retrain-requested-at": now}
    stage.namespace.merge(*MODEL, {"metadata": {"annotations": annotation}})
    stage.namespace.wait_for_condition(*MODEL, "Trained", "True", reason="Training")
    assert _are(_argo(stage, MODEL), "Healthy")
    assert _are(_flux(stage, MODEL), "Current")

    stage.namespace.merge(*MODEL, {"spec": {"suspend": True}})
    _wait_for_health(stage, MODEL, "Suspended", "InProgress")
    _wait_for_health(stage, WATCH, "Suspended", "InProgress")


async def test_a_mistake_is_degraded_and_failed_with_its_message(
    stage: Stage, database: Database
) -> None:
    stage.kubelet.trainer = TrainerEnd(10, "NotEnoughData", "3 of 288 samples")
    operator = stage.operator().start()
    stage.add_model()
    stage.add_watch()
    stage.add_model("plants", scope="multivariate", algorithm={"type": "seasonal"})
    stage.add_watch("moisture", model="plants")
    stage.add_watch("lonely", model="nowhere")
    plants, lonely = ("AnomalyModel", "plants"), ("MetricWatch", "lonely")
    assert "3 of 288 samples" in _wait_for_health(stage, MODEL, "Degraded", "Failed")
    assert "multivariate" in _wait_for_health(stage, plants, "Degraded", "Failed")
    # It may be applied a moment later: nothing is wrong yet.
    assert "create it" in _wait_for_health(stage, lonely, "Progressing", "InProgress")

    stage.kubelet.trainer = TrainerEnd()
    stage.namespace.merge(*MODEL, {"spec": {"training": {"minSamples": 24}}})
    stage.wait_for_serving(2)
    _wait_for_health(stage, MODEL, "Healthy", "Current")
    await _report(stage, database, HealthState.QUERY_REFUSED, message="bad_data: 1:3", version=2)
    assert "bad_data: 1:3" in _wait_for_health(stage, WATCH, "Degraded", "Failed")

    assert operator.stop() == 0
    stage.namespace.delete(*MODEL)
    # Argo CD asks no script of an object that is being deleted; kstatus knows it too.
    assert _are(_flux(stage, MODEL), "Terminating")
