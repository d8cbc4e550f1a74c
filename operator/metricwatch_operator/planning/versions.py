"""The life of model versions: when one is made, serves, or is given up.

```
            why a version is wanted (triggering) ──► Training
                                                        │ its run is over (finishing)
        ┌──────────────────────────┬────────────────────┤
        ▼                          ▼                    ▼
     Failed ◄── cannot run ── Candidate ── refused ► Rejected ◄────────┐
        │                          │ promotion          │              │ rolled back, once
        └─► retry, growing delay   ▼                    │ pinned       │ (rollback)
                                Serving ◄───────────────┴──────────────┤
                                   │ another one serves                │
                                   ▼                                   │
                                Retired ──► Candidate, when it is the newest good one again
```

The serving version stays until another one serves, whatever happens to candidates. Of the good
versions the newest counts; a candidate that it overtakes is retired, and a run that a newer one
overtakes has failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from metricwatch.assignments import TrainingRequest
from metricwatch.resources import AnomalyModel, VersionState
from metricwatch.store.rows import ModelOverview, Version
from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.actions import CreateVersion, Prune, StoreWrite
from metricwatch_operator.planning.answering import SUPERSEDED, answers, newest_of
from metricwatch_operator.planning.children import VERSION_CREATED_ANNOTATION, child_version
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.finishing import finish_training
from metricwatch_operator.planning.moves import Moves
from metricwatch_operator.planning.names import COMPONENT_LABEL
from metricwatch_operator.planning.policies import Violation
from metricwatch_operator.planning.rollouts import Rollout
from metricwatch_operator.planning.standing import Standing, read_standing
from metricwatch_operator.planning.taking_over import move_standing, pods_of, promotion_note
from metricwatch_operator.planning.trainer_runs import Run, job_of, read_run
from metricwatch_operator.planning.triggering import Wish, wish
from metricwatch_operator.planning.turns import Turn, find_wait
from metricwatch_operator.planning.unstarted import until_podless

_OVER = (VersionState.RETIRED, VersionState.FAILED, VersionState.REJECTED)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the versions.

    Attributes:
        writes: To the database.
        train: The version whose Job should be there.
        detect: Versions whose detectors should be there.
        news: Pairs of reason and sentence.
        look_in: Seconds after which time alone changes the decision.
        standing: Where the versions stand to each other.
        waits: Why the contender does not serve yet.
        turn: What the run of the newest version waits for; None when it waits for nothing.
        wish: Whether a version is wanted, and what holds it back.
        runs: Training runs by version, of versions in Training and of the newest.
        rollouts: Detectors by version, of those in `detect`.
        note: A remark for people about what was asked for.
    """

    writes: tuple[StoreWrite, ...] = ()
    train: Version | None = None
    detect: tuple[Version, ...] = ()
    news: tuple[tuple[str, str], ...] = ()
    look_in: float | None = None
    standing: Standing = field(default_factory=Standing)
    waits: Violation | None = None
    turn: Turn | None = None
    wish: Wish = field(default_factory=Wish)
    runs: Mapping[int, Run] = field(default_factory=dict)
    rollouts: Mapping[int, Rollout] = field(default_factory=dict)
    note: str = ""

    @property
    def problem(self) -> Problem | None:
        """Why a version that was named cannot serve."""
        return self.standing.problem

    @property
    def retry_at(self) -> int | None:
        """When a failed run is tried again, unix seconds."""
        return self.wish.retry_at


def decide(observed: Observed, desired: Desired, *, now: datetime, config: Config) -> Decision:
    """What becomes of the versions of a model whose spec could be read."""
    model, overview = desired.model, observed.overview
    if model is None or overview is None:
        return Decision()
    spec, runs = model.spec, _read_runs(observed, overview.versions)
    standing = read_standing(overview, spec, desired.request, now=now.timestamp())
    moves = Moves(overview.uid)
    _move_training(moves, overview, model, desired.request, standing, runs)
    _retire_overtaken(moves, overview.versions, standing, desired.request)
    if not spec.suspend:
        move_standing(moves, observed, desired, standing, now=now)
    wanted = wish(observed, desired, runs, now=now, config=config)
    if wanted.is_due and desired.request is not None:
        create = _create(overview, desired.request, wanted)
        moves.writes.append(create)
        moves.tell("TrainingStarted", f"version {create.version}: {create.message}")
    moves.writes.extend(_prune(observed, overview, model, standing))
    turn = None
    if moves.train is not None and not spec.suspend:
        turn = find_wait(moves.train, observed, desired, now=now.timestamp(), config=config)
    if turn is not None:
        moves.look_in.append(turn.look_in)
    if wanted.at is not None and not wanted.is_due:
        moves.look_in.append(wanted.at - now.timestamp())
    moves.look_in.extend(_until_podless(observed, moves.train, now=now))
    notes = (wanted.note, promotion_note(model, standing))
    return Decision(
        writes=tuple(moves.writes),
        train=None if spec.suspend or turn is not None else moves.train,
        detect=moves.detect,
        news=tuple(moves.news),
        look_in=max(min(moves.look_in), 0.1) if moves.look_in else None,
        standing=standing,
        waits=moves.waits,
        turn=turn,
        wish=wanted,
        runs=runs,
        rollouts=moves.rollouts,
        note="; ".join(note for note in notes if note),
    )


