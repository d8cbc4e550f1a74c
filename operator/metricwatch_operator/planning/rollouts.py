"""Whether the detectors of a version are ready, read from their Deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.names import SHARD_LABEL
from metricwatch_operator.planning.unstarted import pod_trouble, refusal_of

_FEWEST_RESTARTS = 2


@dataclass(frozen=True, slots=True)
class Rollout:
    """The detectors of one version.

    Attributes:
        ready: Every shard has all its replicas, up to date and available.
        serving: Every shard has at least one available replica: nothing is missed.
        overdue: A shard made no progress for its progress deadline.
        message: What is missing, for people; empty when ready.
        crashing: Which pod crashes again and again, and how; empty when none does.
    """

    ready: bool
    serving: bool
    overdue: bool
    message: str
    crashing: str = ""


def read_rollout(
    deployments: Sequence[Manifest], *, shards: int, pods: Sequence[Manifest]
) -> Rollout:
    """The state of a version's detectors; `pods` are theirs."""
    by_shard = {
        deployment["metadata"].get("labels", {}).get(SHARD_LABEL): deployment
        for deployment in deployments
    }
    present = [by_shard.get(str(shard)) for shard in range(shards)]
    lacking = [shard for shard, one in enumerate(present) if one is None or not _is_ready(one)]
    if not lacking:
        return Rollout(ready=True, serving=True, overdue=False, message="")
    crashing = _crash_loop(pods)
    message = f"{shards - len(lacking)} of {shards} detectors are ready"
    trouble = refusal_of(deployments) or pod_trouble(pods, resources="detector.resources")
    return Rollout(
        ready=False,
        serving=all(one is not None and _has_available(one) for one in present),
        overdue=any(one is not None and _is_overdue(one) for one in present),
        message=f"{message}; {trouble}" if trouble else message,
        crashing=crashing,
    )


def _crash_loop(pods: Sequence[Manifest]) -> str:
    """The first pod whose container ended so often that Kubernetes waits to start it again.

    Once is bad luck: a database that was away, a node that ran out of memory.
    """
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            restarts = container.get("restartCount", 0)
            if waiting.get("reason") == "CrashLoopBackOff" and restarts >= _FEWEST_RESTARTS:
                ended = (container.get("lastState") or {}).get("terminated") or {}
                code = ended.get("exitCode", "unknown")
                name = pod["metadata"]["name"]
                return f"{name} was restarted {restarts} times, exit code {code}"
    return ""


def _status(deployment: Manifest) -> Mapping[str, int]:
    status: Mapping[str, int] = deployment.get("status") or {}
    return status


def _is_ready(deployment: Manifest) -> bool:
    status, wanted = _status(deployment), deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("availableReplicas", 0) >= wanted
    )


def _has_available(deployment: Manifest) -> bool:
    return _status(deployment).get("availableReplicas", 0) >= 1


def _is_overdue(deployment: Manifest) -> bool:
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    return any(
        condition.get("type") == "Progressing"
        and condition.get("reason") == "ProgressDeadlineExceeded"
        for condition in conditions
    )
