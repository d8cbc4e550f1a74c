from typing import Any

import pytest

from metricwatch.resources import parse_model, parse_watch
from metricwatch.resources.support import unsupported


def model_fields(spec: dict[str, Any]) -> list[str]:
    return [
        field
        for field, _ in unsupported(parse_model({"metadata": {"name": "a"}, "spec": spec}).spec)
    ]


def watch_fields(spec: dict[str, Any]) -> list[str]:
    spec = {"modelRef": {"name": "a"}, "query": "up"} | spec
    return [
        field
        for field, _ in unsupported(parse_watch({"metadata": {"name": "a"}, "spec": spec}).spec)
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        *(
            {"algorithm": {"type": name}}
            for name in ("seasonal", "lstm", "autoregressive", "zscore")
        ),
        {"algorithm": {"type": "lstm", "lstm": {"hidden": 8}}},
        {"source": {"type": "simulation"}},
        {"qualityGate": {"enabled": False, "maxRegression": 0.5}},
        {"tuning": {"trials": 10}},
        {"rollout": {"shadow": {"duration": "1h"}}},
        {"training": {"excludeAnomalies": True, "strategy": "expanding"}},
    ],
)
def test_what_is_built_is_accepted(spec: dict[str, Any]) -> None:
    assert model_fields(spec) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"algorithm": {"type": "kmeans"}}, "spec.algorithm.type"),
        ({"scope": "shared"}, "spec.scope"),
        ({"training": {"schedule": "0 3 * * *"}}, "spec.training.schedule"),
        ({"training": {"parallelism": 2}}, "spec.training.parallelism"),
        ({"tuning": {"enabled": True}}, "spec.tuning.enabled"),
        ({"qualityGate": {"maxRegression": 0.5}}, "spec.qualityGate"),
        ({"rollout": {"strategy": "Shadow"}}, "spec.rollout.strategy"),
        ({"rollout": {"autoPromote": False}}, "spec.rollout.autoPromote"),
        ({"version": 1}, "spec.version"),
    ],
)
def test_what_is_not_built_is_named(spec: dict[str, Any], field: str) -> None:
    assert model_fields(spec) == [field]


def test_every_missing_feature_of_a_spec_is_named() -> None:
    assert model_fields({"scope": "shared", "tuning": {"enabled": True}}) == [
        "spec.scope",
        "spec.tuning.enabled",
    ]


def test_watches_say_what_is_missing_too() -> None:
    assert watch_fields({}) == []
    assert watch_fields({"groupBy": ["pod"]}) == ["spec.groupBy"]
    entry = {"name": "a", "webhook": {"url": "http://a"}}
    assert watch_fields({"notifications": [entry]}) == ["spec.notifications"]
