"""What keeps a version that is wanted from being trained now: one rule a reason.

| Rule | Reason | Holds back | Until |
|---|---|---|---|
| `is_suspended` | Suspended | everything | `spec.suspend` is false |
| `is_arriving` | Settling | everything | a model or a watch is 3 s old |
| `is_coming_and_going` | WatchesSettling | added watches | none was added for a minute |
| `is_busy` | Training | added watches | the run under way is over |
| `is_in_maintenance` | Maintenance | everything | the maintenance of all watches is over |
| `is_backing_off` | BackOff | another try | the delay is over, longer with each attempt |
| `is_on_trial` | OnTrial | what can wait | the candidate serves, or is refused |
| `was_trained_lately` | TrainedLately | drift, new series | a seventh of the window is over |

What can wait: added watches, the schedule, drift and new series.
The first that holds is told. Each of them ends by itself, or when a person wants it to.
"""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.resources import RolloutStrategy, VersionState
from metricwatch_operator.planning.answering import read_request
from metricwatch_operator.planning.backoff import ended_at, retry_at
from metricwatch_operator.planning.children import DETECTOR_PROGRESS_SECONDS
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.policies import Violation
from metricwatch_operator.planning.schedules import maintenance_end
from metricwatch_operator.planning.situation import Situation
from metricwatch_operator.planning.trainer_runs import Phase
from metricwatch_operator.planning.triggers import (
    DRIFTED,
    RETRY,
    SCHEDULED,
    SERIES_ADDED,
    WATCHES_ADDED,
)

_PATIENCE = 10
"""Watches that are added one after another wait for at most so many times the settling time."""
_PARTS_OF_WINDOW = 7
_CAN_WAIT = frozenset({WATCHES_ADDED, SCHEDULED, DRIFTED, SERIES_ADDED})


@dataclass(frozen=True, slots=True)
class Hold(Violation):
    """Why a version is not trained now.

    Attributes:
        until: Unix seconds; None when no time ends it.
    """

    until: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version that is wanted.

    Attributes:
        situation: Of the model.
        reason: Of the trigger.
    """

    situation: Situation
    reason: str


def is_suspended(given: Wanted) -> Hold | None:
    """The model is suspended."""
    if not given.situation.model.spec.suspend:
        return None
    return Hold("Suspended", "spec.suspend is true")


def is_arriving(given: Wanted) -> Hold | None:
    """One `kubectl apply` brings a model and several watches."""
    situation = given.situation
    settle = situation.config.settle_seconds
    left = settle - (situation.now - max(situation.created.values(), default=0.0))
    if left <= 0:
        return None
    # A creation time ahead of our clock must not hold training up for long.
    until = situation.now + min(left, settle)
    return Hold("Settling", "more watches may arrive", until)


def is_coming_and_going(given: Wanted) -> Hold | None:
    """Watches are added one after another; while nothing serves nobody waits for more."""
    situation = given.situation
    settle = situation.config.watches_settle_seconds
    if given.reason != WATCHES_ADDED or situation.serving is None:
        return None
    asked = read_request(situation.newest or situation.versions[0])
    known = {watch.uid for watch in asked.watches} if asked else set()
    added = [
        time
        for watch in situation.request.watches
        if watch.uid not in known and (time := situation.created.get(watch.uid)) is not None
    ]
    if not added:
        return None
    until = min(max(added) + settle, min(added) + _PATIENCE * settle, situation.now + settle)
    if until <= situation.now:
        return None
    return Hold("WatchesSettling", "watches were added just now, and more may come", until)


def is_busy(given: Wanted) -> Hold | None:
    """A run that began is not thrown away because of one watch more."""
    situation = given.situation
    if given.reason != WATCHES_ADDED or not situation.is_training:
        return None
    if situation.run.phase is not Phase.ACTIVE or situation.newest is None:
        return None
    return Hold("Training", f"version {situation.newest.version} is being trained")


def is_in_maintenance(given: Wanted) -> Hold | None:
    """Somebody works on what the watches are about: a bad time to read all of it."""
    until = maintenance_end(given.situation.maintenance, given.situation.now)
    if until is None:
        return None
    return Hold("Maintenance", f"maintenance until {format_time(time_of(until))}", until)


def is_backing_off(given: Wanted) -> Hold | None:
    """The run before failed, and another try must wait."""
    situation = given.situation
    if given.reason != RETRY or situation.newest is None:
        return None
    due = retry_at(situation.newest, situation.run, labelled_at=situation.labelled_at)
    if due is None or due <= situation.now:
        return None
    return Hold("BackOff", f"training is tried again at {format_time(time_of(due))}", due)


def is_on_trial(given: Wanted) -> Hold | None:
    """A candidate is about to serve; a newer version would take its place before it can."""
    situation, newest = given.situation, given.situation.newest
    spec = situation.model.spec
    if given.reason not in _CAN_WAIT or newest is None or newest is not situation.versions[0]:
        return None
    # A candidate that waits for a person, or behind a pinned version, is replaced by newer ones.
    if newest.state is not VersionState.CANDIDATE or not spec.rollout.auto_promote or spec.version:
        return None
    patience = float(DETECTOR_PROGRESS_SECONDS)
    if spec.rollout.strategy is RolloutStrategy.SHADOW:
        patience += 2 * spec.rollout.shadow.duration.seconds
    until = (newest.ready_at or ended_at(newest, situation.run)) + patience
    if until <= situation.now:
        return None
    return Hold("OnTrial", f"version {newest.version} is about to serve", until)


def was_trained_lately(given: Wanted) -> Hold | None:
    """What changed by itself may go on changing; a new version each time is no help."""
    situation = given.situation
    if given.reason not in (DRIFTED, SERIES_ADDED):
        return None
    pause = situation.model.spec.training.window.seconds / _PARTS_OF_WINDOW
    until = situation.last_training + pause
    if until <= situation.now:
        return None
    return Hold("TrainedLately", f"not before {format_time(time_of(until))}", until)


HOLDS = (
    is_suspended,
    is_arriving,
    is_coming_and_going,
    is_busy,
    is_in_maintenance,
    is_backing_off,
    is_on_trial,
    was_trained_lately,
)


def find_hold(given: Wanted) -> Hold | None:
    """What keeps a wanted version from being trained now; None when nothing does."""
    return next((hold for rule in HOLDS if (hold := rule(given)) is not None), None)
