"""The chart's rules are the least that works: each is used in a model's life, or missed when gone.

The API server writes down what the operator asks it for (its audit log), with exactly the rules
that Helm renders, cluster-wide and in a list of namespaces. What an audit cannot tell, because it
is checked within another request, is taken away to see that request refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml
from tests.chart_rendering import OWN_DATABASE, Manifest, of_kind, render
from tests.integration.control_plane import ControlPlane, require_success, run_control_plane
from tests.integration.operator_fixture import (
    SYSTEM,
    Stage,
    TrainerEnd,
    make_namespace,
    stage,
    wait_for,
)

__all__ = ["stage"]

Right = tuple[str, str]
"""A resource, with its subresource if there is one, and a verb."""
Request = Callable[[httpx.Client], httpx.Response]

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [f"system:serviceaccount:{SYSTEM}:operator"]}],
}
GROUP = "/apis/rbac.authorization.k8s.io/v1"
# Checked within a `patch`: of an object that is not there yet, or that names a model as an owner
# that waits for it.
WITHIN_A_PATCH = {
    ("secrets", "create"),
    ("deployments", "create"),
    ("anomalymodels/finalizers", "update"),
}


@pytest.fixture(scope="module")
def operator_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane that checks owner references, and writes down what the operator does."""
    directory = tmp_path_factory.mktemp("rights")
    policy = directory / "policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    arguments = (
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={directory / 'audit.log'}",
        "--audit-log-mode=blocking",
    )
    with run_control_plane(
        directory, controller_manager=True, apiserver_arguments=arguments
    ) as plane:
        plane.install_crds()
        make_namespace(plane.client(), SYSTEM)
        yield plane


def audited(plane: ControlPlane) -> list[dict[str, Any]]:
    """The operator's requests for resources, from the beginning."""
    text = (plane.directory / "audit.log").read_text()
    events = [json.loads(line) for line in text.splitlines()]
    return [event for event in events if "resource" in event.get("objectRef", {})]


def right_of(event: dict[str, Any]) -> Right:
    found = event["objectRef"]
    subresource = found.get("subresource")
    resource = f"{found['resource']}/{subresource}" if subresource else found["resource"]
    return resource, event["verb"]


def granted(roles: list[Manifest]) -> set[Right]:
    return {
        (resource, verb)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


class Roles:
    """Roles and bindings of the operator as the chart renders them, while a test runs."""

    def __init__(self, plane: ControlPlane, *, namespaces: list[str]) -> None:
        account = {"serviceAccount": {"create": False, "name": "operator"}}
        values = {**OWN_DATABASE, **account, "watchNamespaces": namespaces}
        self._client = plane.client()
        self._made = [
            item
            for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
            for item in of_kind(render(values), kind)
            if "-operator" in item["metadata"]["name"]
        ]

    @property
    def roles(self) -> list[Manifest]:
        return [item for item in self._made if "rules" in item]

    def apply(self) -> None:
        for item in self._made:
            self.put(item)

    def put(self, item: Manifest) -> None:
        headers = {"Content-Type": "application/apply-patch+yaml"}
        options = {"fieldManager": "tests", "force": "true"}
        answer = self._client.patch(_path(item), json=item, headers=headers, params=options)
        require_success(answer)

    def remove(self) -> None:
        for item in self._made:
            require_success(self._client.delete(_path(item)))


def _path(item: Manifest) -> str:
    metadata = item["metadata"]
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{GROUP}{scope}/{item['kind'].lower()}s/{metadata['name']}"


@pytest.fixture(params=["cluster-wide", "listed"])
def roles(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Roles]:
    """The operator's roles, for all namespaces or for the stage's own."""
    listed = [stage.namespace.name] if request.param == "listed" else []
    made = Roles(stage.plane, namespaces=listed)
    made.apply()
    yield made
    made.remove()


def live(stage: Stage, *, namespaces: str) -> None:
    """A model's whole life: learned, changed, given up, put right, replaced and deleted."""
    stage.operator(METRICWATCH_NAMESPACES=namespaces).start()
    stage.add_model(rollout={"rollbackWindow": "1s"})
    stage.add_watch()
    stage.wait_for_serving(1)
    # A version that is given up while it is being trained.
    stage.kubelet.trainer = None
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"training": {"window": "7d"}}})
    wait_for(lambda: "checkout-train-v2" in stage.namespace.names("Job"), stage.describe)
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"training": {"window": "6d"}}})
    wait_for(lambda: "checkout-train-v2" not in stage.namespace.names("Job"), stage.describe)
    wait_for(lambda: "checkout-train-v3" in stage.namespace.names("Job"), stage.describe)
    stage.kubelet.trainer = TrainerEnd()
    stage.wait_for_serving(3)
    old = "checkout-detector-v1-0"
    wait_for(lambda: old not in stage.namespace.names("Deployment"), stage.describe)
    # Somebody changes a child.
    current = "checkout-detector-v3-0"
    stage.namespace.merge("Deployment", current, {"spec": {"replicas": 5}})
    wait_for(
        lambda: stage.namespace.get("Deployment", current)["spec"]["replicas"] == 1,
        stage.describe,
    )
    stage.namespace.delete("AnomalyModel", "checkout")
    wait_for(lambda: stage.namespace.find("AnomalyModel", "checkout") is None, stage.describe)
    stage.namespace.wait_for_condition("MetricWatch", "latency", "ModelResolved", "False")


