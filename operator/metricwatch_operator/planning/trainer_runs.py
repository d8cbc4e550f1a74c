"""What became of a training run, read from its Jobs and from the verdicts their pods left.

A run is one Job with a pod for each slice of the series; a search in several pods is a Job of its
own before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metricwatch.resources import Reason
from metricwatch.verdict import UNFINISHED, ExitCode, parse_verdict
from metricwatch_operator.objects import Manifest
from metricwatch_operator.planning.conditions import parse_time

_PATIENCE_WITH_BUGS = 3
"""So many ends of one slice with a bug fail the run: the first, and two retries."""
_JOB_LABEL = "batch.kubernetes.io/job-name"
_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


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


def job_of(jobs: Iterable[Manifest]) -> Manifest | None:
    """Of the Jobs of one version the one that tells how its run fares: the latest step."""
    return max(jobs, key=lambda job: not is_search(job), default=None)


def is_search(job: Manifest) -> bool:
    """Whether a Job searches for parameters; its end is not that of the run."""
    containers = job["spec"].get("template", {}).get("spec", {}).get("containers", ())
    return any(
        (one.get("name"), one.get("value")) == ("METRICWATCH_PHASE", "search")
        for container in containers
        for one in container.get("env") or ()
    )


def has_ended(job: Manifest) -> bool:
    """Whether the outcome of a Job is certain; its last pods may still be on their way out."""
    return bool(
        _conditions(job).keys() & {"Complete", "SuccessCriteriaMet", "Failed", "FailureTarget"}
    )


def has_succeeded(job: Manifest) -> bool:
    """Whether all pods of a Job did what they were for."""
    return "Complete" in _conditions(job)


def may_be_replaced(job: Manifest, wanted: Manifest, pods: Iterable[Manifest]) -> bool:
    """Whether nothing is lost when another Job takes this one's place.

    No pod is at work, and slices that were stored already are slices of the other one as well.
    """
    phases = {(pod.get("status") or {}).get("phase") for pod in pods if _is_pod_of(pod, job)}
    alike = job["spec"].get("completions") == wanted["spec"].get("completions")
    return phases <= {"Pending", "Failed", "Succeeded"} if alike else phases <= {"Pending"}


def read_run(job: Manifest | None, pods: Iterable[Manifest]) -> Run:
    """What became of a run.

    Args:
        job: The Job of its latest step. A search that succeeded leaves the run active: the
            training is still to come.
        pods: The trainer pods of the same version.
    """
    if job is None:
        return Run(Phase.ABSENT)
    own = [pod for pod in pods if _is_pod_of(pod, job)]
    conditions = _conditions(job)
    if "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        if is_search(job):
            return Run(Phase.ACTIVE)
        return Run(Phase.SUCCEEDED, message=_success(own))
    endings = sorted(_endings(own, job), key=lambda ending: ending.at)
    # The controller says FailureTarget first and Failed only when the last pod is gone.
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    if failed is not None:
        return _failed(job, failed, endings)
    bugs = Counter(end.shard for end in endings if end.code == ExitCode.BUG)
    if any(times >= _PATIENCE_WITH_BUGS for times in bugs.values()):
        worst = [end for end in endings if bugs[end.shard] >= _PATIENCE_WITH_BUGS]
        return _explain(Phase.FAILED, worst, ended_at=endings[-1].at)
    done = _indexes((job.get("status") or {}).get("completedIndexes"))
    return _explain(Phase.ACTIVE, [end for end in endings if end.index not in done])


def _failed(job: Manifest, failed: Mapping[str, Any], endings: list[_Ending]) -> Run:
    at = int(parse_time(failed["lastTransitionTime"]).timestamp())
    if failed.get("reason") == "DeadlineExceeded":
        limit = job["spec"].get("activeDeadlineSeconds")
        message = f"training took longer than training.timeout ({limit} s)"
        if is_search(job):
            message = (
                f"the search took longer than tuning.timeout and training.timeout ({limit} s)"
            )
        last = _explain(Phase.FAILED, endings)
        if last.message:
            message += f"; the last attempt said: {last.message}"
        return Run(Phase.FAILED, Reason.TRAINING_TIMED_OUT, message, ended_at=at)
    # Pods that are asked to stop because another one was given up are not to blame.
    given_up = _indexes((job.get("status") or {}).get("failedIndexes"))
    blamed = [end for end in endings if end.index in given_up] or [
        end for end in endings if end.code != ExitCode.STOPPED
    ]
    run = _explain(Phase.FAILED, blamed, ended_at=at)
    if run.reason:
        return run
    message = failed.get("message") or "the Job failed"
    if given_up and job["spec"].get("completions", 1) > 1:
        message += f" (shards {', '.join(map(str, sorted(given_up)))})"
    return Run(Phase.FAILED, Reason.TRAINING_FAILED, message, ended_at=at)


def _conditions(job: Manifest) -> dict[str, Mapping[str, Any]]:
    return {
        condition["type"]: condition
        for condition in (job.get("status") or {}).get("conditions") or ()
        if condition.get("status") == "True"
    }


def _is_pod_of(pod: Manifest, job: Manifest) -> bool:
    name = pod["metadata"].get("labels", {}).get(_JOB_LABEL)
    return name is None or bool(name == job["metadata"]["name"])


def _success(pods: Iterable[Manifest]) -> str:
    """What the trainer says about what it learned; empty when its pods are gone."""
    verdicts = [
        verdict
        for pod in pods
        for ended in _terminated(pod)
        if ended.get("exitCode") == ExitCode.TRAINED
        and (verdict := parse_verdict(ended.get("message") or "")) is not None
    ]
    # Of several pods the last one to end speaks for all.
    told = max(verdicts, key=lambda verdict: verdict.reason == "Trained", default=None)
    return "" if told is None else told.message


@dataclass(frozen=True, slots=True)
class _Ending:
    """How one pod ended.

    Attributes:
        index: Of its slice, None when the pod does not say.
        shard: What to call the slice; empty when the run has only one.
    """

    at: int
    code: int
    text: str
    why: str
    index: int | None = None
    shard: str = ""


def _endings(pods: Iterable[Manifest], job: Manifest) -> Iterable[_Ending]:
    shards = job["spec"].get("completions") or 1
    for pod in pods:
        label = pod["metadata"].get("labels", {}).get(_INDEX_LABEL, "")
        index = int(label) if label.isdecimal() else None
        shard = "" if index is None or shards == 1 else f"shard {index} of {shards}: "
        for ended in _terminated(pod):
            if ended.get("exitCode") not in (ExitCode.TRAINED, None):
                yield _ending(ended, index=index, shard=shard)


def _terminated(pod: Manifest) -> Iterable[Mapping[str, Any]]:
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated")
        if ended is not None:
            yield ended


def _ending(ended: Mapping[str, Any], *, index: int | None, shard: str) -> _Ending:
    finished = ended.get("finishedAt")
    return _Ending(
        at=int(parse_time(finished).timestamp()) if finished else 0,
        code=int(ended["exitCode"]),
        text=ended.get("message") or "",
        why=ended.get("reason") or "",
        index=index,
        shard=shard,
    )


def _explain(phase: Phase, endings: list[_Ending], *, ended_at: int | None = None) -> Run:
    if not endings:
        return Run(phase, ended_at=ended_at)
    last = endings[-1]
    verdict = parse_verdict(last.text)
    unfinished = verdict is not None and verdict.reason == UNFINISHED
    at = f" {verdict.message}" if verdict is not None and unfinished else ""
    if last.why == "OOMKilled":
        message = f"{last.shard}the trainer was killed for using too much memory{at}"
        message += ": raise training.resources.limits.memory or training.parallelism"
        return Run(phase, last.why, message, exit_code=last.code, ended_at=ended_at)
    if verdict is not None and not unfinished:
        return Run(
            phase,
            verdict.reason,
            last.shard + verdict.message,
            exit_code=last.code,
            retry_after=verdict.retry_after_seconds,
            ended_at=ended_at,
        )
    message = f"{last.shard}the trainer ended with exit code {last.code}{at} and left no verdict"
    return Run(phase, Reason.TRAINING_FAILED, message, exit_code=last.code, ended_at=ended_at)


def _indexes(text: str | None) -> frozenset[int]:
    """The numbers in a Job's list of indexes.

    >>> sorted(_indexes("1,3-5"))
    [1, 3, 4, 5]
    """
    numbers: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first:
            numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)
