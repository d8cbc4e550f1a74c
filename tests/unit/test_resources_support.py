from typing import Any

import pytest

from metricwatch.algorithms import FAMILIES
from metricwatch.resources import AlgorithmType, parse_model, parse_watch
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
        *({"algorithm": {"type": member.value}} for member in AlgorithmType),
        {"algorithm": {"type": "example.com/holt", "external": {"level": 0.1}}},
        {"scope": "shared", "algorithm": {"type": "tcn"}},
        {"scope": "multivariate"},
        {"scope": "multivariate", "algorithm": {"type": "auto"}},
        {"algorithm": {"type": "lstm", "lstm": {"hidden": 8}}},
        {"source": {"type": "simulation"}},
        {"qualityGate": {"enabled": False, "maxRegression": 0.5}},
        {"tuning": {"enabled": True, "trials": 10, "parallelism": 4}},
        {"training": {"parallelism": 8}},
        {"qualityGate": {"maxRegression": 0.5, "failurePolicy": "Promote"}},
        {"rollout": {"strategy": "Shadow", "shadow": {"duration": "1h"}}},
        {"rollout": {"autoPromote": False, "rollbackWindow": "0s"}},
        {"version": 1},
        {"training": {"excludeAnomalies": True, "strategy": "expanding"}},
    ],
)
def test_what_is_built_is_accepted(spec: dict[str, Any]) -> None:
    assert model_fields(spec) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            {"scope": "multivariate", "algorithm": {"type": "seasonal"}},
            "spec.algorithm.type",
        ),
    ],
)
def test_what_is_not_built_is_named(spec: dict[str, Any], field: str) -> None:
    assert model_fields(spec) == [field]


def test_every_algorithm_that_is_accepted_is_a_family_that_can_be_trained() -> None:
    named = {member.value for member in AlgorithmType if member is not AlgorithmType.AUTO}
    assert named == set(FAMILIES)


def test_watches_say_what_is_missing_too() -> None:
    assert watch_fields({}) == []
    assert watch_fields({"groupBy": ["pod"]}) == []
    entry = {"name": "a", "webhook": {"url": "http://a"}}
    assert watch_fields({"notifications": [entry]}) == ["spec.notifications"]
