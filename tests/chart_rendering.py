"""Rendering the Helm chart in tests: `helm template`, parsed."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml

from metricwatch_dev import golang
from metricwatch_dev.paths import REPOSITORY, cache_directory

CHART = REPOSITORY / "charts" / "metricwatch"
Manifest = dict[str, Any]

EMBEDDED: Manifest = {"postgresql": {"enabled": True}}
OWN_DATABASE: Manifest = {"database": {"urlSecret": {"name": "my-database"}}}
EVERYTHING: Manifest = {
    **EMBEDDED,
    "images": {
        "registry": "registry.example.org/mirror/",
        "pullSecrets": ["pull"],
        "detector": {"digest": "sha256:" + "a" * 64},
    },
    "defaultSource": {
        "url": "http://victoriametrics:8428",
        "type": "victoriametrics",
        "authRef": {"name": "vm"},
    },
    "detector": {"resources": {"limits": {"memory": "2Gi"}}, "scoreRetentionDays": 30},
    "trainer": {"concurrentTrainings": 2},
    "children": {
        "nodeSelector": {"pool": "metrics"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "low",
    },
    "operator": {
        "replicas": 2,
        "priorityClassName": "high",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "podLabels": {"team": "sre"},
        "podAnnotations": {"example.org/note": "yes"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "monitoring": {"podMonitor": {"enabled": True}, "vmPodScrape": {"enabled": True}},
    "rules": {
        "alertLabels": {"team": "sre"},
        "prometheusRule": {"enabled": True},
        "vmRule": {"enabled": True},
        "configMap": {"enabled": True},
    },
    "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Metricwatch"}},
    "networkPolicy": {
        "enabled": True,
        "metricsFrom": [{"namespaceSelector": {}}],
        "namespaces": ["shop"],
        "egress": {"enabled": True, "apiServer": {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}},
    },
    "commonLabels": {"owner": "platform"},
    "extraObjects": [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "{{ .Release.Name }}-extra"},
        }
    ],
}
VALUES = {
    "embedded PostgreSQL": EMBEDDED,
    "own database": OWN_DATABASE,
    "two namespaces": {**OWN_DATABASE, "watchNamespaces": ["shop", "bank"]},
    "no Secrets": {
        "database": {"urlSecret": {"name": "db", "key": "dsn"}, "existingSecretName": "mine"}
    },
    "own database by TLS": {
        "database": {
            "urlSecret": {"name": "db"},
            "caSecret": {"name": "db-ca"},
            "clientCertificateSecret": {"name": "db-client"},
        },
        "networkPolicy": {"enabled": True},
    },
    "nothing but what is named": {
        **OWN_DATABASE,
        "watchNamespaces": ["shop", "bank"],
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
            "egress": {
                "enabled": True,
                "dns": {"to": [{"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]},
                "postgresql": {"to": [{"ipBlock": {"cidr": "10.0.0.5/32"}}], "ports": [5433]},
                "source": {"ports": [9090, 8428]},
            },
        },
    },
    "embedded for two namespaces": {
        **EMBEDDED,
        "watchNamespaces": ["shop", "bank"],
        "networkPolicy": {"enabled": True},
    },
    "one replica anywhere": {
        **OWN_DATABASE,
        "operator": {
            "replicas": 1,
            "topologySpreadConstraints": [],
            "podDisruptionBudget": {"enabled": False},
        },
    },
    "by digest": {
        **OWN_DATABASE,
        "images": {
            name: {"digest": "sha256:" + "b" * 64} for name in ("operator", "trainer", "detector")
        },
    },
    "without storage": {
        "postgresql": {
            "enabled": True,
            "persistence": {"enabled": False},
            "settings": {"fsync": False, "work_mem": "8MB"},
        }
    },
    "bare": {
        **OWN_DATABASE,
        "crds": {"enabled": False},
        "rbac": {"create": False, "aggregateClusterRoles": False},
        "serviceAccount": {"create": False, "name": "existing"},
        "migration": {"enabled": False},
        "monitoring": {"scrapeAnnotations": False},
        "nameOverride": "detection",
        "fullnameOverride": "watcher",
    },
    "everything": EVERYTHING,
}


class ChartRefusedError(Exception):
    """Helm refused the values; the text is what it said."""


def helm() -> str:
    """Return the path of helm in the cache of built programs."""
    path = golang.command_path(golang.HELM, golang.HELM.commands[0], cache=cache_directory())
    assert path.exists(), "helm is not built: run `python -m metricwatch_dev binaries`"
    return str(path)


def render(values: Manifest, *, release: str = "metricwatch") -> list[Manifest]:
    """Return the manifests the chart gives for these values.

    Raises:
        ChartRefusedError: Helm refused them.
    """
    text = _template(yaml.safe_dump(values), release)
    # The loader in C: the CRDs are a hundred kilobytes.
    return [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]


@functools.cache
def _template(values: str, release: str) -> str:
    done = subprocess.run(
        [
            *(helm(), "template", release, str(CHART), "--namespace", "metricwatch-system"),
            *("--kube-version", "1.34.4", "--values", "-"),
        ],
        input=values,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ChartRefusedError(done.stderr)
    return done.stdout


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one manifest of this kind and name."""
    (found,) = (item for item in of_kind(manifests, kind) if item["metadata"]["name"] == name)
    return found


def write_rules(directory: Path) -> Path:
    """Write the rules ConfigMap's content into a file and return it."""
    values = {**OWN_DATABASE, "rules": {"configMap": {"enabled": True}}}
    config = named(render(values), "ConfigMap", "metricwatch-rules")
    path = directory / "metricwatch.rules.yaml"
    path.write_text(config["data"]["metricwatch.rules.yaml"])
    return path
