"""The generated CRDs, without a server."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from metricwatch.resources.crd import build_crds
from metricwatch.resources.structural import structural

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in build_crds().values()}


def version(kind: str) -> dict[str, Any]:
    return CRDS[kind]["spec"]["versions"][0]


def schema(kind: str) -> dict[str, Any]:
    return version(kind)["schema"]["openAPIV3Schema"]


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, field in node.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


ALL_NODES = [(f"{kind}{path}", node) for kind in CRDS for path, node in nodes(schema(kind))]


def test_every_field_has_a_description_that_kubectl_explain_shows() -> None:
    servers_own = (".apiVersion", ".kind", ".metadata")
    undescribed = [
        path
        for path, node in ALL_NODES
        if "description" not in node and not path.endswith(("[]", *servers_own))
    ]
    assert undescribed == []


def test_a_field_description_starts_with_the_fields_name() -> None:
    strays = [
        path
        for path, node in ALL_NODES
        if "." in path
        and "description" in node
        and not path.endswith("[]")
        and not node["description"].startswith(path.rpartition(".")[2])
    ]
    assert strays == []


def test_everything_a_user_can_make_long_has_a_bound() -> None:
    bounds = {"string": "maxLength", "array": "maxItems"}
    unbounded = [
        path
        for path, node in ALL_NODES
        if ".spec." in path
        and (bound := bounds.get(node.get("type", ""))) is not None
        and bound not in node
        and "enum" not in node
        and node.get("format") != "date-time"
    ]
    assert unbounded == []
    assert [
        p for p, n in ALL_NODES if "additionalProperties" in n and "maxProperties" not in n
    ] == []


def test_no_word_is_left_that_a_structural_schema_does_not_know() -> None:
    unknown = {"$ref", "anyOf", "title", "const", "examples", "$defs"}
    assert [path for path, node in ALL_NODES if unknown & set(node)] == []


def test_only_the_birth_status_has_a_default_in_status() -> None:
    for kind in CRDS:
        status = schema(kind)["properties"]["status"]
        assert status["default"] == {"observedGeneration": -1}
        assert [path for path, node in nodes(status) if path and "default" in node] == []


def test_a_default_object_with_a_rule_of_its_own_is_written_out() -> None:
    samples = dict(ALL_NODES)["MetricWatch.spec.detection.samples"]
    assert samples["default"] == {"anomalous": 1, "of": 1}
    assert dict(ALL_NODES)["MetricWatch.spec.detection"]["default"] == {}


@pytest.mark.parametrize(
    ("kind", "names", "wide"),
    [
        (
            "AnomalyModel",
            ["Algorithm", "Serving", "Candidate", "Series", "Ready", "Reason", "Age"],
            ["LastTraining", "NextTraining", "Memory"],
        ),
        (
            "MetricWatch",
            ["Model", "Version", "Series", "Open", "Fresh", "Ready", "Reason", "Age"],
            ["LastAnomaly", "Lag"],
        ),
    ],
)
def test_kubectl_get_shows_the_columns(kind: str, names: list[str], wide: list[str]) -> None:
    columns = version(kind)["additionalPrinterColumns"]
    assert [column["name"] for column in columns if "priority" not in column] == names
    assert [column["name"] for column in columns if column.get("priority") == 1] == wide


def test_lists_with_keys_merge_by_key() -> None:
    keyed = {
        path: node["x-kubernetes-list-map-keys"]
        for path, node in ALL_NODES
        if node.get("x-kubernetes-list-type") == "map"
    }
    assert keyed == {
        "AnomalyModel.status.versions": ["version"],
        "AnomalyModel.status.conditions": ["type"],
        "MetricWatch.spec.queries": ["name"],
        "MetricWatch.spec.notifications": ["name"],
        "MetricWatch.status.conditions": ["type"],
    }


def test_a_union_is_an_error_and_not_a_surprise_on_apply() -> None:
    class Loose(BaseModel):
        value: int | str

    with pytest.raises(ValueError, match="a union has no structural form"):
        structural(Loose.model_json_schema())
