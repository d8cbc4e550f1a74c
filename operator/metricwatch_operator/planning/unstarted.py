"""Why pods are not there, or do not start: in Kubernetes' own words as far as it leaves any.

What a namespace forbids (a quota, a limit, a policy) is refused when a controller makes the pod. A
Deployment has a condition that says why. A Job has only events, and the operator has no right to
read those: a Job that has no pod for a while is all that shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.conditions import parse_time
from metricwatch_operator.planning.trainer_runs import has_ended

PATIENCE_SECONDS = 15.0
"""So long a Job may be without a pod before somebody should look at it."""
_UNSCHEDULABLE = "Unschedulable"


def pod_trouble(pods: Iterable[Manifest], *, resources: str) -> str:
    """Why a pod does not start; empty when all do.

    Args:
        pods: Of one Job, or of the detectors of one version.
        resources: The field that says what they ask for.
    """
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                told = f"{condition.get('reason', '')}: {condition.get('message', '')}"
                if condition.get("reason") == _UNSCHEDULABLE:
                    told = f"{told.rstrip('.')}: lower {resources}.requests, or make room"
                return told
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""


def until_podless(
    job: Manifest | None, pods: Iterable[Manifest], *, now: datetime
) -> float | None:
    """Seconds until a Job without a pod is in trouble, less than 0 when it is.

    None when there is no Job that could be: it has a pod, or its outcome is certain.
    """
    if job is None or has_ended(job) or any(True for _pod in pods):
        return None
    made = job["metadata"].get("creationTimestamp")
    if made is None:
        return None
    return PATIENCE_SECONDS - (now - parse_time(made)).total_seconds()


def podless_trouble(job: Manifest | None, pods: Iterable[Manifest], *, now: datetime) -> str:
    """What to do about a Job that cannot make its pods; empty when it can."""
    left = until_podless(job, pods, now=now)
    if job is None or left is None or left > 0:
        return ""
    name = job["metadata"]["name"]
    return (
        f"no pod of Job {name} could be made, as a rule for a quota or a limit of the namespace: "
        f"kubectl describe job {name} says why"
    )


def refusal_of(deployments: Iterable[Manifest]) -> str:
    """Why the pods of a Deployment cannot be made; empty when they can."""
    for deployment in deployments:
        for condition in (deployment.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return ""
