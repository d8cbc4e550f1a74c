"""The life of model versions: when one is made, when it serves, when it is given up.

```
            request is new, or asked for ─► Training ──┬─► Candidate ──► Serving ──► Retired
                     ▲                                 │       │
                     └── retry, growing delay ── Failed◄───────┘ detectors never got ready
```

The newest version counts; an older one that never served is given up. The serving version stays
until another one serves, whatever happens to candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from metricwatch.resources import RETRAIN_ANNOTATION, AnomalyModel, Reason, VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.actions import CreateVersion, Prune, Serve, SetState, StoreWrite
from metricwatch_operator.planning.changes import describe_changes
from metricwatch_operator.planning.children import (
    DETECTOR_PROGRESS_SECONDS,
    VERSION_CREATED_ANNOTATION,
    child_version,
)
from metricwatch_operator.planning.conditions import format_time, parse_time, time_of
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.names import COMPONENT_LABEL
from metricwatch_operator.planning.rollouts import Rollout, read_rollout
from metricwatch_operator.planning.trainer_runs import Phase, Run, read_run

SUPERSEDED = "Superseded"
FIRST_RETRY_SECONDS = 60
LONGEST_RETRY_SECONDS = 3600
_OVER = (VersionState.RETIRED, VersionState.FAILED, VersionState.REJECTED)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the versions.

    Attributes:
        writes: To the database.
        train: The version whose Job should be there.
        detect: Versions whose detectors should be there.
        news: Pairs of reason and sentence; a reason that ends in Failed is a warning.
        look_in: Seconds after which time alone changes the decision.
        retry_at: When a failed run is tried again, unix seconds.
        runs: Training runs by version, of versions in Training and of the newest.
        rollouts: Detectors by version, of those in `detect`.
        note: A remark for people about what was asked for.
    """

    writes: tuple[StoreWrite, ...] = ()
    train: Version | None = None
    detect: tuple[Version, ...] = ()
    news: tuple[tuple[str, str], ...] = ()
    look_in: float | None = None
    retry_at: int | None = None
    runs: Mapping[int, Run] = field(default_factory=dict)
    rollouts: Mapping[int, Rollout] = field(default_factory=dict)
    note: str = ""


def decide(observed: Observed, desired: Desired, *, now: datetime, config: Config) -> Decision:
    """What becomes of the versions of a model whose spec could be read."""
    model, overview = desired.model, observed.overview
    if model is None or overview is None:
        return Decision()
    versions = overview.versions
    runs = _read_runs(observed, versions)
    moves = _move(observed, desired, runs=runs)
    wish = _wish(model, desired, versions, runs=runs, now=now, serving=overview.serving_version)
    writes, news = list(moves.writes), list(moves.news)
    look_in = None
    if wish.why and not model.spec.suspend:
        look_in = _unsettled_seconds(observed, now=now, config=config)
        if look_in is None and desired.request is not None:
            create = _create(model, desired, versions, wish)
            writes.append(create)
            news.append(("TrainingStarted", f"version {create.version}: {create.message}"))
    over = [version for version in versions[1:] if version.state in _OVER]
    if len(over) > model.spec.version_history_limit:
        writes.append(Prune(overview.uid, model.spec.version_history_limit))
    due = [wish.at - now.timestamp()] if wish.at is not None and not wish.why else []
    waits = [wait for wait in (look_in, *due) if wait is not None]
    return Decision(
        writes=tuple(writes),
        train=None if model.spec.suspend else moves.train,
        detect=() if model.spec.suspend else moves.detect,
        news=tuple(news),
        look_in=max(min(waits), 0.1) if waits else None,
        retry_at=wish.at,
        runs=runs,
        rollouts=moves.rollouts,
        note=wish.note,
    )


@dataclass(slots=True)
class _Moves:
    writes: list[StoreWrite] = field(default_factory=list)
    news: list[tuple[str, str]] = field(default_factory=list)
    train: Version | None = None
    detect: tuple[Version, ...] = ()
    rollouts: dict[int, Rollout] = field(default_factory=dict)


