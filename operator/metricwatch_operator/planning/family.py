"""Which children a model should have now, and what has to change for that.

While the spec cannot be read or the database is away, children stay exactly as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from metricwatch.resources import AnomalyModel, VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.objects import Manifest, Ref
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.children import (
    Owner,
    RunOf,
    build_detector,
    build_search_job,
    build_trainer_job,
    child_version,
    searches_first,
)
from metricwatch_operator.planning.conditions import time_of
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.contained import APPLIED_ANNOTATION, is_contained, stamp
from metricwatch_operator.planning.desired import Desired, request_secrets
from metricwatch_operator.planning.taking_over import pods_of
from metricwatch_operator.planning.trainer_runs import (
    has_ended,
    has_succeeded,
    is_search,
    may_be_replaced,
)
from metricwatch_operator.planning.versions import Decision, is_job_of


@dataclass(frozen=True, slots=True)
class Children:
    """What has to change."""

    database_secret: frozenset[str] | None = None
    creates: tuple[Mapping[str, Any], ...] = ()
    applies: tuple[Mapping[str, Any], ...] = ()
    deletions: tuple[Ref, ...] = ()


def plan_children(
    observed: Observed, desired: Desired, decision: Decision, *, config: Config
) -> Children:
    """What has to change so that the children are those that the decision asks for."""
    model = desired.model
    if model is None or observed.overview is None or observed.store_problem is not None:
        return Children()
    owner = Owner(observed.namespace, observed.name, model.metadata.uid)
    detectors = [
        stamp(detector) for detector in _detectors(owner, model, desired, decision, config=config)
    ]
    creates = tuple(_missing_jobs(owner, model, observed, decision, config=config))
    live = {deployment["metadata"]["name"]: deployment for deployment in observed.deployments}
    applies = tuple(
        one for one in detectors if not is_contained(one, live.get(one["metadata"]["name"]))
    )
    wanted = {detector["metadata"]["name"] for detector in detectors}
    unwanted = [
        *_unwanted_jobs(observed, model),
        *_outdated_jobs(owner, model, observed, decision, config=config),
        *(one for name, one in sorted(live.items()) if name not in wanted),
    ]
    has_children = bool(decision.train or decision.detect)
    needs_secret = has_children and not config.database_secret
    return Children(
        database_secret=_database_secret(observed) if needs_secret else None,
        creates=creates,
        applies=applies,
        deletions=tuple(
            Ref.of(one) for one in unwanted if "deletionTimestamp" not in one["metadata"]
        ),
    )


def _database_secret(observed: Observed) -> frozenset[str] | None:
    """The pods that wait to start, when the Secret is to be applied; None to leave it.

    Nobody tells when somebody deletes it: to be told, the operator would have to be allowed to
    read all Secrets. A pod that runs keeps what it has mounted, so the Secret is needed again when
    a pod starts, and each new one that waits has it applied once more.
    """
    waiting = frozenset(
        str(pod["metadata"]["uid"])
        for pod in observed.pods
        if (pod.get("status") or {}).get("phase") == "Pending"
        and "deletionTimestamp" not in pod["metadata"]
    )
    is_there = observed.memory.database_secret and waiting <= observed.memory.provided
    return None if is_there else waiting


def _detectors(
    owner: Owner, model: AnomalyModel, desired: Desired, decision: Decision, *, config: Config
) -> Iterable[Mapping[str, Any]]:
    for version in decision.detect:
        for shard in range(model.spec.detector.shards):
            yield build_detector(
                owner,
                model.spec,
                version=version.version,
                shard=shard,
                source_secrets=desired.source_secrets,
                config=config,
            )


def _missing_jobs(
    owner: Owner, model: AnomalyModel, observed: Observed, decision: Decision, *, config: Config
) -> Iterable[Mapping[str, Any]]:
    version = decision.train
    if version is None:
        return
    present = [job for job in observed.jobs if child_version(job) == version.version]
    if not present and searches_first(model.spec):
        build = build_search_job
    elif all(is_search(job) and has_succeeded(job) for job in present):
        build = build_trainer_job
    else:
        return
    yield stamp(build(owner, model.spec, _run_of(version, config)))


def _run_of(version: Version, config: Config) -> RunOf:
    return RunOf(
        version=version.version,
        created_at=time_of(version.created_at),
        source_secrets=request_secrets(version.request),
        config=config,
    )


def _outdated_jobs(
    owner: Owner, model: AnomalyModel, observed: Observed, decision: Decision, *, config: Config
) -> Iterable[Manifest]:
    """The Job of a run that would be made otherwise now, while none of its pods is at work.

    A Job cannot be changed. One whose pods fit on no node, are refused, or were killed for their
    memory would go on as it is until its deadline, whatever the spec says since.
    """
    version = decision.train
    if version is None:
        return
    for job in observed.jobs:
        if not is_job_of(job, version) or has_ended(job):
            continue
        build = build_search_job if is_search(job) else build_trainer_job
        wanted = stamp(build(owner, model.spec, _run_of(version, config)))
        if _stamp_of(job) not in (None, _stamp_of(wanted)) and may_be_replaced(
            job, wanted, pods_of(observed, version.version, component="trainer")
        ):
            yield job


def _stamp_of(manifest: Manifest) -> str | None:
    stamped: str | None = manifest["metadata"].get("annotations", {}).get(APPLIED_ANNOTATION)
    return stamped


def _unwanted_jobs(observed: Observed, model: AnomalyModel) -> Iterable[Manifest]:
    """Jobs of versions that are gone or given up; a finished Job stays to be read."""
    versions = (
        {one.version: one for one in observed.overview.versions} if observed.overview else {}
    )
    for job in observed.jobs:
        version = versions.get(child_version(job) or 0)
        if version is None or not is_job_of(job, version):
            yield job
            continue
        is_wanted = version.state is VersionState.TRAINING and not model.spec.suspend
        if not (is_wanted or has_ended(job)):
            yield job
