"""What docs/security.md claims of whom we trust with what, where no other test is about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.chart_rendering import EMBEDDED, OWN_DATABASE, render

from metricwatch.resources import API_VERSION, InvalidResource, parse_model
from metricwatch.resources.crd import build_crds

REPOSITORY = Path(__file__).parents[2]
CLAIMS = (REPOSITORY / "docs/security.md").read_text()
# Whoever could set one of these in a pod would run what they like, as whom they like.
OF_PODS = {
    "args",
    "automountServiceAccountToken",
    "command",
    "containers",
    "env",
    "envFrom",
    "hostNetwork",
    "hostPath",
    "image",
    "imagePullSecrets",
    "initContainers",
    "podTemplate",
    "runAsUser",
    "securityContext",
    "serviceAccountName",
    "sidecars",
    "template",
    "volumeMounts",
    "volumes",
}


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from _fields(field, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from _fields(schema[part], path)


SPECS = {
    crd["spec"]["names"]["kind"]: [
        *_fields(
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec"
        )
    ]
    for crd in build_crds().values()
}


@pytest.mark.parametrize("kind", SPECS)
def test_who_writes_resources_chooses_no_image_command_user_or_volume(kind: str) -> None:
    # A template of a message is none of a pod.
    own = {"spec.notifications.template"}
    reaching = [
        path for path in SPECS[kind] if path.rpartition(".")[2] in OF_PODS and path not in own
    ]
    assert reaching == []


@pytest.mark.parametrize("kind", SPECS)
def test_secrets_and_models_are_named_in_the_same_namespace_only(kind: str) -> None:
    references = [path for path in SPECS[kind] if path.endswith("Ref.name")]
    assert references
    assert not [path for path in SPECS[kind] if path.rpartition(".")[2] == "namespace"]


@pytest.mark.parametrize("name", ["../other", "a/b", "..", ".", "", "a\n", "A", "-a", "a\0"])
def test_a_reference_to_a_secret_is_a_name_and_no_path(name: str) -> None:
    # A name becomes a directory of a pod and a volume: nothing may lead out of it.
    source = {"url": "http://vm:8428", "authRef": {"name": name}}
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "AnomalyModel",
        "metadata": {"name": "checkout", "namespace": "shop"},
        "spec": {"source": source},
    }
    with pytest.raises(InvalidResource, match=r"spec\.source\.authRef\.name"):
        parse_model(manifest)


def test_whoever_may_edit_a_namespace_may_not_write_models_when_it_is_so_wished() -> None:
    def aggregated(**rbac: bool) -> list[str]:
        labels = [one["metadata"].get("labels", {}) for one in render({**EMBEDDED, "rbac": rbac})]
        return [name for found in labels for name in found if "aggregate-to-" in name]

    assert aggregated(aggregateClusterRoles=True)
    assert not aggregated(aggregateClusterRoles=False)


def test_only_roles_of_the_listed_namespaces_are_made_when_some_are_listed() -> None:
    values = {
        **OWN_DATABASE,
        "watchNamespaces": ["shop", "bank"],
        "rbac": {"aggregateClusterRoles": False},
    }
    manifests = render(values)
    assert not [one for one in manifests if one["kind"].startswith("ClusterRole")]
    reaching = {one["metadata"]["namespace"] for one in manifests if one["kind"] == "RoleBinding"}
    assert {"shop", "bank"} < reaching


def test_the_tests_and_values_that_are_named_exist() -> None:
    named = re.findall(r"`((?:tests/(?:unit|integration|property)/)?test_\w+\.py)`", CLAIMS)
    assert len(named) > 15
    everywhere = {path.name for path in (REPOSITORY / "tests").rglob("test_*.py")}
    for name in named:
        assert (REPOSITORY / name).exists() if "/" in name else name in everywhere, name
