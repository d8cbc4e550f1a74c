"""The edges: settings, error classes, what is remembered, what informers keep."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.operator_builders import make_model, make_watch

from metricwatch.resources import SourceType
from metricwatch.store.location import DatabaseLocation
from metricwatch_operator import gateway
from metricwatch_operator.errors import (
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    NotFound,
    Retryable,
    Terminal,
)
from metricwatch_operator.gateway import classify
from metricwatch_operator.informers import InformerCache, build_settings
from metricwatch_operator.leader import Leader
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.observed import Problem
from metricwatch_operator.planning.children import MODEL_ANNOTATION
from metricwatch_operator.reading import EndlessBackoff
from metricwatch_operator.remembered import Remembered
from metricwatch_operator.settings import InvalidSettings, read_settings

IMAGES = {"METRICWATCH_TRAINER_IMAGE": "t:1", "METRICWATCH_DETECTOR_IMAGE": "d:1"}


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, "not found", NotFound),
        (409, "the object has been modified", Conflict),
        (410, "too old resource version", Expired),
        (422, "spec.replicas: Invalid value", Terminal),
        (400, "bad request", Terminal),
        (403, "forbidden", Forbidden),
        (429, "too many requests", Retryable),
        (500, "internal", Retryable),
        (500, ".status.x: field not declared in schema", Terminal),
        (503, "unavailable", Retryable),
    ],
)
def test_each_answer_becomes_the_error_that_says_what_helps(
    status: int, message: str, kind: type[ApiError]
) -> None:
    error = classify(status, json.dumps({"message": message, "reason": "Why"}))
    assert type(error) is kind
    assert str(error) == message


def test_an_error_in_the_middle_of_a_watch_becomes_the_same() -> None:
    told: list[str] = []
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old", "reason": "Expired"}}
    with pytest.raises(Expired, match="too old"):
        gateway._tell(json.dumps(gone).encode(), lambda event, _: told.append(event))
    assert told == []


def test_the_delay_that_a_server_asks_for_is_kept() -> None:
    error = classify(429, json.dumps({"message": "slow", "details": {"retryAfterSeconds": 7}}))
    assert isinstance(error, Retryable)
    assert error.delay == 7.0


@pytest.mark.parametrize("body", ["", "<html>", "[1]", "null"])
def test_an_answer_that_is_no_status_is_still_an_error(body: str) -> None:
    assert isinstance(classify(502, body), Retryable)


def test_settings_have_defaults_for_everything_but_the_images() -> None:
    config = read_settings(IMAGES).config()
    assert (config.trainer_image, config.detector_image) == ("t:1", "d:1")
    assert config.resync_seconds == 15
    assert (config.watches_settle_seconds, config.concurrent_trainings) == (60, 4)


def test_settings_are_read_from_json_and_lists() -> None:
    settings = read_settings(
        {
            **IMAGES,
            "METRICWATCH_NAMESPACES": "a, b,",
            "METRICWATCH_DEFAULT_SOURCE": '{"url": "http://vm:8428", "type": "victoriametrics"}',
            "METRICWATCH_DETECTOR_RESOURCES": '{"limits": {"memory": "2Gi"}}',
            "METRICWATCH_TOLERATIONS": '[{"key": "gpu"}]',
            "METRICWATCH_PORT": "",
        }
    )
    config = settings.config()
    assert settings.namespaces == ("a", "b")
    assert config.default_source.type is SourceType.VICTORIAMETRICS
    assert config.detector_resources["limits"] == {"memory": "2Gi"}
    assert config.detector_resources["requests"]["cpu"] == "50m"
    assert config.placement.tolerations == ({"key": "gpu"},)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("METRICWATCH_WORKERS", "many"),
        ("METRICWATCH_DEFAULT_SOURCE", "{url"),
        ("METRICWATCH_DEFAULT_SOURCE", '{"uri": "http://x"}'),
        ("METRICWATCH_IMAGE_PULL_POLICY", "Sometimes"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variable: str, value: str) -> None:
    with pytest.raises(InvalidSettings, match=variable):
        read_settings({**IMAGES, variable: value})


def test_missing_images_are_named() -> None:
    with pytest.raises(InvalidSettings, match="METRICWATCH_TRAINER_IMAGE"):
        read_settings({})


def _at(manifest: dict[str, Any], version: str) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": version}}


def test_our_own_write_stands_in_until_the_cache_has_caught_up() -> None:
    remembered = Remembered(now=lambda: 0.0)
    remembered.wrote(_at({**make_model(), "status": {"x": 1}}, "10"))
    assert remembered.newest(_at(make_model(), "9"))["status"] == {"x": 1}
    assert "status" not in remembered.newest(_at(make_model(), "10"))
    assert "status" not in remembered.newest(_at(make_model(), "9"))


def test_the_database_secret_is_applied_again_for_another_url_or_after_a_while() -> None:
    now = [0.0]
    remembered = Remembered(now=lambda: now[0])
    remembered.shared_database("uid", "one")
    assert remembered.recall("uid", url_digest="one").database_secret
    assert not remembered.recall("uid", url_digest="two").database_secret
    now[0] = 601.0
    assert not remembered.recall("uid", url_digest="one").database_secret


def test_which_pods_had_the_database_secret_applied_is_remembered_with_it() -> None:
    remembered = Remembered(now=lambda: 0.0)
    assert remembered.recall("uid", url_digest="one").provided == frozenset()
    remembered.shared_database("uid", "one", pods=frozenset({"pod-1"}))
    assert remembered.recall("uid", url_digest="one").provided == {"pod-1"}
    remembered.forget("uid")
    assert remembered.recall("uid", url_digest="one").provided == frozenset()


def test_nothing_is_remembered_of_an_object_that_is_gone() -> None:
    remembered = Remembered(now=lambda: 0.0)
    remembered.assigned("uid", "digest")
    remembered.refused("uid", Problem("Invalid", "no"))
    remembered.forget("uid")
    memory = remembered.recall("uid", url_digest="")
    assert (memory.assignments, memory.refusal) == ("", None)


def test_a_watch_that_moves_to_another_model_concerns_both() -> None:
    watches = InformerCache().shelves["watches"]
    watch = make_watch()
    moved = {**watch, "spec": {**watch["spec"], "modelRef": {"name": "two"}}}
    moved["metadata"] = {**watch["metadata"], "resourceVersion": "999"}
    one, two = ("shop", "checkout"), ("shop", "two")
    assert watches.put(watch) == {one}
    assert watches.put(moved) == {one, two}
    assert watches.drop(watch["metadata"]["uid"]) == {two}


def test_models_and_watches_are_found_by_key_and_in_order() -> None:
    cache = InformerCache()
    key = ("shop", "checkout")
    model = make_model()
    cache.shelves["models"].put(model)
    for name in ("b", "a"):
        cache.shelves["watches"].put(make_watch(name))
    lost = make_watch("c")
    lost["spec"] = {**lost["spec"], "modelRef": {"name": "gone"}}
    cache.shelves["watches"].put(lost)
    assert [watch["metadata"]["name"] for watch in cache.watches(key)] == ["a", "b"]
    assert cache.model(key) == model
    assert cache.model(("shop", "gone")) is None
    assert cache.key_of_uid(model["metadata"]["uid"]) == key
    assert cache.key_of_uid("other") is None
    assert set(cache.model_keys()) == {key, ("shop", "gone")}
    assert len(list(cache.resources())) == 4
    assert cache.children("jobs", key) == ()


def test_children_are_found_by_the_model_that_they_name_and_pods_lose_their_spec() -> None:
    cache = InformerCache()
    for name in ("b", "a"):
        named = {"name": name, "namespace": "shop", "uid": name}
        ours = {"annotations": {MODEL_ANNOTATION: "checkout"}, "managedFields": [{}]}
        metadata = {**named, **ours}
        cache.shelves["pods"].put({"kind": "Pod", "metadata": metadata, "spec": {"a": 1}})
    pods = cache.children("pods", ("shop", "checkout"))
    assert [pod["metadata"]["name"] for pod in pods] == ["a", "b"]
    assert "spec" not in pods[0]
    assert "managedFields" not in pods[0]["metadata"]
    stranger = {"kind": "Pod", "metadata": {"name": "c", "namespace": "shop", "uid": "c"}}
    assert cache.shelves["pods"].put(stranger) == frozenset()


def test_kopf_neither_posts_events_nor_scans() -> None:
    settings = build_settings()
    assert settings.scanning.disabled
    assert not settings.posting.enabled


def test_the_backoff_of_requests_never_ends() -> None:
    delays = iter(EndlessBackoff())
    assert [next(delays) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_conditions_are_counted_without_a_label_for_each_object() -> None:
    metrics = Metrics()
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    metrics.conditions.replace([{**make_model(name), "status": ready} for name in ("a", "b")])
    labels = {"kind": "AnomalyModel", "type": "Ready", "status": "True"}
    assert metrics.registry.get_sample_value("metricwatch_condition", labels) == 2
    metrics.conditions.replace([])
    assert metrics.registry.get_sample_value("metricwatch_condition", labels) is None


def test_the_watchdog_notices_a_loop_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    location = DatabaseLocation(url="postgresql://localhost/x")
    leader = Leader(read_settings(IMAGES), location, Metrics(), fence=lambda: None)
    assert leader.problem() == ""
    now[0] += 61
    assert "stuck for 61 s" in leader.problem()