def _move(observed: Observed, desired: Desired, *, runs: Mapping[int, Run]) -> _Moves:
    moves = _Moves()
    overview = observed.overview
    if overview is None:
        return moves
    for version in overview.versions:
        overtaken = _is_overtaken(version, overview.versions, desired, overview.serving_version)
        if version.version == overview.serving_version:
            _detect(moves, version, observed, desired)
        elif version.state is VersionState.TRAINING:
            _move_training(
                moves, version, runs[version.version], overview.uid, overtaken=overtaken
            )
        elif version.state is VersionState.CANDIDATE and overtaken:
            moves.writes.append(
                SetState(
                    overview.uid, version.version, VersionState.RETIRED, SUPERSEDED, overtaken
                )
            )
        elif version.state is VersionState.CANDIDATE:
            _detect(moves, version, observed, desired)
            _move_candidate(moves, version, observed, desired)
    return moves


def _move_training(moves: _Moves, version: Version, run: Run, uid: str, *, overtaken: str) -> None:
    number = version.version
    if overtaken:
        moves.writes.append(SetState(uid, number, VersionState.FAILED, SUPERSEDED, overtaken))
    elif run.phase is Phase.FAILED:
        moves.writes.append(SetState(uid, number, VersionState.FAILED, run.reason, run.message))
        moves.news.append(("TrainingFailed", f"version {number}: {run.reason}: {run.message}"))
    elif version.trained_at is not None and run.phase in (Phase.SUCCEEDED, Phase.ABSENT):
        moves.writes.append(SetState(uid, number, VersionState.CANDIDATE, message=run.message))
        learned = f": {run.message}" if run.message else ""
        moves.news.append(("VersionTrained", f"version {number} is trained{learned}"))
    elif run.phase is Phase.SUCCEEDED:
        message = "the trainer ended well but stored no result"
        moves.writes.append(
            SetState(uid, number, VersionState.FAILED, Reason.TRAINING_FAILED, message)
        )
        moves.news.append(("TrainingFailed", f"version {number}: {message}"))
    else:
        moves.train = version


def _detect(moves: _Moves, version: Version, observed: Observed, desired: Desired) -> None:
    if desired.model is None:
        return
    number = version.version
    moves.detect += (version,)
    moves.rollouts[number] = read_rollout(
        [one for one in observed.deployments if child_version(one) == number],
        shards=desired.model.spec.detector.shards,
        pods=_pods_of(observed, number, component="detector"),
    )


def _move_candidate(moves: _Moves, version: Version, observed: Observed, desired: Desired) -> None:
    overview = observed.overview
    if overview is None or desired.model is None or desired.model.spec.suspend:
        return
    number, rollout = version.version, moves.rollouts[version.version]
    serving = next(
        (one for one in overview.versions if one.version == overview.serving_version), None
    )
    if rollout.ready:
        moves.writes.append(Serve(overview.uid, number))
        after = "the first version"
        if serving is not None:
            why = describe_changes(serving.request, version.request)
            after = f"after version {serving.version}: {why}"
        moves.news.append(("VersionServing", f"version {number} serves, {after}"))
    elif rollout.overdue and serving is not None:
        # Without a serving version there is nothing to fall back on: Kubernetes goes on trying.
        message = f"its detectors did not become ready: {rollout.message}"
        moves.writes.append(
            SetState(overview.uid, number, VersionState.FAILED, Reason.DETECTOR_NOT_READY, message)
        )
        moves.news.append(("RolloutFailed", f"version {number}: {message}"))


def _is_overtaken(
    version: Version, versions: Sequence[Version], desired: Desired, serving: int | None
) -> str:
    """Why a version that never served is given up; empty when it is not."""
    newest = versions[0]
    if version.version < newest.version:
        return f"version {newest.version} is newer"
    if desired.request is None or version.version == serving:
        return ""
    wanted = desired.request.fingerprint()
    in_service = next((one for one in versions if one.version == serving), None)
    if version.request_hash != wanted and in_service and in_service.request_hash == wanted:
        return f"the spec is again that of version {serving}, which serves"
    return ""


@dataclass(frozen=True, slots=True)
class _Wish:
    """Whether a new version is wanted: `why` now, or `at` a time, or neither."""

    reason: str = ""
    why: str = ""
    attempt: int = 1
    at: int | None = None
    note: str = ""


