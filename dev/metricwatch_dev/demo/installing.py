"""What the demo puts into the cluster, and how it takes it out again."""

import base64
import hashlib
import json
import os
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metricwatch_dev.demo.kubectl import CommandFailedError, Kubectl, Manifest
from metricwatch_dev.demo.scenario import Scenario
from metricwatch_dev.locking import file_lock
from metricwatch_dev.paths import REPOSITORY, cluster_directory
from metricwatch_dev.prerequisites import MissingPrerequisiteError

# Several installations may share a cluster: a name for this one, behind those of its namespaces.
# Its operator then watches its own namespace, and the CRDs belong to nobody.
INSTALLATION = os.environ.get("METRICWATCH_INSTALLATION", "")
_BEHIND = INSTALLATION and f"-{INSTALLATION}"
RELEASE = "metricwatch"
SYSTEM = f"metricwatch-system{_BEHIND}"
SERVICES = f"metricwatch-demo{_BEHIND}"
SHOP = f"shop{_BEHIND}"
NAMESPACES = (SYSTEM, SERVICES, SHOP)
CHART = REPOSITORY / "charts" / "metricwatch"
CRDS = REPOSITORY / "crds"
PART_OF = {"app.kubernetes.io/part-of": f"metricwatch-demo{_BEHIND}"}
_MANIFESTS = Path(__file__).parent / "manifests"
_SIMULATOR = Path(__file__).parents[1] / "simulator"


@contextmanager
def exclusively() -> Iterator[None]:
    """Keep the release and its namespaces to oneself: demo and cluster tests share them."""
    path = cluster_directory().with_name(f"release{_BEHIND}.lock")
    with file_lock(path, waiting_for="Metricwatch on the cluster"):
        yield


def create_namespaces(kubectl: Kubectl) -> None:
    """Create the namespaces, all held to the restricted Pod Security Standard.

    Raises:
        MissingPrerequisiteError: One of that name is there and not the demo's.
    """
    for existing in kubectl.get("namespaces")["items"]:
        metadata = existing["metadata"]
        if metadata["name"] in NAMESPACES and not PART_OF.items() <= metadata["labels"].items():
            raise MissingPrerequisiteError(
                f"the cluster has a namespace {metadata['name']} that is not the demo's: use "
                "another cluster, the demo would change what is in there."
            )
    labels = {**PART_OF, "pod-security.kubernetes.io/enforce": "restricted"}
    kubectl.apply(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name in NAMESPACES
        ]
    )


def install_metrics(kubectl: Kubectl, scenario: Scenario, *, images: dict[str, str]) -> None:
    """Start VictoriaMetrics and the simulator; it fills the one by itself."""
    code = {path.name: path.read_text() for path in sorted(_SIMULATOR.glob("*.py"))}
    encoded = {name: base64.b64encode(data).decode() for name, data in scenario.files.items()}
    kubectl.apply(
        [
            _config_map("simulator", data=code),
            _config_map("simulator-files", binaryData=encoded),
        ],
        namespace=SERVICES,
    )
    checksum = hashlib.sha256(json.dumps(code).encode() + scenario.files_checksum().encode())
    arguments = {
        "SERVICES_IMAGE": images["dev-services"],
        "SIMULATOR_ARGUMENTS": json.dumps(scenario.simulator_arguments),
        "FILES_CHECKSUM": checksum.hexdigest(),
    }
    kubectl.apply(_manifest("metrics", arguments), namespace=SERVICES)
    _wait_for_rollout(kubectl, "victoriametrics", "simulator")