def test_every_right_is_used_in_a_models_life_and_none_is_missing(
    stage: Stage, roles: Roles, request: pytest.FixtureRequest
) -> None:
    before = len(audited(stage.plane))
    listed = "listed" in request.node.name
    live(stage, namespaces=stage.namespace.name if listed else "")
    events = audited(stage.plane)[before:]
    refused = {right_of(one) for one in events if one["responseStatus"]["code"] == 403}
    assert refused == set()
    assert {right_of(one) for one in events} == granted(roles.roles) - WITHIN_A_PATCH
    if listed:
        places = {one["objectRef"].get("namespace") for one in events}
        assert places == {stage.namespace.name, SYSTEM}


def operators_client(stage: Stage) -> httpx.Client:
    token = yaml.safe_load(stage.kubeconfig.read_text())["users"][0]["user"]["token"]
    client = stage.plane.client()
    client.headers["Authorization"] = f"Bearer {token}"
    return client


def children(stage: Stage) -> dict[Right, Request]:
    """The operator's own request that needs each of the rights that no audit shows."""

    def apply(kind: str, body: dict[str, Any]) -> Request:
        path = stage.namespace.path(kind, body["metadata"]["name"])
        headers = {"Content-Type": "application/apply-patch+yaml"}
        options = {"fieldManager": "metricwatch-operator", "dryRun": "All", "force": "true"}
        return lambda client: client.patch(path, json=body, headers=headers, params=options)

    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "new-database", "namespace": stage.namespace.name},
    }
    deployment = stage.namespace.get("Deployment", "checkout-detector-v1-0")
    new = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "new-detector", "namespace": stage.namespace.name},
        "spec": deployment["spec"],
    }
    owned = {**new, "metadata": {**new["metadata"], "ownerReferences": _owners(deployment)}}
    return {
        ("secrets", "create"): apply("Secret", secret),
        ("deployments", "create"): apply("Deployment", new),
        ("anomalymodels/finalizers", "update"): apply("Deployment", owned),
    }


def _owners(child: dict[str, Any]) -> list[dict[str, Any]]:
    owners: list[dict[str, Any]] = child["metadata"]["ownerReferences"]
    assert owners[0]["blockOwnerDeletion"]
    return owners


def without(role: Manifest, right: Right) -> Manifest:
    rules = []
    for rule in role["rules"]:
        for one in rule["resources"]:
            verbs = [v for v in rule["verbs"] if (one, v) != right]
            rules += [{**rule, "resources": [one], "verbs": verbs}] if verbs else []
    return {**role, "rules": rules}


@pytest.mark.parametrize("roles", ["cluster-wide"], indirect=True)
def test_rights_that_are_checked_within_another_request_are_missed_when_gone(
    stage: Stage, roles: Roles
) -> None:
    stage.operator(METRICWATCH_NAMESPACES=stage.namespace.name).start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    client = operators_client(stage)
    requests = children(stage)
    assert set(requests) == WITHIN_A_PATCH
    (role,) = (one for one in roles.roles if one["kind"] == "ClusterRole")
    for right, send in requests.items():
        wait_for_answer(send, client, 201)
        roles.put(without(role, right))
        wait_for_answer(send, client, 403)
        roles.put(role)


def wait_for_answer(send: Request, client: httpx.Client, status: int) -> None:
    wait_for(lambda: send(client).status_code == status, lambda: send(client).text)
