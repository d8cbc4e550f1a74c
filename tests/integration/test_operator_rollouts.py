"""Which version serves, on a real API server and a real database: gate, shadow, rollback, pins."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from typing import Any

from tests.integration.operator_fixture import (
    Stage,
    TrainerEnd,
    operator_plane,
    stage,
    wait_for,
)
from tests.integration.store_rows import make_labels
from tests.unit.version_world import gate_report

from metricwatch.store.metrics import register_series
from metricwatch.store.pool import Database
from metricwatch.store.scores import Scores, write_scores

__all__ = ["operator_plane", "stage"]
MODEL = "AnomalyModel"


def _serve_first_version(stage: Stage, **rollout: Any) -> None:
    stage.operator().start()
    stage.add_model(rollout=rollout)
    stage.add_watch()
    stage.wait_for_serving(1)


async def _retrain(stage: Stage) -> None:
    await asyncio.sleep(1.1)  # the annotation counts whole seconds, as kubectl would write it
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    _annotate(stage, "retrain-requested-at", now)


def _annotate(stage: Stage, name: str, text: str) -> None:
    annotation = {"metadata": {"annotations": {f"metricwatch.io/{name}": text}}}
    stage.namespace.merge(MODEL, "checkout", annotation)


def _pin(stage: Stage, version: int | None) -> None:
    stage.namespace.merge(MODEL, "checkout", {"spec": {"version": version}})


async def _states(stage: Stage) -> list[str]:
    rows = await stage.rows("SELECT state FROM models ORDER BY version")
    return [row["state"] for row in rows]


def _status(stage: Stage) -> dict[str, Any]:
    return dict(stage.namespace.get(MODEL, "checkout").get("status") or {})


def _deployed(stage: Stage) -> list[str]:
    return [
        name.removeprefix("checkout-detector-") for name in stage.namespace.names("Deployment")
    ]


async def _score(
    stage: Stage, database: Database, *, since: str, verdicts: Mapping[int, bool]
) -> None:
    """Writes scores of each version, anomalous or not, from a version's time on."""
    async with database.acquire() as connection:
        watch = await connection.fetchval("SELECT id FROM watches LIMIT 1")
        registered = await register_series(connection, watch_id=watch, labels=make_labels("a"))
        (row,) = await stage.rows(
            f"SELECT extract(epoch FROM {since})::bigint AS at FROM models WHERE version = 2"
        )
        (metric,) = registered.values()
        times = [row["at"] + 1 + number for number in range(40)]
        for version, anomalous in verdicts.items():
            scores = Scores(
                [metric] * len(times), times, 1, 1, 1, 1, 1, 1, [anomalous] * len(times)
            )
            await write_scores(connection, version=version, scores=scores)


async def test_a_version_that_the_gate_refuses_never_runs(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.kubelet.report = gate_report("bad")
    await _retrain(stage)
    found = stage.namespace.wait_for_condition(
        MODEL, "checkout", "GatePassed", "False", reason="TooManyAnomalies"
    )
    assert "50.00% of the samples held back" in found["message"]
    wait_for(lambda: _status(stage)["versions"][0]["state"] == "Rejected")
    assert await _states(stage) == ["Serving", "Rejected"]
    assert _deployed(stage) == ["v1-0"]
    assert _status(stage)["versions"][0]["quality"]["servingAnomalyRate"] == 0.005
    assert any(reason == "VersionRejected" for reason, _ in stage.namespace.events())


async def test_a_version_that_storms_goes_back(stage: Stage, database: Database) -> None:
    _serve_first_version(stage)
    await _retrain(stage)
    stage.wait_for_serving(2)
    assert _deployed(stage) == ["v1-0", "v2-0"]
    await _score(stage, database, since="served_at", verdicts={1: False, 2: True})
    stage.wait_for_serving(1)
    assert await _states(stage) == ["Serving", "Rejected"]
    wait_for(lambda: _deployed(stage) == ["v1-0"], stage.describe)
    (row,) = await stage.rows("SELECT reason, message FROM models WHERE version = 2")
    assert row["reason"] == "AnomalyStorm"
    assert any(reason == "RolledBack" for reason, _ in stage.namespace.events())
    # It stays that way.
    await asyncio.sleep(5)
    assert await _states(stage) == ["Serving", "Rejected"]


async def test_a_candidate_in_shadow_serves_after_the_comparison(
    stage: Stage, database: Database
) -> None:
    _serve_first_version(stage, strategy="Shadow", shadow={"duration": "5s"})
    await _retrain(stage)
    wait_for(lambda: _status(stage).get("candidateVersion") == 2, stage.describe)
    wait_for(lambda: _deployed(stage) == ["v1-0", "v2-0"], stage.describe)
    wait_for(lambda: "VersionReady" in dict(stage.namespace.events()), stage.describe)
    assert _status(stage)["servingVersion"] == 1
    await _score(stage, database, since="ready_at", verdicts={1: False, 2: False})
    stage.wait_for_serving(2)


async def test_a_candidate_that_is_held_back_waits_to_be_named(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.namespace.merge(MODEL, "checkout", {"spec": {"rollout": {"autoPromote": False}}})
    await _retrain(stage)
    wait_for(lambda: "VersionReady" in dict(stage.namespace.events()), stage.describe)
    assert await _states(stage) == ["Serving", "Candidate"]
    _annotate(stage, "promote-version", "2")
    stage.wait_for_serving(2)


async def test_a_pin_takes_a_version_back_and_without_it_the_newest_serves(stage: Stage) -> None:
    _serve_first_version(stage)
    await _retrain(stage)
    stage.wait_for_serving(2)
    _pin(stage, 1)
    stage.wait_for_serving(1)
    wait_for(lambda: _deployed(stage) == ["v1-0"], stage.describe)
    _pin(stage, 9)
    stalled = stage.namespace.wait_for_condition(
        MODEL, "checkout", "Stalled", "True", reason="VersionNotFound"
    )
    assert "version 9 does not exist" in stalled["message"]
    assert stage.namespace.conditions(MODEL, "checkout")["Ready"]["status"] == "True"
    assert _status(stage)["servingVersion"] == 1
    _pin(stage, None)
    stage.wait_for_serving(2)
    assert await _states(stage) == ["Retired", "Serving"]


async def test_an_operator_that_is_killed_in_every_state_repeats_nothing(stage: Stage) -> None:
    """In training, with a candidate, with a version that has just taken over."""
    operator = stage.operator().start()
    stage.add_model(rollout={"rollbackWindow": "5s"})
    stage.add_watch()
    stage.wait_for_serving(1)
    stage.kubelet.trainer, stage.kubelet.detectors_start = None, False
    await _retrain(stage)
    wait_for(lambda: len(stage.namespace.all("Job")) == 2, stage.describe)
    operator.stop(signal.SIGKILL)

    stage.kubelet.trainer = TrainerEnd()
    operator = stage.operator().start()
    wait_for(lambda: _deployed(stage) == ["v1-0", "v2-0"], stage.describe)
    operator.stop(signal.SIGKILL)
    assert await _states(stage) == ["Serving", "Candidate"]

    stage.kubelet.detectors_start = True
    operator = stage.operator().start()
    stage.wait_for_serving(2)
    operator.stop(signal.SIGKILL)

    stage.operator().start()
    wait_for(lambda: _deployed(stage) == ["v2-0"], stage.describe)
    stage.namespace.wait_for_condition(MODEL, "checkout", "Ready", "True")
    assert await _states(stage) == ["Retired", "Serving"]
    assert len(stage.namespace.all("Job")) == 2
