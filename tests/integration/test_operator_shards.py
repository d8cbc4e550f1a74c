"""Runs that several pods share, with the API server's and the Job controller's own rules."""

from __future__ import annotations

from tests.integration.operator_fixture import Stage, TrainerEnd, operator_plane, stage, wait_for

__all__ = ["operator_plane", "stage"]

LONG = "a" * 63


def _trainers(stage: Stage) -> list[str]:
    return [pod for pod in stage.namespace.names("Pod") if "-train-" in pod]


async def test_a_version_that_several_pods_train_serves(stage: Stage) -> None:
    stage.operator().start()
    stage.add_model(training={"parallelism": 3})
    stage.add_watch()
    stage.wait_for_serving(1)
    (job,) = stage.namespace.all("Job")
    assert job["status"]["completedIndexes"] == "0-2"
    assert len(_trainers(stage)) == 3


async def test_a_search_comes_before_the_training(stage: Stage) -> None:
    stage.operator().start()
    stage.add_model(tuning={"enabled": True, "parallelism": 2}, training={"parallelism": 2})
    stage.add_watch()
    stage.wait_for_serving(1)
    search, training = sorted(stage.namespace.all("Job"), key=lambda job: job["metadata"]["name"])
    assert [one["metadata"]["name"] for one in (search, training)] == [
        "checkout-search-v1",
        "checkout-train-v1",
    ]
    assert search["status"]["completionTime"] <= training["metadata"]["creationTimestamp"]


async def test_a_slice_that_cannot_be_learned_ends_the_run_and_is_named(stage: Stage) -> None:
    stage.kubelet.slices[1] = TrainerEnd(11, "QueryRefused", "parse error at char 3")
    stage.operator().start()
    stage.add_model(training={"parallelism": 2})
    stage.add_watch()
    found = wait_for(
        lambda: (stage.namespace.get("AnomalyModel", "checkout").get("status") or {}).get(
            "lastFailure"
        ),
        stage.describe,
    )
    assert found["reason"] == "QueryRefused"
    assert "shard 1 of 2: parse error at char 3" in found["message"]


async def test_one_slice_is_tried_again_while_the_other_is_done(stage: Stage) -> None:
    stage.kubelet.slices[1] = TrainerEnd(20, "SourceUnavailable", "connection refused")
    stage.operator().start()
    stage.add_model(training={"parallelism": 2})
    stage.add_watch()
    wait_for(
        lambda: any(
            (job.get("status") or {}).get("completedIndexes") == "0"
            for job in stage.namespace.all("Job")
        ),
        stage.describe,
    )
    stage.kubelet.slices.clear()
    stage.wait_for_serving(1)
    indexes = sorted(name.split("-")[-2] for name in _trainers(stage))
    assert indexes[0] == "0"
    assert indexes.count("0") == 1
    assert indexes.count("1") > 1


async def test_the_api_server_takes_the_longest_name_with_the_most_slices(stage: Stage) -> None:
    stage.kubelet.trainer = None
    stage.operator().start()
    stage.add_model(
        LONG, training={"parallelism": 64, "resources": {"requests": {"a.b/gpu": "1"}}}
    )
    stage.add_watch(model=LONG)
    (job,) = wait_for(lambda: stage.namespace.all("Job"), stage.describe)
    assert job["spec"]["completions"] == 64
    # Pods of so long a name are named after a part of it.
    wait_for(lambda: len(stage.namespace.all("Pod")) == 64, stage.describe)
