"""Manifests of children: strictly valid, restricted, and applied only when something differs."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    available,
    carry_out,
    make_model,
    make_serving_world,
    make_trainer_pod,
    make_watch,
    settle,
)

from metricwatch.resources import parse_model
from metricwatch_operator.planning.changes import describe_changes
from metricwatch_operator.planning.children import (
    Owner,
    RunOf,
    build_database_secret,
    build_detector,
    build_search_job,
    build_trainer_job,
    searches_first,
)
from metricwatch_operator.planning.config import Config, Placement
from metricwatch_operator.planning.contained import APPLIED_ANNOTATION, is_contained, stamp
from metricwatch_operator.planning.names import (
    database_secret_name,
    detector_name,
    search_job_name,
    source_volume_name,
    trainer_job_name,
)
from metricwatch_operator.planning.plan import plan

OWNER = Owner("shop", "checkout", "uid-checkout")
CROWDED = Config(
    trainer_image="trainer:1",
    detector_image="detector:1",
    placement=Placement(
        node_selector={"disk": "ssd"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        priority_class_name="high",
        image_pull_secrets=("registry",),
    ),
)


def _job(config: Config = CONFIG, **spec: Any) -> dict[str, Any]:
    run = RunOf(3, created_at=NOW, source_secrets=("vm", "vm", "other"), config=config)
    return build_trainer_job(OWNER, parse_model(make_model(**spec)).spec, run)


def _search(**spec: Any) -> dict[str, Any]:
    run = RunOf(3, created_at=NOW, source_secrets=("vm",), config=CONFIG)
    return build_search_job(OWNER, parse_model(make_model(**spec)).spec, run)


def _env(manifest: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in _pod(manifest)["containers"][0]["env"]}


def _detector(config: Config = CONFIG, shard: int = 0, **spec: Any) -> dict[str, Any]:
    return build_detector(
        OWNER,
        parse_model(make_model(**spec)).spec,
        version=3,
        shard=shard,
        source_secrets=("vm",),
        config=config,
    )


def _pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["spec"]["template"]["spec"])


CHILDREN = [_job(), _search(), _detector(), _job(CROWDED), _detector(CROWDED)]


@pytest.mark.parametrize("config", [CONFIG, CROWDED])
def test_manifests_have_only_fields_that_kubernetes_knows(config: Config) -> None:
    client.V1Job.model_validate(_job(config))
    client.V1Job.model_validate(_search())
    client.V1Deployment.model_validate(_detector(config))
    client.V1Secret.model_validate(
        build_database_secret(OWNER, content={"url": b"postgresql://db/x"})
    )


@pytest.mark.parametrize("manifest", CHILDREN)
def test_pods_meet_the_restricted_standard(manifest: dict[str, Any]) -> None:
    pod = _pod(manifest)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("manifest", CHILDREN)
def test_no_empty_value_makes_a_manifest_differ_for_ever(manifest: dict[str, Any]) -> None:
    for one in _pod(manifest)["containers"][0]["env"]:
        assert one["value"] != "", one["name"]


def test_source_secrets_are_mounted_once_and_are_optional() -> None:
    volumes = [one["secret"] for one in _pod(_job())["volumes"] if "source" in one["name"]]
    assert [(one["secretName"], one["optional"]) for one in volumes] == [
        ("other", True),
        ("vm", True),
    ]


def test_the_job_follows_the_trainers_table_of_exit_codes() -> None:
    rules = _job()["spec"]["podFailurePolicy"]["rules"]
    actions = {
        code: rule["action"]
        for rule in rules
        if "onExitCodes" in rule
        for code in rule["onExitCodes"]["values"]
    }
    assert actions == {10: "FailJob", 11: "FailJob", 143: "Ignore", 20: "Count", 70: "Count"}


def test_the_job_ends_after_the_training_timeout() -> None:
    assert _job(training={"timeout": "90m"})["spec"]["activeDeadlineSeconds"] == 5400


def test_a_search_for_parameters_has_a_time_of_its_own() -> None:
    tuning = {"enabled": True, "timeout": "10m"}
    job = _job(training={"timeout": "90m"}, tuning=tuning)
    assert job["spec"]["activeDeadlineSeconds"] == 6000
    job = _job(training={"timeout": "90m"}, tuning=tuning | {"enabled": False})
    assert job["spec"]["activeDeadlineSeconds"] == 5400


@pytest.mark.parametrize("parallelism", [1, 64])
def test_the_job_has_a_pod_for_each_slice(parallelism: int) -> None:
    job = _job(training={"parallelism": parallelism})
    assert job["spec"]["completionMode"] == "Indexed"
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (parallelism, parallelism)
    assert _env(job)["METRICWATCH_SHARDS"] == str(parallelism)
    # Kubernetes tells each pod its index; a value of ours would make all the same slice.
    assert "METRICWATCH_SHARD" not in _env(job)


def test_slices_are_tried_again_one_by_one_and_one_given_up_ends_the_job() -> None:
    spec = _job(training={"parallelism": 4})["spec"]
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (6, 0)
    assert "backoffLimit" not in spec


def test_the_pods_of_a_search_know_that_they_search() -> None:
    job = _search(tuning={"enabled": True, "parallelism": 3, "timeout": "10m"})
    assert job["metadata"]["name"] == "checkout-search-v3"
    assert (job["spec"]["completions"], job["spec"]["activeDeadlineSeconds"]) == (3, 4200)
    assert (_env(job)["METRICWATCH_PHASE"], _env(job)["METRICWATCH_SHARDS"]) == ("search", "3")
    assert "METRICWATCH_PHASE" not in _env(_job())


@pytest.mark.parametrize(
    ("enabled", "searching", "training", "first"),
    [
        (True, 1, 1, False),
        (True, 2, 1, True),
        (True, 1, 2, True),
        (False, 2, 2, False),
    ],
)
def test_several_pods_agree_on_the_parameters_first(
    enabled: bool, searching: int, training: int, first: bool
) -> None:
    spec = parse_model(
        make_model(
            tuning={"enabled": enabled, "parallelism": searching},
            training={"parallelism": training},
        )
    ).spec
    assert searches_first(spec) is first


@pytest.mark.parametrize("asked", ["requests", "limits"])
def test_a_gpu_that_is_asked_for_is_a_limit(asked: str) -> None:
    job = _job(training={"resources": {asked: {"nvidia.com/gpu": "1"}}})
    resources = _pod(job)["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == "1"
    assert resources["requests"]["cpu"] == "500m"


def test_resources_of_the_spec_go_over_those_of_the_operator() -> None:
    job = _job(training={"resources": {"limits": {"memory": "8Gi"}}})
    resources = _pod(job)["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "8Gi"}
    assert resources["requests"]["cpu"] == "500m"


def test_a_detector_is_replaced_without_a_gap() -> None:
    strategy = _detector()["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


def test_selectors_tell_versions_and_shards_apart() -> None:
    selector = _detector(shard=1)["spec"]["selector"]["matchLabels"]
    assert (selector["metricwatch.io/version"], selector["metricwatch.io/shard"]) == ("3", "1")


def test_a_named_database_secret_is_mounted_and_none_is_made() -> None:
    config = replace(CONFIG, database_secret="ours")
    volumes = {one["name"]: one for one in _pod(_detector(config))["volumes"]}
    assert volumes["database"]["secret"]["secretName"] == "ours"
    observed = replace(make_serving_world(), deployments=())
    assert plan(observed, now=NOW, config=config).database_secret is None


def _waiting(name: str, phase: str = "Pending", **metadata: Any) -> dict[str, Any]:
    pod = make_trainer_pod(1)
    named = {"name": name, "uid": f"uid-{name}", **metadata}
    return {**pod, "metadata": {**pod["metadata"], **named}, "status": {"phase": phase}}


def test_each_pod_that_waits_to_start_has_the_database_secret_applied_once_more() -> None:
    world = replace(make_serving_world(), pods=(_waiting("a"),))
    steps = plan(world, now=NOW, config=CONFIG)
    assert steps.database_secret == {"uid-a"}
    again = carry_out(world, steps)
    assert plan(again, now=NOW, config=CONFIG).database_secret is None
    more = replace(again, pods=(_waiting("a"), _waiting("b")))
    assert plan(more, now=NOW, config=CONFIG).database_secret == {"uid-a", "uid-b"}


@pytest.mark.parametrize(
    "pod",
    [
        _waiting("a", "Running"),
        _waiting("a", "Succeeded"),
        _waiting("a", deletionTimestamp="2026-03-01T12:00:00Z"),
    ],
)
def test_a_pod_that_needs_no_secret_any_more_has_none_applied(pod: dict[str, Any]) -> None:
    world = replace(make_serving_world(), pods=(pod,))
    assert plan(world, now=NOW, config=CONFIG).is_empty


def test_a_child_as_the_server_completed_it_is_left_alone() -> None:
    manifest = stamp(_detector())
    live = available(manifest)
    live["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    live["spec"]["template"]["spec"]["containers"][0]["terminationMessagePath"] = "/dev/x"
    assert is_contained(manifest, live)


@pytest.mark.parametrize(
    "change",
    [
        lambda live: live["spec"].update(replicas=3),
        lambda live: live["spec"]["template"]["spec"]["containers"][0].update(image="x"),
        lambda live: live["spec"]["template"]["spec"]["containers"][0]["env"].pop(),
        lambda live: live["metadata"]["annotations"].pop(APPLIED_ANNOTATION),
        lambda live: live["metadata"]["labels"].pop("metricwatch.io/model"),
    ],
)
def test_a_child_that_was_changed_is_noticed(change: Any) -> None:
    manifest = stamp(_detector())
    live = copy.deepcopy(available(manifest))
    change(live)
    assert not is_contained(manifest, live)


def test_something_no_longer_asked_for_is_noticed_by_the_stamp() -> None:
    live = available(stamp(_detector(CROWDED)))
    assert not is_contained(stamp(_detector()), live)


@pytest.mark.parametrize(
    ("asked", "live", "same"),
    [("1000m", "1", True), ("1024Mi", "1Gi", True), ("1G", "1Gi", False), ("1e3", "1k", True),
     (2, "2", True), ("x", "y", False)],
)  # fmt: skip
def test_quantities_are_compared_by_amount(asked: Any, live: str, same: bool) -> None:
    one, other = ({"limits": {"memory": value}} for value in (asked, live))
    assert is_contained(one, other) is same


def test_long_names_stay_apart_and_within_63_characters() -> None:
    first, second = "a" * 63, "a" * 62 + "b"
    jobs = [
        name(model, 12)
        for name in (trainer_job_name, search_job_name)
        for model in (first, second)
    ]
    # Kubernetes names the hosts of an Indexed Job after it, with the index at the end.
    assert max(len(f"{name}-63") for name in jobs) <= 63
    names = [
        *jobs,
        *(detector_name(model, 12, 3) for model in (first, second)),
    ]
    assert max(map(len, names)) <= 63
    assert len(set(names)) == 6
    assert len(database_secret_name("a" * 253)) <= 253


def test_a_dotted_name_makes_no_child_of_its_neighbour() -> None:
    assert trainer_job_name("a.b", 1) != trainer_job_name("a-b", 1)
    assert "." not in source_volume_name("my.secret")


def test_a_detector_removed_by_hand_is_made_again() -> None:
    observed = make_serving_world()
    steps = plan(replace(observed, deployments=()), now=NOW, config=CONFIG)
    assert [one["metadata"]["name"] for one in steps.applies] == ["checkout-detector-v1-0"]


def test_detectors_of_shards_that_are_no_more_go() -> None:
    observed = make_serving_world(detector={"shards": 2})
    fewer = replace(observed, model={**make_model(detector={"shards": 1}), "status": {}})
    steps = plan(fewer, now=NOW, config=CONFIG)
    assert [ref.name for ref in steps.deletions] == ["checkout-detector-v1-1"]


def test_a_secret_added_to_a_watch_is_mounted_without_training() -> None:
    observed = make_serving_world()
    watch = make_watch(source={"authRef": {"name": "vm"}})
    watch["status"] = observed.watches[0]["status"]
    changed = settle(replace(observed, watches=(watch,)))
    assert changed.overview is not None
    assert len(changed.overview.versions) == 1
    (deployment,) = changed.deployments
    names = [volume["name"] for volume in _pod(dict(deployment))["volumes"]]
    assert "vm-source" in names


def test_many_changes_are_counted_after_the_first_five() -> None:
    before = {"training": {str(number): 0 for number in range(8)}}
    after = {"training": {str(number): 1 for number in range(8)}}
    assert describe_changes(before, after).endswith(", and 3 more")


def test_another_family_is_one_change_whatever_parameters_come_with_it() -> None:
    before = {"algorithm": {"type": "seasonal"}, "training": {"window": "14d"}}
    after = {"algorithm": {"type": "lstm", "lstm": {"hidden": 16}}, "training": {"window": "3d"}}
    told = "algorithm.type seasonal → lstm, training.window 14d → 3d"
    assert describe_changes(before, after) == told
    more = {**after, "algorithm": {"type": "lstm", "lstm": {"hidden": 32}}}
    assert describe_changes(after, more) == "algorithm.lstm.hidden 16 → 32"


def test_what_an_earlier_release_did_not_write_is_no_change() -> None:
    old = {"uid": "1", "name": "latency", "queries": [{"expr": "a"}]}
    after = {"tuning": {"enabled": False, "trials": 30}, "watches": [old | {"groupBy": []}]}
    assert describe_changes({"watches": [old]}, after) == "nothing that training depends on"


def test_a_search_that_is_turned_on_is_named() -> None:
    off, on = ({"tuning": {"enabled": flag, "trials": 30}} for flag in (False, True))
    assert "tuning.enabled unset → True" in describe_changes(off, on)
    assert describe_changes(on, {"tuning": {"enabled": True, "trials": 60}}) == (
        "tuning.trials 30 → 60"
    )


def test_another_grouping_of_a_watch_is_named() -> None:
    old, new = ({"uid": "1", "name": "latency", "groupBy": by} for by in ([], ["pod"]))
    assert describe_changes({"watches": [old]}, {"watches": [new]}) == (
        "groupBy of watch latency changed"
    )


def test_changes_of_watches_are_named() -> None:
    old = {"uid": "1", "name": "latency", "queries": [{"expr": "a"}], "intervalSeconds": 60}
    new = {"uid": "1", "name": "latency", "queries": [{"expr": "b"}], "intervalSeconds": 30}
    gone, added = {"uid": "2", "name": "errors"}, {"uid": "3", "name": "cpu"}
    assert describe_changes({"watches": [old, gone]}, {"watches": [new, added]}) == (
        "watch cpu added, watch errors removed, query of watch latency changed, "
        "interval of watch latency 60 → 30"
    )


def test_what_is_empty_is_unset_and_no_change_from_what_was_never_set() -> None:
    before = {"training": {"schedule": "0 3 * * *"}, "algorithm": {"type": "auto"}}
    after = {
        "training": {"schedule": ""},
        "algorithm": {"type": "auto", "seasonal": {"country": "", "events": []}},
    }
    assert describe_changes(before, after) == "training.schedule 0 3 * * * → unset"
