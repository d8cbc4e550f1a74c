"""What the local cluster contains before anybody uses it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from metricwatch_dev.cluster.layout import NODE, Layout

VOLUMES = 8
STORAGE_CLASS = "local"


def apply(layout: Layout, *, kubectl: Path) -> None:
    """Create or update the objects."""
    subprocess.run(
        [str(kubectl), "--kubeconfig", str(layout.kubeconfig), "apply", "-f", "-"],
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(layout)}),
        text=True,
        check=True,
        capture_output=True,
    )


def renew_released_volumes(layout: Layout, *, kubectl: Path) -> None:
    """Empty and delete volumes whose claim is gone, so that `apply` offers them afresh."""
    base = [str(kubectl), "--kubeconfig", str(layout.kubeconfig)]
    listed = subprocess.run(
        [*base, "get", "persistentvolumes", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    for volume in json.loads(listed.stdout)["items"]:
        name = volume["metadata"]["name"]
        if volume["status"].get("phase") == "Released" and (layout.volumes / name).is_dir():
            shutil.rmtree(layout.volumes / name)
            subprocess.run(
                [*base, "delete", "persistentvolume", name], check=True, capture_output=True
            )


def _objects(layout: Layout) -> list[dict[str, Any]]:
    names = [f"local-{number}" for number in range(VOLUMES)]
    for name in names:
        directory = layout.volumes / name
        directory.mkdir(parents=True, exist_ok=True)
        # Pods run as users of their own choice, and a host path takes no fsGroup.
        directory.chmod(0o777)
    return [
        _role_of_dns(),
        _role_binding_of_dns(),
        _storage_class(),
        *(_volume(name, layout.volumes / name) for name in names),
    ]


def _role_of_dns() -> dict[str, Any]:
    rules = [
        ("", ["endpoints", "services", "pods", "namespaces"]),
        ("discovery.k8s.io", ["endpointslices"]),
    ]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]}
            for group, resources in rules
        ],
    }


def _role_binding_of_dns() -> dict[str, Any]:
    role = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:coredns",
    }
    user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "system:coredns"},
        "roleRef": role,
        "subjects": [user],
    }


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(name: str, directory: Path) -> dict[str, Any]:
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        },
    }
