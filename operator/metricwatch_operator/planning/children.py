"""Manifests of a model's children, built from its spec and a version: never "create if absent".

A trainer Job is made once for a version, because the API server keeps its template immutable; a
detector Deployment is applied whenever it differs from what is built here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metricwatch.resources import AnomalyModelSpec
from metricwatch.verdict import ExitCode
from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.conditions import format_time
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.names import (
    child_labels,
    database_secret_name,
    detector_name,
    search_job_name,
    trainer_job_name,
)
from metricwatch_operator.planning.pods import ContainerWants, build_pod_spec

PORT = 8080
MODEL_ANNOTATION = "metricwatch.io/model-name"
VERSION_CREATED_ANNOTATION = "metricwatch.io/version-created"
# A failed Job and its pods are where the operator reads whether another try makes sense.
_KEEP_FINISHED_JOB_SECONDS = 7 * 24 * 3600
_TRAINER_RETRIES = 6
DETECTOR_PROGRESS_SECONDS = 600
_WARM_UP_SECONDS = 600
_PROBE_PERIOD_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Owner:
    """The model that owns the children."""

    namespace: str
    name: str
    uid: str

    def reference(self) -> dict[str, Any]:
        """Its controller owner reference: children go when it goes."""
        return {
            "apiVersion": "metricwatch.io/v1alpha1",
            "kind": "AnomalyModel",
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


@dataclass(frozen=True, slots=True)
class RunOf:
    """Which version a trainer Job is made for, and with what.

    Attributes:
        version: That it trains.
        created_at: When the version was made.
        source_secrets: Secrets that its request needs.
        config: What an administrator decided.
    """

    version: int
    created_at: datetime
    source_secrets: Iterable[str]
    config: Config


def build_trainer_job(owner: Owner, spec: AnomalyModelSpec, run: RunOf) -> dict[str, Any]:
    """The Job that trains one version: a pod for each slice of its series.

    The failure policy is the trainer's table of exit codes: data and request problems end the Job
    at once, being evicted or asked to stop counts nothing, anything else is tried again with the
    Job's own growing delay, slice by slice. A version needs all its slices, so the first one that
    is given up ends the Job.
    """
    name = trainer_job_name(owner.name, run.version)
    return _trainer_job(owner, spec, run, name=name, pods=spec.training.parallelism)


def build_search_job(owner: Owner, spec: AnomalyModelSpec, run: RunOf) -> dict[str, Any]:
    """The Job whose pods search for the parameters of one version together, before its training.

    What they try is in the database, so each pod knows what the others found, and a pod that is
    started again goes on.
    """
    name = search_job_name(owner.name, run.version)
    env = {"METRICWATCH_PHASE": "search"}
    return _trainer_job(owner, spec, run, name=name, pods=spec.tuning.parallelism, env=env)


def searches_first(spec: AnomalyModelSpec) -> bool:
    """Whether parameters are searched for in a Job of their own.

    A single trainer pod searches by itself; several pods need to agree on the parameters first.
    """
    tuning = spec.tuning
    return tuning.enabled and max(tuning.parallelism, spec.training.parallelism) > 1


def _trainer_job(
    owner: Owner,
    spec: AnomalyModelSpec,
    run: RunOf,
    *,
    name: str,
    pods: int,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    config = run.config
    labels = child_labels(owner.name, component="trainer", version=run.version)
    wants = ContainerWants(
        name="trainer",
        image=config.trainer_image,
        env={
            **_identity(owner, run.version),
            "METRICWATCH_SHARDS": str(pods),
            **(env or {}),
        },
        resources=_with_limits(_resources(spec.training.resources, config.trainer_resources)),
        extra={"terminationMessagePolicy": "File"},
    )
    pod = build_pod_spec(owner.name, wants, source_secrets=run.source_secrets, config=config)
    pod |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": 30}
    template = {
        "metadata": {"labels": labels, "annotations": {MODEL_ANNOTATION: owner.name}},
        "spec": pod,
    }
    metadata = _metadata(owner, name, labels)
    # Tells this version from one of the same number in a database that was lost and made anew.
    metadata["annotations"][VERSION_CREATED_ANNOTATION] = format_time(run.created_at)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimitPerIndex": _TRAINER_RETRIES,
            "maxFailedIndexes": 0,
            "activeDeadlineSeconds": _deadline_seconds(spec),
            "ttlSecondsAfterFinished": _KEEP_FINISHED_JOB_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": template,
        },
    }


def build_detector(
    owner: Owner,
    spec: AnomalyModelSpec,
    *,
    version: int,
    shard: int,
    source_secrets: Iterable[str],
    config: Config,
) -> dict[str, Any]:
    """The Deployment that scores one shard of a version."""
    labels = child_labels(owner.name, component="detector", version=version, shard=shard)
    env = _identity(owner, version) | {
        "METRICWATCH_SHARD": str(shard),
        "METRICWATCH_SHARDS": str(spec.detector.shards),
        "METRICWATCH_PORT": str(PORT),
        "METRICWATCH_SCORE_RETENTION_DAYS": str(config.score_retention_days),
        # One shard is a few vector operations a tick: threads would only fight over the CPU share.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    wants = ContainerWants(
        name="detector",
        image=config.detector_image,
        env=env,
        resources=_resources(spec.detector.resources, config.detector_resources),
        extra=_detector_endpoints(),
    )
    pod = build_pod_spec(owner.name, wants, source_secrets=source_secrets, config=config)
    pod["terminationGracePeriodSeconds"] = 30
    annotations = {
        MODEL_ANNOTATION: owner.name,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(PORT),
        "prometheus.io/path": "/metrics",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(owner, detector_name(owner.name, version, shard), labels),
        "spec": {
            "replicas": spec.detector.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": DETECTOR_PROGRESS_SECONDS,
            # A new pod beside the old one: scores are idempotent, so none is missed and none
            # doubled.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": _selector(labels)},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": pod,
            },
        },
    }


def build_database_secret(owner: Owner, *, content: Mapping[str, bytes]) -> dict[str, Any]:
    """The Secret that carries the database URL, and certificates for it, to a model's pods."""
    labels = child_labels(owner.name, component="database")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(owner, database_secret_name(owner.name), labels),
        "type": "Opaque",
        "data": {name: base64.b64encode(value).decode() for name, value in content.items()},
    }


