"""The chart on a real API server: manifests are accepted, pods restricted, roles enough."""

import copy
import json
import subprocess
from collections.abc import Iterator

import pytest
from tests.chart_rendering import CHART, EVERYTHING, VALUES, Manifest, helm, of_kind, render
from tests.integration.control_plane import ControlPlane
from tests.integration.foreign_crds import foreign_crds

from metricwatch_dev.paths import REPOSITORY

SYSTEM = "metricwatch-system"
NAMESPACES = (SYSTEM, "shop", "bank")
PREVIOUS = REPOSITORY / "tests" / "cluster" / "data" / "metricwatch-0.1.0.tgz"


def kubectl(plane: ControlPlane, *arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        [*plane.kubectl, *arguments], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Warnings are how the Pod Security Standard speaks about templates.
    assert "violate PodSecurity" not in done.stderr, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    restricted = ("enforce=restricted", "warn=restricted")
    for name in NAMESPACES:
        kubectl(control_plane, "create", "namespace", name)
        labels = [f"pod-security.kubernetes.io/{level}" for level in restricted]
        kubectl(control_plane, "label", "namespace", name, *labels)
    crds = foreign_crds()
    apply(control_plane, crds)
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    kubectl(control_plane, "wait", "--for=condition=Established", "--timeout=60s", *names)
    yield control_plane
    kubectl(control_plane, "delete", "--wait=false", *names)
    for name in NAMESPACES:
        kubectl(control_plane, "delete", "namespace", name, "--wait=false")


def apply(plane: ControlPlane, manifests: list[Manifest], *options: str) -> str:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    flags = ("--server-side", "--force-conflicts", "--validate=strict", *options)
    return kubectl(plane, "apply", *flags, "-f", "-", text=text)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_api_server_accepts_every_manifest_of_every_kind_of_values(
    plane: ControlPlane, values: Manifest
) -> None:
    manifests = render(values)
    answered = apply(plane, manifests, "--dry-run=server").splitlines()
    assert len(answered) == len(manifests)


def test_a_field_that_the_other_operators_do_not_have_would_be_noticed(
    plane: ControlPlane,
) -> None:
    for kind, field in (("PodMonitor", "relabelConfigs"), ("VMPodScrape", "relabelings")):
        manifest = copy.deepcopy(of_kind(render(EVERYTHING), kind)[0])
        (endpoint,) = manifest["spec"]["podMetricsEndpoints"]
        endpoint[field] = []
        with pytest.raises(AssertionError, match=field):
            apply(plane, [manifest], "--dry-run=server")


def test_pods_of_every_template_are_admitted_where_only_restricted_ones_are(
    plane: ControlPlane,
) -> None:
    admitted = 0
    for manifest in render(EVERYTHING):
        template = manifest.get("spec", {}).get("template")
        if not template:
            continue
        spec = dict(template["spec"])
        # Nobody makes priority classes, service accounts or claims here.
        spec.pop("priorityClassName", None)
        spec.pop("serviceAccountName", None)
        claims = manifest["spec"].get("volumeClaimTemplates", [])
        empty = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe", "namespace": SYSTEM},
            "spec": {**spec, "volumes": [*spec["volumes"], *empty]},
        }
        kubectl(plane, "create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
        admitted += 1
    assert admitted == 3


def can(plane: ControlPlane, verb: str, resource: str, *, namespace: str, name: str = "") -> bool:
    account = f"system:serviceaccount:{SYSTEM}:metricwatch"
    target = f"{resource}/{name}" if name else resource
    done = subprocess.run(
        [
            *(*plane.kubectl, "auth", "can-i", verb, target),
            *("--as", account, "--namespace", namespace),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() == "yes"


def test_the_operator_may_work_in_its_namespaces_and_nowhere_else(plane: ControlPlane) -> None:
    values = {**VALUES["two namespaces"], "watchNamespaces": ["shop"]}
    roles = [item for item in render(values) if item["kind"] in {"Role", "RoleBinding"}]
    apply(plane, roles)
    assert can(plane, "patch", "anomalymodels.metricwatch.io", namespace="shop")
    assert can(plane, "create", "jobs.batch", namespace="shop")
    assert can(plane, "create", "secrets", namespace="shop")
    assert not can(plane, "get", "secrets", namespace="shop")
    assert not can(plane, "list", "secrets", namespace="shop")
    assert not can(plane, "list", "anomalymodels.metricwatch.io", namespace="bank")
    assert not can(plane, "create", "secrets", namespace=SYSTEM)
    lease = "leases.coordination.k8s.io"
    assert can(plane, "update", lease, namespace=SYSTEM, name="metricwatch-operator")
    assert not can(plane, "update", lease, namespace=SYSTEM, name="kube-scheduler")


def run_helm(plane: ControlPlane, *arguments: str) -> str:
    done = subprocess.run(
        [helm(), "--kubeconfig", str(plane.kubeconfig), *arguments, "--namespace", SYSTEM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_upgrade_keeps_the_password_and_uninstalling_keeps_the_crds(
    plane: ControlPlane,
) -> None:
    def secret() -> str:
        path = "jsonpath={.data.password}"
        return kubectl(plane, "get", "secret", "w-postgresql", "-n", SYSTEM, "-o", path)

    # The shared control plane has the CRDs already, and they must outlive this release.
    options = ("--set", "postgresql.enabled=true,fullnameOverride=w,migration.enabled=false")
    adopt = ("--set", "crds.enabled=false")
    notes = run_helm(plane, "install", "w", str(CHART), *options, *adopt)
    first = secret()
    assert "kubectl apply -f -" in notes
    run_helm(plane, "upgrade", "w", str(CHART), *options, *adopt)
    assert secret() == first
    run_helm(plane, "uninstall", "w")
    left = kubectl(plane, "get", "all,secrets", "-n", SYSTEM, "-l", "app.kubernetes.io/instance=w")
    assert left == ""


def test_the_previous_charts_values_go_on_working(plane: ControlPlane) -> None:
    options = ("--set", "postgresql.enabled=true,fullnameOverride=o,migration.enabled=false")
    adopt = ("--set", "crds.enabled=false,networkPolicy.enabled=true")
    run_helm(plane, "install", "o", str(PREVIOUS), *options, *adopt)
    # Values of the new chart that the old one did not have are not there then.
    run_helm(plane, "upgrade", "o", str(CHART), "--reuse-values")
    where = ("get", "deployment", "o-operator", "-n", SYSTEM, "-o", "jsonpath={.spec.replicas}")
    assert kubectl(plane, *where) == "1"
    run_helm(plane, "upgrade", "o", str(CHART), "--reset-then-reuse-values")
    assert kubectl(plane, *where) == "2"
    run_helm(plane, "rollback", "o", "1")
    assert kubectl(plane, *where) == "1"
    run_helm(plane, "uninstall", "o")


def test_the_charts_crds_are_upgraded_in_place(plane: ControlPlane) -> None:
    crds = of_kind(render(VALUES["own database"]), "CustomResourceDefinition")
    assert len(apply(plane, crds).splitlines()) == 2
    assert len(apply(plane, crds).splitlines()) == 2