def _move_training(
    moves: Moves,
    overview: ModelOverview,
    model: AnomalyModel,
    request: TrainingRequest | None,
    standing: Standing,
    runs: Mapping[int, Run],
) -> None:
    newest = newest_of(overview.versions)
    for version in overview.versions:
        if version.state is not VersionState.TRAINING:
            continue
        overtaken = _overtaken(version, newest, request, standing.serving)
        if overtaken:
            moves.set_state(version, VersionState.FAILED, reason=SUPERSEDED, message=overtaken)
            moves.tell("VersionSuperseded", f"version {version.version}: {overtaken}")
            continue
        finish_training(
            moves,
            version,
            runs[version.version],
            limits=model.spec.quality_gate,
            serving=standing.serving,
        )


def _overtaken(
    version: Version,
    newest: Version | None,
    request: TrainingRequest | None,
    serving: Version | None,
) -> str:
    """Why a version in training is given up; empty when it is not."""
    if newest is not None and version.version < newest.version:
        return f"version {newest.version} is newer"
    if request is None or serving is None or answers(version, request):
        return ""
    if answers(serving, request):
        return f"the spec is again that of version {serving.version}, which serves"
    return ""


def _retire_overtaken(
    moves: Moves,
    versions: Sequence[Version],
    standing: Standing,
    request: TrainingRequest | None,
) -> None:
    """Retires the candidates that are not next in line."""
    for version in versions:
        next_in_line = (standing.elected, standing.contender)
        if version.state is not VersionState.CANDIDATE or version in next_in_line:
            continue
        better = standing.elected or standing.serving
        message = f"version {better.version} is newer" if better else "another version is newer"
        if request is not None and not answers(version, request):
            message = "the spec asks for something else"
        moves.set_state(version, VersionState.RETIRED, reason=SUPERSEDED, message=message)
        moves.tell("VersionSuperseded", f"version {version.version}: {message}")


def _create(overview: ModelOverview, request: TrainingRequest, wanted: Wish) -> CreateVersion:
    versions = overview.versions
    return CreateVersion(
        model_uid=overview.uid,
        version=versions[0].version + 1 if versions else 1,
        request=request,
        attempt=wanted.attempt,
        reason=wanted.reason,
        message=wanted.why,
    )


def _prune(
    observed: Observed, overview: ModelOverview, model: AnomalyModel, standing: Standing
) -> list[Prune]:
    before = standing.serving.replaced if standing.serving else None
    next_in_line = standing.contender.version if standing.contender else None
    # A detector that is still ending would write scores of a version that is gone.
    running = {
        child_version(one)
        for one in (*observed.deployments, *observed.pods)
        if one["metadata"].get("labels", {}).get(COMPONENT_LABEL) == "detector"
    }
    kept = {model.spec.version, next_in_line, before, *running}
    protect = tuple(sorted(number for number in kept if number is not None))
    over = [
        one for one in overview.versions[1:] if one.state in _OVER and one.version not in protect
    ]
    limit = model.spec.version_history_limit
    return [Prune(overview.uid, limit, protect)] if len(over) > limit else []


def _read_runs(observed: Observed, versions: Sequence[Version]) -> dict[int, Run]:
    newest = newest_of(versions)
    return {
        version.version: read_run(
            job_of(job for job in observed.jobs if is_job_of(job, version)),
            pods_of(observed, version.version, component="trainer"),
        )
        for version in versions
        if version is newest or version.state is VersionState.TRAINING
    }


def _until_podless(observed: Observed, version: Version | None, *, now: datetime) -> list[float]:
    """Seconds until a run without a pod is in trouble: nothing else would tell of it."""
    if version is None:
        return []
    job = job_of(job for job in observed.jobs if is_job_of(job, version))
    pods = pods_of(observed, version.version, component="trainer")
    left = until_podless(job, pods, now=now)
    return [left] if left is not None and left > 0 else []


def is_job_of(job: Manifest, version: Version) -> bool:
    """Whether a Job was made for this version, and not for its namesake in a database now lost."""
    if child_version(job) != version.version:
        return False
    made_for = job["metadata"].get("annotations", {}).get(VERSION_CREATED_ANNOTATION)
    return bool(made_for == format_time(time_of(version.created_at)))
