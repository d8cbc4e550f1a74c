"""The chart's NetworkPolicies in force, where everything else is refused.

The main job beside this test is done under the same policies: it shows that they let through what
learning, detecting and alerting need. This test shows what else they let through: nothing.
"""

import pytest
from tests.cluster.closed_network import Place, all_reach
from tests.cluster.stack import Stack

from metricwatch_dev import images
from metricwatch_dev.cluster import access
from metricwatch_dev.cluster.layout import CLUSTER_DOMAIN, REGISTRY
from metricwatch_dev.demo.installing import RELEASE, SERVICES, SHOP, SYSTEM
from metricwatch_dev.demo.kubectl import Manifest
from metricwatch_dev.demo.waiting import wait_until
from metricwatch_operator.planning.names import child_labels

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

# Whole names: who may not ask for one waits long for each that would be tried.
SERVICE_DOMAIN = f"svc.{CLUSTER_DOMAIN}."
OPEN = {"source", "Prometheus", "API server", "elsewhere"}


def listening(name: str, namespace: str, labels: dict[str, str], image: str) -> Manifest:
    """Returns a pod that answers where a detector does, and has a Python to connect from."""
    locked = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "listening",
                    "image": image,
                    "command": ["python3", "-m", "http.server", "8080", "-d", "/proc/self"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "securityContext": locked,
                }
            ],
        },
    }


def test_each_pod_reaches_what_its_work_needs_and_nothing_else(stack: Stack) -> None:
    kubectl = stack.kubectl
    image = images.ensure(access.ensure(), ("dev-services",))["dev-services"]
    # Pods as the operator makes them: real ones come and go while somebody looks.
    alike = {
        name: listening(name, SHOP, child_labels("nobody", component=name, version=1), image)
        for name in ("detector", "trainer")
    }
    kubectl.apply([*alike.values(), listening("stranger", SERVICES, {"app": "cart"}, image)])
    for namespace, name in ((SHOP, "detector"), (SHOP, "trainer"), (SERVICES, "stranger")):
        ready = ("--for=condition=Ready", f"pod/{name}", "--timeout=120s")
        kubectl.run("wait", "-n", namespace, *ready)
    address = kubectl.get("pod", "detector", "-n", SHOP)["status"]["podIP"]
    ways = {
        "database": f"{RELEASE}-postgresql.{SYSTEM}.{SERVICE_DOMAIN}:5432",
        "operator": f"operators.{SYSTEM}.{SERVICE_DOMAIN}:8080",
        "detector": f"{address}:8080",
        "source": f"victoriametrics.{SERVICES}.{SERVICE_DOMAIN}:8428",
        "Prometheus": f"prometheus.{SERVICES}.{SERVICE_DOMAIN}:9090",
        "API server": f"kubernetes.default.{SERVICE_DOMAIN}:443",
        "elsewhere": REGISTRY,
    }
    places = {
        "trainer": Place(SHOP, "pod/trainer"),
        "detector": Place(SHOP, "pod/detector"),
        "operator": Place(SYSTEM, f"deployment/{RELEASE}-operator", "python"),
        "database": Place(SYSTEM, f"statefulset/{RELEASE}-postgresql"),
        "Prometheus": Place(SERVICES, "deployment/prometheus"),
        "stranger": Place(SERVICES, "pod/stranger"),
    }
    wanted = {
        "trainer": {"database", "source"},
        # Each reaches itself, for which no packet leaves the pod.
        "detector": {"database", "source", "detector"},
        "operator": {"database", "API server", "operator"},
        "database": set(),
        "Prometheus": {"operator", "detector", *OPEN},
        "stranger": OPEN,
    }

    def look() -> tuple[bool, str]:
        found = all_reach(kubectl, places, ways)
        wrong = {name: found[name] ^ wanted[name] for name in found if found[name] != wanted[name]}
        return not wrong, f"otherwise than wanted: {wrong}" if wrong else ""

    # Who enforces policies learns of a new pod a moment after the pod begins.
    wait_until("every pod to reach its own", look, seconds=240)
    kubectl.run("delete", "pod", "-n", SHOP, *alike, "--wait=false")
    kubectl.run("delete", "pod", "-n", SERVICES, "stranger", "--wait=false")
