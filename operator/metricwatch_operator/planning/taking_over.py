"""Who serves: a contender takes over, a version that misbehaves goes back.

The versions that run are the serving one, its contender and, for a while, what it took over from.
A version that goes back comes first: no contender takes over in the same step.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from metricwatch.resources import PROMOTE_ANNOTATION, AnomalyModel, Reason, VersionState
from metricwatch.store.rows import Comparison, TakeOver, Version
from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.actions import MarkReady, Serve
from metricwatch_operator.planning.changes import describe_changes
from metricwatch_operator.planning.children import child_version
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.health import damage_of
from metricwatch_operator.planning.moves import Moves
from metricwatch_operator.planning.names import COMPONENT_LABEL
from metricwatch_operator.planning.policies import Violation, evaluate
from metricwatch_operator.planning.promotion import BREAKDOWNS, REFUSALS, WAITS, Trial
from metricwatch_operator.planning.rollback import Probation, find_misbehaviour
from metricwatch_operator.planning.rollouts import read_rollout
from metricwatch_operator.planning.standing import Standing

LEAST_PATIENCE_SECONDS = 60.0
_PATIENT_TICKS = 3


def move_standing(
    moves: Moves, observed: Observed, desired: Desired, standing: Standing, *, now: datetime
) -> None:
    """Lets the right versions run, and the right one of them serve."""
    model = desired.model
    if model is None:
        return
    running = (standing.serving, standing.contender, standing.fallback)
    for version in filter(None, running):
        _detect(moves, version, observed, shards=model.spec.detector.shards)
    if _roll_back(moves, observed, desired, standing, now=now):
        return
    if standing.fallback_until is not None:
        moves.look_in.append(standing.fallback_until - now.timestamp())
    if standing.contender is None:
        return
    if standing.contender.state is VersionState.RETIRED and not standing.is_pinned:
        _reinstate(moves, standing.contender)
        return
    trial = _trial(moves, observed, desired, model, standing, now=now)
    _move_contender(moves, trial)


def promotion_note(model: AnomalyModel, standing: Standing) -> str:
    """A remark about an annotation that names no version which could serve."""
    text = model.metadata.annotations.get(PROMOTE_ANNOTATION)
    known = [one.version for one in (standing.serving, standing.elected) if one is not None]
    if not text or text in map(str, known):
        return ""
    # What was asked for once and has had its time is no mistake.
    newest = max(known, default=0)
    if text.isdecimal() and int(text) <= newest:
        return ""
    return f"annotation {PROMOTE_ANNOTATION}: {text[:64]!r} is no candidate"


def _detect(moves: Moves, version: Version, observed: Observed, *, shards: int) -> None:
    number = version.version
    moves.detect += (version,)
    moves.rollouts[number] = read_rollout(
        [one for one in observed.deployments if child_version(one) == number],
        shards=shards,
        pods=tuple(pods_of(observed, number, component="detector")),
    )


def pods_of(observed: Observed, version: int, *, component: str) -> Iterable[Manifest]:
    """The pods of one version that do one thing."""
    for pod in observed.pods:
        labels = pod["metadata"].get("labels", {})
        if child_version(pod) == version and labels.get(COMPONENT_LABEL) == component:
            yield pod


def _roll_back(
    moves: Moves, observed: Observed, desired: Desired, standing: Standing, *, now: datetime
) -> bool:
    serving, fallback = standing.serving, standing.fallback
    if serving is None or fallback is None or serving.served_at is None:
        return False
    found = find_misbehaviour(
        Probation(
            serving,
            fallback,
            moves.rollouts[serving.version],
            moves.rollouts[fallback.version],
            _comparison(observed, serving, fallback),
            served_seconds=now.timestamp() - serving.served_at,
            patience_seconds=_patience(desired),
            damage=_damage(observed, serving),
        )
    )
    if found is None:
        return False
    moves.writes.append(
        Serve(moves.uid, fallback.version, TakeOver.ROLLED_BACK, found.reason, found.message)
    )
    message = f"version {fallback.version} serves again instead of version {serving.version}"
    moves.tell("RolledBack", f"{message}: {found.reason}: {found.message}")
    return True


def _reinstate(moves: Moves, version: Version) -> None:
    message = "it is the newest good version again"
    moves.set_state(version, VersionState.CANDIDATE, message=message)
    moves.tell("VersionReinstated", f"version {version.version}: {message}")


def _trial(
    moves: Moves,
    observed: Observed,
    desired: Desired,
    model: AnomalyModel,
    standing: Standing,
    *,
    now: datetime,
) -> Trial:
    contender, serving = standing.contender, standing.serving
    if contender is None:
        raise ValueError("there is no contender")
    named = model.metadata.annotations.get(PROMOTE_ANNOTATION)
    return Trial(
        contender=contender,
        serving=serving,
        rollout=moves.rollouts[contender.version],
        serving_rollout=moves.rollouts[serving.version] if serving else None,
        terms=model.spec.rollout,
        is_pinned=standing.is_pinned,
        is_named=named == str(contender.version),
        comparison=_comparison(observed, contender, serving),
        now=now.timestamp(),
        patience_seconds=_patience(desired),
        damage=_damage(observed, contender),
    )


def _move_contender(moves: Moves, trial: Trial) -> None:
    version = trial.contender
    broken, refused = evaluate(BREAKDOWNS, trial), evaluate(REFUSALS, trial)
    if broken is not None and not trial.is_pinned:
        _give_up(moves, version, VersionState.FAILED, broken, "RolloutFailed")
        return
    if refused is not None:
        _give_up(moves, version, VersionState.REJECTED, refused, "VersionRejected")
        return
    moves.waits = broken or evaluate(WAITS, trial)
    is_ready_now = trial.rollout.ready and version.ready_at is None
    if is_ready_now and version.state is VersionState.CANDIDATE:
        moves.writes.append(MarkReady(moves.uid, version.version))
        if moves.waits is not None:
            moves.tell("VersionReady", f"version {version.version}: {moves.waits.message}")
    if moves.waits is None:
        _promote(moves, trial)
    elif trial.is_shadow and trial.compared_until is not None and not trial.is_over:
        moves.look_in.append(trial.compared_until - trial.now)


def _give_up(
    moves: Moves, version: Version, state: VersionState, why: Violation, event: str
) -> None:
    moves.set_state(version, state, reason=why.reason, message=why.message)
    moves.tell(event, f"version {version.version}: {why.reason}: {why.message}")


def _promote(moves: Moves, trial: Trial) -> None:
    number, serving = trial.contender.version, trial.serving
    if trial.is_pinned:
        why = f"spec.version names version {number}"
        moves.writes.append(Serve(moves.uid, number, TakeOver.PINNED, Reason.PINNED, why))
        moves.tell("VersionServing", f"version {number} serves: spec.version names it")
        return
    moves.writes.append(Serve(moves.uid, number))
    after = "the first version"
    if serving is not None:
        why = describe_changes(serving.request, trial.contender.request)
        after = f"after version {serving.version}: {why}"
    if trial.is_shadow and trial.comparison is not None:
        after += f"; beside it {_told(trial.comparison)}"
    moves.tell("VersionServing", f"version {number} serves, {after}")


def _told(comparison: Comparison) -> str:
    return (
        f"it found {comparison.anomalous} of {comparison.common} samples anomalous, "
        f"the version before {comparison.anomalous_against}"
    )


def _comparison(
    observed: Observed, version: Version, against: Version | None
) -> Comparison | None:
    found = observed.comparison
    if found is None or against is None:
        return None
    is_theirs = (found.version, found.against) == (version.version, against.version)
    return found if is_theirs else None


def _damage(observed: Observed, version: Version) -> str:
    return damage_of(observed.overview.watches, version.version) if observed.overview else ""


def _patience(desired: Desired) -> float:
    ticks = [
        _PATIENT_TICKS * data.interval_seconds + data.delay_seconds
        for watch in desired.watches
        if (data := watch.settings or watch.data) is not None
    ]
    return max(LEAST_PATIENCE_SECONDS, *ticks) if ticks else LEAST_PATIENCE_SECONDS