def _deadline_seconds(spec: AnomalyModelSpec) -> int:
    """Training and a search for parameters each have a timeout of their own."""
    search = spec.tuning.timeout.seconds if spec.tuning.enabled else 0
    return int(spec.training.timeout.seconds + search)


def _identity(owner: Owner, version: int) -> dict[str, str]:
    return {"METRICWATCH_MODEL_UID": owner.uid, "METRICWATCH_VERSION": str(version)}


def _metadata(owner: Owner, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(labels),
        "annotations": {MODEL_ANNOTATION: owner.name},
        "ownerReferences": [owner.reference()],
    }


def _selector(labels: Mapping[str, str]) -> dict[str, str]:
    kept = (
        "app.kubernetes.io/name",
        "app.kubernetes.io/component",
        "metricwatch.io/model",
        "metricwatch.io/version",
        "metricwatch.io/shard",
    )
    return {name: labels[name] for name in kept}


def _resources(asked: Any, default: Mapping[str, Any]) -> Mapping[str, Any]:
    given = asked.to_manifest() if asked is not None else {}
    return {
        kind: {**default.get(kind, {}), **given.get(kind, {})}
        for kind in ("requests", "limits")
        if default.get(kind) or given.get(kind)
    }


def _with_limits(resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """Devices, such as nvidia.com/gpu, cannot be promised to more than one: asked for is limit."""
    asked = resources.get("requests", {})
    devices = {name: amount for name, amount in asked.items() if "/" in name}
    limits = {**devices, **resources.get("limits", {})}
    return {**resources, "limits": limits} if limits else resources


def _failure_rules() -> list[dict[str, Any]]:
    def on_exit(action: str, *codes: ExitCode) -> dict[str, Any]:
        values = sorted(int(code) for code in codes)
        return {
            "action": action,
            "onExitCodes": {"containerName": "trainer", "operator": "In", "values": values},
        }

    return [
        on_exit("FailJob", ExitCode.DATA, ExitCode.REQUEST),
        on_exit("Ignore", ExitCode.STOPPED),
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
        on_exit("Count", ExitCode.AWAY, ExitCode.BUG),
    ]


def _detector_endpoints() -> dict[str, Any]:
    def probe(path: str, *, failures: int) -> dict[str, Any]:
        return {
            "httpGet": {"path": path, "port": "http"},
            "periodSeconds": _PROBE_PERIOD_SECONDS,
            "timeoutSeconds": 5,
            "failureThreshold": failures,
        }

    return {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        # Warming up reads history; only then does a hanging loop mean anything.
        "startupProbe": probe("/healthz", failures=_WARM_UP_SECONDS // _PROBE_PERIOD_SECONDS),
        "livenessProbe": probe("/healthz", failures=6),
        "readinessProbe": probe("/readyz", failures=3) | {"periodSeconds": 5},
    }


def child_version(manifest: Manifest) -> int | None:
    """The model version that a child belongs to, or None when its label is no number."""
    label = manifest["metadata"].get("labels", {}).get("metricwatch.io/version", "")
    return int(label) if label.isdecimal() else None
