"""What an administrator decides for every model: images, resources, placement, waiting times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metricwatch.resources.source import Source


def _resources(cpu: str, memory: str, limit: str) -> dict[str, Any]:
    # No CPU limit: throttling a detector makes it late, and shares keep neighbours safe.
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where children run and who pulls their images."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class_name: str = ""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a plan depends on beside what was observed.

    Attributes:
        trainer_image: Image of trainer Jobs.
        detector_image: Image of detector Deployments.
        database_secret: A Secret with the key `url` that exists in each namespace; empty: the
            operator makes one beside each model.
        default_source: What a model's source leaves unset.
        allowed_source_hosts: Hosts that sources may have; empty: all.
        trainer_resources: For a model that says nothing about `training.resources`.
        detector_resources: For a model that says nothing about `detector.resources`.
        placement: Of every child.
        log_level: Of every child.
        score_retention_days: How long detectors keep scores.
        settle_seconds: After a watch or a model was created, wait so long for more of them before
            a version is trained: one `kubectl apply` brings several.
        resync_seconds: Look at a model so often without any event.
        concurrent_trainings: How many training runs of all models may be under way at once.
        watches_settle_seconds: After a watch or series came or went, wait so long for more changes
            before a version is trained because of it.
        finalizer_patience_seconds: A model that is being deleted waits so long for the database.
        code_version: Of this release, written to each version.
    """

    trainer_image: str
    detector_image: str
    database_secret: str = ""
    default_source: Source = field(default_factory=Source)
    allowed_source_hosts: tuple[str, ...] = ()
    trainer_resources: Mapping[str, Any] = field(
        default_factory=lambda: _resources("500m", "1Gi", "4Gi")
    )
    detector_resources: Mapping[str, Any] = field(
        default_factory=lambda: _resources("50m", "192Mi", "1Gi")
    )
    placement: Placement = field(default_factory=Placement)
    log_level: str = "info"
    score_retention_days: int = 14
    settle_seconds: float = 3.0
    resync_seconds: float = 15.0
    concurrent_trainings: int = 4
    watches_settle_seconds: float = 60.0
    finalizer_patience_seconds: float = 600.0
    code_version: str = ""
