"""The life of a model and its watches, from the first apply to deletion, on a real API server."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import Any

import pytest
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


def _serve_first_version(stage: Stage, **spec: Any) -> None:
    stage.operator().start()
    # The version before stays for the rollback window: nobody waits ten minutes here.
    stage.add_model(**{"rollout": {"rollbackWindow": "3s"}, **spec})
    stage.add_watch()
    stage.wait_for_serving(1)


def _is_gone(stage: Stage, kind: str) -> bool:
    return not stage.namespace.all(kind)


async def test_a_model_with_a_watch_is_trained_and_served(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")
    assert stage.namespace.names("Deployment") == ["checkout-detector-v1-0"]
    assert stage.namespace.names("Job") == ["checkout-train-v1"]
    assert stage.namespace.names("Secret") == ["checkout-database"]
    rows = await stage.rows("SELECT version, state FROM models")
    assert rows == [{"version": 1, "state": "Serving"}]
    told = [reason for reason, _ in stage.namespace.events()]
    assert {"TrainingStarted", "VersionTrained", "VersionServing"} <= set(told)


async def test_children_belong_to_the_model_and_the_secret_holds_the_url(stage: Stage) -> None:
    _serve_first_version(stage)
    uid = stage.namespace.get("AnomalyModel", "checkout")["metadata"]["uid"]
    for kind in ("Deployment", "Job", "Secret"):
        (child,) = stage.namespace.all(kind)
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (
            uid,
            True,
            True,
        )
    # Somebody deletes it, which nobody tells; the next pod that starts brings it back.
    stage.kubelet.detectors_start = False
    stage.namespace.delete("Secret", "checkout-database")
    for pod in stage.namespace.all("Pod"):
        stage.namespace.delete("Pod", pod["metadata"]["name"])
    wait_for(lambda: "checkout-database" in stage.namespace.names("Secret"), stage.describe)


async def test_a_model_without_a_watch_waits_and_says_so(stage: Stage) -> None:
    stage.operator().start()
    stage.add_model()
    stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "DataAvailable", "Unknown", reason="NoWatches"
    )
    assert stage.namespace.all("Job") == []


async def test_a_watch_of_an_unknown_model_says_so_until_the_model_comes(stage: Stage) -> None:
    stage.operator().start()
    stage.add_watch()
    stage.namespace.wait_for_condition(
        "MetricWatch", "latency", "ModelResolved", "False", reason="ModelNotFound"
    )
    stage.add_model()
    stage.namespace.wait_for_condition("MetricWatch", "latency", "ModelResolved", "True")
    stage.wait_for_serving(1)


async def test_a_spec_change_brings_version_2_beside_version_1_and_then_replaces_it(
    stage: Stage,
) -> None:
    _serve_first_version(stage)
    stage.kubelet.detectors_start = False
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"training": {"window": "7d"}}})
    both = ["checkout-detector-v1-0", "checkout-detector-v2-0"]
    wait_for(lambda: stage.namespace.names("Deployment") == both, stage.describe)
    status = stage.namespace.get("AnomalyModel", "checkout")["status"]
    assert status["servingVersion"] == 1
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")
    assert (
        stage.namespace.conditions("AnomalyModel", "checkout")["Reconciling"]["status"] == "True"
    )

    stage.kubelet.detectors_start = True
    stage.wait_for_serving(2)
    wait_for(lambda: stage.namespace.names("Deployment") == both[1:], stage.describe)
    wait_for(lambda: "Reconciling" not in stage.namespace.conditions("AnomalyModel", "checkout"))
    told = dict(stage.namespace.events())
    assert any("training.window 14d → 7d" in note for _, note in stage.namespace.events()), told
    rows = await stage.rows("SELECT version, state FROM models ORDER BY version")
    assert [row["state"] for row in rows] == ["Retired", "Serving"]


async def test_a_policy_change_reaches_the_database_and_trains_nothing(stage: Stage) -> None:
    _serve_first_version(stage)
    change = {"spec": {"detection": {"falseAlarmsPerWeek": 3}}}
    stage.namespace.merge("MetricWatch", "latency", change)
    generation = stage.namespace.get("MetricWatch", "latency")["metadata"]["generation"]
    wait_for(
        lambda: (
            stage.namespace.get("MetricWatch", "latency")["status"]["observedGeneration"]
            == generation
        )
    )
    budget = "settings->'detection'->>'falseAlarmsPerWeek'"
    assert await stage.rows(f"SELECT ({budget})::float AS budget FROM watches") == [{"budget": 3}]
    assert stage.namespace.names("Job") == ["checkout-train-v1"]
    assert len(await stage.rows("SELECT 1 FROM models")) == 1


async def test_another_watch_trains_a_version_that_knows_it(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.add_watch("errors", query="sum(rate(errors_total[5m]))")
    stage.wait_for_serving(2)
    assert any("watch errors added" in note for _, note in stage.namespace.events())


async def test_too_little_data_fails_the_version_and_is_not_tried_again(stage: Stage) -> None:
    stage.kubelet.trainer = TrainerEnd(10, "NotEnoughData", "3 of 288 samples")
    stage.operator().start()
    stage.add_model()
    stage.add_watch()
    stalled = stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Stalled", "True", reason="NotEnoughData"
    )
    assert "3 of 288 samples" in stalled["message"]
    status = stage.namespace.get("AnomalyModel", "checkout")["status"]
    assert status["lastFailure"]["reason"] == "NotEnoughData"
    assert "nextTrainingTime" not in status
    assert len(await stage.rows("SELECT 1 FROM models")) == 1


async def test_a_failed_version_leaves_the_serving_one_untouched(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.kubelet.trainer = TrainerEnd(11, "QueryRefused", "parse error at char 3")
    stage.namespace.merge("MetricWatch", "latency", {"spec": {"query": "up{"}})
    stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Trained", "False", reason="QueryRefused"
    )
    ready = stage.namespace.conditions("AnomalyModel", "checkout")["Ready"]
    assert ready["status"] == "True"
    assert stage.namespace.names("Deployment") == ["checkout-detector-v1-0"]

    stage.kubelet.trainer = TrainerEnd()
    stage.namespace.merge("MetricWatch", "latency", {"spec": {"query": "up * 2"}})
    stage.wait_for_serving(3)


async def test_bugs_are_retried_by_the_job_and_then_by_a_new_version_later(stage: Stage) -> None:
    stage.kubelet.trainer = None
    stage.operator().start()
    stage.add_model()
    stage.add_watch()
    wait_for(lambda: stage.namespace.all("Pod"), stage.describe)
    stage.kubelet.trainer = TrainerEnd(70, "Bug", "division by zero")
    wait_for(lambda: len(stage.namespace.all("Pod")) >= 2, stage.describe)
    trained = stage.namespace.conditions("AnomalyModel", "checkout")["Trained"]
    assert trained["reason"] == "Training"


async def test_a_suspended_model_runs_nothing_and_resumes_with_what_it_knows(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"suspend": True}})
    stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Ready", "False", reason="Suspended"
    )
    wait_for(lambda: not stage.namespace.all("Deployment"), stage.describe)
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"suspend": False}})
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")
    assert stage.namespace.names("Job") == ["checkout-train-v1"]


async def test_what_is_not_built_yet_is_refused_in_words(stage: Stage) -> None:
    stage.operator().start()
    stage.add_model(scope="multivariate", algorithm={"type": "seasonal"})
    stage.add_watch()
    stalled = stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Stalled", "True", reason="NotSupported"
    )
    assert "multivariate" in stalled["message"]
    assert stage.namespace.all("Job") == []


async def test_a_child_that_was_changed_by_hand_is_put_right(stage: Stage) -> None:
    _serve_first_version(stage)
    name = "checkout-detector-v1-0"
    path = stage.namespace.path("Deployment", name)
    replaced = [
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "x:1"}
    ]
    headers = {"Content-Type": "application/json-patch+json"}
    assert stage.namespace.client.patch(path, json=replaced, headers=headers).is_success

    def image() -> str:
        template = stage.namespace.get("Deployment", name)["spec"]["template"]
        return str(template["spec"]["containers"][0]["image"])

    wait_for(lambda: image() == "registry.example/detector:1", stage.describe)


async def test_a_retrain_request_by_annotation_brings_one_new_version(stage: Stage) -> None:
    _serve_first_version(stage)
    await asyncio.sleep(1.1)  # the annotation counts whole seconds, as kubectl would write it
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    annotation = {"metadata": {"annotations": {"metricwatch.io/retrain-requested-at": now}}}
    stage.namespace.merge("AnomalyModel", "checkout", annotation)
    stage.wait_for_serving(2)
    wait_for(lambda: stage.namespace.names("Deployment") == ["checkout-detector-v2-0"])
    assert len(await stage.rows("SELECT 1 FROM models")) == 2


async def test_a_watch_tells_what_its_detector_reports(stage: Stage, database: Database) -> None:
    _serve_first_version(stage)
    (row,) = await stage.rows("SELECT id FROM watches")
    now = int(time.time())
    health = WatchHealth(
        watch_id=row["id"],
        version=1,
        part=Slice(),
        state=HealthState.SCORING,
        series=12,
        left_out=3,
        scored_at=now,
        last_sample_at=now,
        lag_seconds=1.4,
    )
    async with database.transaction() as connection:
        await record_health(connection, health)
    stage.namespace.wait_for_condition("MetricWatch", "latency", "Ready", "True", reason="Scoring")
    status = stage.namespace.get("MetricWatch", "latency")["status"]
    assert (status["series"], status["modelVersion"], status["lagSeconds"]) == (12, 1, 1)
    conditions = stage.namespace.conditions("MetricWatch", "latency")
    assert conditions["SeriesWithinLimit"]["reason"] == "LimitExceeded"
    assert conditions["DataFresh"]["status"] == "True"


async def test_a_removed_watch_is_no_longer_watched(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.add_watch("errors", query="errors_total")
    stage.wait_for_serving(2)
    stage.namespace.delete("MetricWatch", "errors")

    def watches() -> object:
        return stage.namespace.get("AnomalyModel", "checkout")["status"].get("watches")

    wait_for(lambda: watches() == 1, stage.describe)
    assert await stage.rows("SELECT name FROM watches") == [{"name": "latency"}]
    # What was learned of the watch that stays is right still.
    stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Trained", "True", reason="Trained"
    )


async def test_deleting_a_model_leaves_nothing(stage: Stage) -> None:
    _serve_first_version(stage)
    stage.namespace.delete("AnomalyModel", "checkout")
    wait_for(lambda: stage.namespace.find("AnomalyModel", "checkout") is None, stage.describe)
    for kind in ("Deployment", "Job", "Pod", "Secret"):
        wait_for(functools.partial(_is_gone, stage, kind), stage.describe)
    for table in ("models_info", "models", "watches"):
        assert await stage.rows(f"SELECT 1 FROM {table}") == []
    stage.namespace.wait_for_condition(
        "MetricWatch", "latency", "ModelResolved", "False", reason="ModelNotFound"
    )


@pytest.mark.parametrize("shards", [2])
async def test_every_shard_gets_a_detector_of_its_own(stage: Stage, shards: int) -> None:
    _serve_first_version(stage, detector={"shards": shards})
    names = [f"checkout-detector-v1-{shard}" for shard in range(shards)]
    assert stage.namespace.names("Deployment") == names
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"detector": {"shards": 1}}})
    wait_for(lambda: stage.namespace.names("Deployment") == names[:1], stage.describe)