def install_release(
    kubectl: Kubectl, *, images: dict[str, str], values: Manifest | None = None
) -> None:
    """Install or upgrade the chart, with values beside the demo's, and wait for it."""
    if kubectl.helm("list", "--pending", "--short", "--namespace", SYSTEM).strip():
        # What an interrupted demo leaves: helm takes it for an installation that still goes on.
        kubectl.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    if INSTALLATION:
        crds = "\n---\n".join(path.read_text() for path in sorted(CRDS.glob("*.yaml")))
        kubectl.apply(crds)
    command = ("upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM)
    all_values = {**release_values(images), **(values or {})}
    adopting = ("--take-ownership",) if not INSTALLATION and _crds_are_nobodys(kubectl) else ()
    kubectl.helm(*command, *adopting, "--wait", "--timeout", "5m", values=all_values)


def _crds_are_nobodys(kubectl: Kubectl) -> bool:
    """Return whether named installations left CRDs; those of a release are left to it."""
    found = [
        item
        for item in kubectl.get("customresourcedefinitions")["items"]
        if item["spec"]["group"] == "metricwatch.io"
    ]
    owner = "meta.helm.sh/release-name"
    return bool(found) and not any(
        owner in item["metadata"].get("annotations", {}) for item in found
    )


def release_values(images: dict[str, str]) -> Manifest:
    """Return the chart's values for the demo.

    >>> image = release_values({n: f"r:5000/m/{n}:1" for n in
    ...                         ("operator", "trainer", "detector", "dev-services")})["images"]
    >>> image["trainer"]
    {'repository': 'r:5000/m/trainer', 'tag': '1'}
    """
    return {
        "images": {name: _image(images[name]) for name in ("operator", "trainer", "detector")},
        "defaultSource": {
            "url": f"http://victoriametrics.{SERVICES}:8428",
            "type": "victoriametrics",
        },
        "postgresql": {
            "enabled": True,
            "image": _image(images["dev-services"]),
            "runAsUser": 65532,
            "runAsGroup": 65532,
            # Works on clusters without a storage class as well; the demo's data need not last.
            "persistence": {"enabled": False},
            # Small nodes: the demo writes a few rows a second.
            "settings": {"shared_buffers": "64MB"},
        },
        # They are this release's own, and go with it.
        "crds": {"enabled": not INSTALLATION, "keep": False},
        "watchNamespaces": [SHOP] if INSTALLATION else [],
        "rules": {"configMap": {"enabled": True, "namespace": SERVICES}},
    }


def install_prometheus(kubectl: Kubectl, *, images: dict[str, str]) -> None:
    """Start Prometheus with the rules that the release brought."""
    rules = kubectl.get("configmap", "metricwatch-rules", "--namespace", SERVICES)["data"]
    arguments = {
        "SHOP": SHOP,
        "SYSTEM": SYSTEM,
        "SERVICES_IMAGE": images["dev-services"],
        "RULES_CHECKSUM": hashlib.sha256(json.dumps(rules).encode()).hexdigest(),
    }
    kubectl.apply(
        [
            _headless_service("detectors", namespace=SHOP, component="detector"),
            _headless_service("operators", namespace=SYSTEM, component="operator"),
        ]
    )
    kubectl.apply(_manifest("prometheus", arguments), namespace=SERVICES)
    _wait_for_rollout(kubectl, "prometheus")


def remove(kubectl: Kubectl) -> None:
    """Remove everything the demo made, resources first: the operator deletes their rows."""
    gone = ("--ignore-not-found", "--timeout=2m")
    for kind in ("metricwatches.metricwatch.io", "anomalymodels.metricwatch.io"):
        try:
            kubectl.run("delete", kind, "--all", "--namespace", SHOP, *gone)
        except CommandFailedError as problem:
            if "the server doesn't have a resource type" not in str(problem):
                raise
    kubectl.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--ignore-not-found", "--wait")
    ours = ",".join(f"{name}={value}" for name, value in PART_OF.items())
    kubectl.run("delete", "namespace", "--selector", ours, *gone)


def _wait_for_rollout(kubectl: Kubectl, *deployments: str) -> None:
    for name in deployments:
        where = ("--namespace", SERVICES, "--timeout=5m")
        kubectl.run("rollout", "status", f"deployment/{name}", *where)


def _headless_service(name: str, *, namespace: str, component: str) -> Manifest:
    selector = {
        "app.kubernetes.io/part-of": "metricwatch",
        "app.kubernetes.io/component": component,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        # One that is not ready yet is scraped all the same, as a pod found by its labels would be.
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": selector},
    }


def _config_map(name: str, **content: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **content}


def _manifest(name: str, arguments: dict[str, str]) -> str:
    return string.Template((_MANIFESTS / f"{name}.yaml").read_text()).substitute(arguments)


def _image(reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
