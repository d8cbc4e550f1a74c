"""What became of a trainer Job, read from the Job and from the verdicts its pods left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metricwatch.resources import Reason
from metricwatch.verdict import ExitCode, parse_verdict
from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.conditions import parse_time

_PATIENCE_WITH_BUGS = 3
"""After so many ends with a bug the run counts as failed: the first, and two retries."""


class Phase(StrEnum):
    """Where a run stands."""

    ABSENT = "absent"
    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Run:
    """One training run.

    Attributes:
        phase: Where it stands.
        reason: Why it failed, or what an active run struggles with; empty when nothing is wrong.
        message: The same for people.
        exit_code: Of the newest attempt that ended, if one is known.
        retry_after: Seconds after which the trainer expects another run to do better.
        ended_at: Unix seconds.
    """

    phase: Phase
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    retry_after: float | None = None
    ended_at: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether only another request, or other data, helps."""
        return self.exit_code in (ExitCode.DATA, ExitCode.REQUEST)


def read_run(job: Manifest | None, pods: Iterable[Manifest]) -> Run:
    """What became of a Job; `pods` are the trainer pods of the same version."""
    if job is None:
        return Run(Phase.ABSENT)
    status = job.get("status") or {}
    conditions = {
        condition["type"]: condition
        for condition in status.get("conditions") or ()
        if condition.get("status") == "True"
    }
    if "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        return Run(Phase.SUCCEEDED, message=_success(pods))
    endings = sorted(_endings(pods), key=lambda ending: ending.at)
    # The controller says FailureTarget first and Failed only when the last pod is gone.
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    if failed is None and sum(end.code == ExitCode.BUG for end in endings) >= _PATIENCE_WITH_BUGS:
        return _explain(Phase.FAILED, endings, ended_at=endings[-1].at)
    if failed is None:
        return _explain(Phase.ACTIVE, endings)
    at = int(parse_time(failed["lastTransitionTime"]).timestamp())
    if failed.get("reason") == "DeadlineExceeded":
        limit = job["spec"].get("activeDeadlineSeconds")
        message = f"training took longer than training.timeout ({limit} s)"
        last = _explain(Phase.FAILED, endings)
        if last.message:
            message += f"; the last attempt said: {last.message}"
        return Run(Phase.FAILED, Reason.TRAINING_TIMED_OUT, message, ended_at=at)
    run = _explain(Phase.FAILED, endings, ended_at=at)
    if run.reason:
        return run
    return Run(
        Phase.FAILED,
        Reason.TRAINING_FAILED,
        failed.get("message") or "the Job failed",
        ended_at=at,
    )


def _success(pods: Iterable[Manifest]) -> str:
    """What the trainer says about what it learned; empty when its pods are gone."""
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated") or {}
            verdict = parse_verdict(ended.get("message") or "")
            if ended.get("exitCode") == ExitCode.TRAINED and verdict is not None:
                return verdict.message
    return ""


@dataclass(frozen=True, slots=True)
class _Ending:
    at: int
    code: int
    text: str
    why: str


def _endings(pods: Iterable[Manifest]) -> Iterable[_Ending]:
    for pod in pods:
        for container in (pod.get("status") or {}).get("containerStatuses") or ():
            ended = (container.get("state") or {}).get("terminated")
            if ended is not None and ended.get("exitCode") not in (ExitCode.TRAINED, None):
                yield _ending(ended)


def _ending(ended: Mapping[str, Any]) -> _Ending:
    finished = ended.get("finishedAt")
    return _Ending(
        at=int(parse_time(finished).timestamp()) if finished else 0,
        code=int(ended["exitCode"]),
        text=ended.get("message") or "",
        why=ended.get("reason") or "",
    )


def _explain(phase: Phase, endings: list[_Ending], *, ended_at: int | None = None) -> Run:
    if not endings:
        return Run(phase, ended_at=ended_at)
    last = endings[-1]
    verdict = parse_verdict(last.text)
    if verdict is not None:
        return Run(
            phase,
            verdict.reason,
            verdict.message,
            exit_code=last.code,
            retry_after=verdict.retry_after_seconds,
            ended_at=ended_at,
        )
    why = "was killed for using too much memory" if last.why == "OOMKilled" else "left no verdict"
    message = f"the trainer ended with exit code {last.code} and {why}"
    if last.why == "OOMKilled":
        message += ": raise training.resources.limits.memory"
    reason = last.why if last.why == "OOMKilled" else Reason.TRAINING_FAILED.value
    return Run(phase, reason, message, exit_code=last.code, ended_at=ended_at)


def pod_trouble(pods: Iterable[Manifest]) -> str:
    """Why a pod does not start, in Kubernetes' own words; empty when all do."""
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return f"{condition.get('reason', '')}: {condition.get('message', '')}"
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""