def _wish(
    model: AnomalyModel,
    desired: Desired,
    versions: Sequence[Version],
    *,
    runs: Mapping[int, Run],
    now: datetime,
    serving: int | None,
) -> _Wish:
    if desired.request is None:
        return _Wish()
    if not versions:
        return _Wish("Created", "the first version")
    newest, wanted = versions[0], desired.request.fingerprint()
    current = next(
        (
            version
            for version in versions
            if version.version in (newest.version, serving)
            and version.request_hash == wanted
            and version.reason != SUPERSEDED
        ),
        None,
    )
    if current is None:
        changes = describe_changes(newest.request, desired.request.to_row())
        return _Wish("SpecChanged", changes)
    asked, note = _retrain_asked(model, newest, runs.get(newest.version), now=now)
    if asked:
        return _Wish("RetrainRequested", f"asked for by {RETRAIN_ANNOTATION}")
    if current is not newest or newest.state is not VersionState.FAILED:
        return _Wish(note=note)
    due = retry_at(newest, runs.get(newest.version, Run(Phase.ABSENT)))
    if due is None or due > now.timestamp():
        return _Wish(at=due, note=note)
    return _Wish("Retry", f"another try after: {newest.message}", newest.attempt + 1, due, note)


def retry_at(version: Version, run: Run) -> int | None:
    """When a failed version is tried again, in unix seconds; None when only a change helps.

    The delay doubles with each attempt at the same request, from a minute to an hour.
    """
    delay = min(FIRST_RETRY_SECONDS << min(version.attempt - 1, 16), LONGEST_RETRY_SECONDS)
    if version.trained_at is not None:
        ended = version.trained_at + DETECTOR_PROGRESS_SECONDS
    else:
        ended = run.ended_at or version.created_at
    if not run.is_final:
        return ended + delay
    if run.retry_after is None:
        return None
    return ended + max(delay, int(run.retry_after))


def _retrain_asked(
    model: AnomalyModel, newest: Version, run: Run | None, *, now: datetime
) -> tuple[bool, str]:
    text = model.metadata.annotations.get(RETRAIN_ANNOTATION)
    if not text:
        return False, ""
    try:
        asked = parse_time(text).timestamp()
    except ValueError:
        return False, f"annotation {RETRAIN_ANNOTATION}: {text[:64]!r} is no RFC 3339 time"
    if asked > now.timestamp():
        return False, f"annotation {RETRAIN_ANNOTATION} lies in the future"
    if newest.state is VersionState.TRAINING:
        return False, ""
    # When it *ended*: the clocks of user and database differ by less than a training run takes.
    ended = newest.trained_at or (run.ended_at if run else None) or newest.created_at
    return asked > ended, ""


def _create(
    model: AnomalyModel, desired: Desired, versions: Sequence[Version], wish: _Wish
) -> CreateVersion:
    if desired.request is None:
        raise ValueError("a version needs a request")
    return CreateVersion(
        model_uid=model.metadata.uid,
        version=versions[0].version + 1 if versions else 1,
        request=desired.request,
        attempt=wish.attempt,
        reason=wish.reason,
        message=wish.why,
    )


def _unsettled_seconds(observed: Observed, *, now: datetime, config: Config) -> float | None:
    """How long to wait for more watches to arrive; None when the last one came long enough ago."""
    created = [
        parse_time(manifest["metadata"]["creationTimestamp"])
        for manifest in (*filter(None, (observed.model,)), *observed.watches)
        if manifest["metadata"].get("creationTimestamp")
    ]
    if not created:
        return None
    left = config.settle_seconds - (now - max(created)).total_seconds()
    # A creation time ahead of our clock must not hold training up for long.
    return min(left, config.settle_seconds) if left > 0 else None


def _read_runs(observed: Observed, versions: Sequence[Version]) -> dict[int, Run]:
    jobs = {child_version(job): job for job in observed.jobs}
    return {
        version.version: read_run(
            job if (job := jobs.get(version.version)) and is_job_of(job, version) else None,
            _pods_of(observed, version.version, component="trainer"),
        )
        for version in versions
        if version is versions[0] or version.state is VersionState.TRAINING
    }


def is_job_of(job: Manifest, version: Version) -> bool:
    """Whether a Job was made for this version, and not for its namesake in a database now lost."""
    made_for = job["metadata"].get("annotations", {}).get(VERSION_CREATED_ANNOTATION)
    return bool(made_for == format_time(time_of(version.created_at)))


def _pods_of(observed: Observed, version: int, *, component: str) -> tuple[Manifest, ...]:
    return tuple(_matching(observed.pods, version, component))


def _matching(pods: Iterable[Manifest], version: int, component: str) -> Iterable[Manifest]:
    for pod in pods:
        if (
            child_version(pod) == version
            and pod["metadata"]["labels"].get(COMPONENT_LABEL) == component
        ):
            yield pod
