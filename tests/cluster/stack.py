"""Metricwatch installed on a cluster, and the questions that tests ask of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from metricwatch_dev.demo.installing import RELEASE, SERVICES, SHOP, SYSTEM
from metricwatch_dev.demo.kubectl import Kubectl, Manifest, Service
from metricwatch_dev.demo.waiting import condition_words, wait_until

API = "metricwatch.io/v1alpha1"
KINDS = {"AnomalyModel": "anomalymodel", "MetricWatch": "metricwatch"}
PROMETHEUS = Service(SERVICES, "prometheus", 9090)
_PSQL = ("psql", "-h", "/tmp", "-U", "metricwatch", "-d", "metricwatch", "-At", "-c")


@dataclass(frozen=True, slots=True)
class Stack:
    """The running system, seen from outside: resources, rows, alerts."""

    kubectl: Kubectl

    def apply(self, *manifests: Manifest) -> None:
        """Applies resources of the tests' namespace, as a user would."""
        self.kubectl.apply(list(manifests), namespace=SHOP)

    def patch(self, kind: str, name: str, spec: Manifest) -> None:
        """Merges into a resource's spec."""
        patch = json.dumps({"spec": spec})
        self.kubectl.run("patch", kind, name, "-n", SHOP, "--type=merge", "-p", patch)

    def read(self, kind: str, name: str) -> Any:
        """Returns a resource."""
        return self.kubectl.get(kind, name, "-n", SHOP)

    def delete(self, kind: str, *names: str) -> None:
        """Deletes resources and waits until they are gone."""
        self.kubectl.run("delete", kind, *names, "-n", SHOP, "--timeout=90s", "--ignore-not-found")

    def condition(self, kind: str, name: str, condition: str) -> Any:
        """Returns a condition of a resource's present generation, or an empty one."""
        resource = self.read(kind, name)
        for item in resource.get("status", {}).get("conditions", []):
            if item["type"] == condition:
                return item
        return {"status": "", "reason": "", "message": ""}

    def wait_for_condition(
        self, kind: str, name: str, condition: str, *, seconds: float, status: str = "True"
    ) -> Any:
        """Waits for a condition of the present generation and returns it."""

        def look() -> tuple[bool, str]:
            resource = self.read(kind, name)
            true, words = condition_words(resource, condition)
            found = self.condition(kind, name, condition)
            current = found.get("observedGeneration") == resource["metadata"]["generation"]
            return (true if status == "True" else found["status"] == status and current), words

        wait_until(f"{condition}={status} of {kind} {name}", look, seconds=seconds)
        return self.condition(kind, name, condition)

    def wait_for_reason(
        self, kind: str, name: str, condition: str, reason: str, *, seconds: float
    ) -> Any:
        """Waits until a condition gives this reason and returns the condition."""

        def look() -> tuple[bool, str]:
            found = self.condition(kind, name, condition)
            return found["reason"] == reason, f"{name}: {found['reason']} ({found['message']})"

        wait_until(f"{condition} {reason} of {kind} {name}", look, seconds=seconds)
        return self.condition(kind, name, condition)

    def wait_for_version(self, model: str, version: int, *, seconds: float) -> None:
        """Waits until a version serves."""

        def look() -> tuple[bool, str]:
            status = self.read("anomalymodel", model).get("status", {})
            serving = status.get("servingVersion")
            newest = (status.get("versions") or [{}])[0]
            return serving == version, f"{model}: version {serving} serves, newest is {newest}"

        wait_until(f"version {version} of {model}", look, seconds=seconds)

    def rows(self, query: str) -> list[Any]:
        """Returns the rows of a query as JSON values."""
        wrapped = f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) q"
        pod = f"statefulset/{RELEASE}-postgresql"
        printed = self.kubectl.run("exec", "-n", SYSTEM, pod, "--", *_PSQL, wrapped)
        rows: list[Any] = json.loads(printed)
        return rows

    def execute(self, statement: str) -> None:
        """Runs a statement in the database, to break something there."""
        pod = f"statefulset/{RELEASE}-postgresql"
        self.kubectl.run("exec", "-n", SYSTEM, pod, "--", *_PSQL, statement)

    def anomalies(self, watch: str, *, since: int = 0) -> list[Any]:
        """Returns a watch's anomalies, oldest first."""
        return self.rows(
            "SELECT *, extract(epoch FROM started_at)::bigint AS started FROM anomaly_points "
            f"WHERE watch_name = '{watch}' AND started_at >= to_timestamp({since}) "
            "ORDER BY started_at"
        )

    def alerts(self, **labels: str) -> list[Any]:
        """Returns the firing alerts with these labels."""
        answer = self.kubectl.call(PROMETHEUS, "/api/v1/alerts")
        return [
            alert
            for alert in answer["data"]["alerts"]
            if alert["state"] == "firing" and labels.items() <= alert["labels"].items()
        ]

    def rules(self) -> dict[str, tuple[str, str]]:
        """Returns health and state of each alert rule, by its name."""
        groups = self.kubectl.call(PROMETHEUS, "/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: (rule["health"], rule["state"]) for rule in rules}

    def children(self, model: str) -> dict[str, set[str]]:
        """Returns the names of everything labelled as a model's child, by kind."""
        selector = f"metricwatch.io/model={model}"
        found = self.kubectl.get("deployments,jobs,pods,secrets", "-n", SHOP, "-l", selector)
        names: dict[str, set[str]] = {}
        for item in found["items"]:
            names.setdefault(item["kind"], set()).add(item["metadata"]["name"])
        return names


def anomaly_model(name: str, spec: Manifest | None = None) -> Manifest:
    """Returns an AnomalyModel."""
    metadata = {"name": name, "namespace": SHOP}
    return {"apiVersion": API, "kind": "AnomalyModel", "metadata": metadata, "spec": spec or {}}


def metric_watch(name: str, model: str, query: str, spec: Manifest | None = None) -> Manifest:
    """Returns a MetricWatch."""
    metadata = {"name": name, "namespace": SHOP}
    full = {"modelRef": {"name": model}, "query": query, **(spec or {})}
    return {"apiVersion": API, "kind": "MetricWatch", "metadata": metadata, "spec": full}
