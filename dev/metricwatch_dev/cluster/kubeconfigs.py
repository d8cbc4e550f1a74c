"""Kubeconfig files, with certificates inside so that each is complete in itself."""

import base64
import json
import os
from pathlib import Path
from typing import Any

from metricwatch_dev.cluster.layout import API_SERVER_URL, Layout

COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns")


def write_kubeconfigs(layout: Layout) -> None:
    """Write one for the administrator and one for each component."""
    write_private(layout.kubeconfig, json.dumps(build_kubeconfig(layout, "admin"), indent=1))
    for component in COMPONENTS:
        content = json.dumps(build_kubeconfig(layout, component), indent=1)
        write_private(layout.component_kubeconfig(component), content)


def build_kubeconfig(layout: Layout, identity: str) -> dict[str, Any]:
    """Return the kubeconfig of one identity; JSON is YAML."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "metricwatch",
                "cluster": {
                    "server": API_SERVER_URL,
                    "certificate-authority-data": _encode(layout.certificate("ca")),
                },
            }
        ],
        "users": [
            {
                "name": identity,
                "user": {
                    "client-certificate-data": _encode(layout.certificate(identity)),
                    "client-key-data": _encode(layout.key(identity)),
                },
            }
        ],
        "contexts": [
            {"name": "metricwatch", "context": {"cluster": "metricwatch", "user": identity}}
        ],
        "current-context": "metricwatch",
    }


def write_private(path: Path, content: str) -> None:
    """Write a file only its owner may read; one that says the same already is not touched.

    kube-proxy ends itself when somebody writes its configuration.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == content:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
