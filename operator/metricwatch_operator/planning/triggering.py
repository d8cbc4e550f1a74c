"""When a version is trained: a trigger that wants one, and no hold that keeps it back.

```
TRIGGERS ──► why a version is wanted ──► HOLDS ──► now
                     └─ nothing            └─► later: held, until a time or until something happens
```
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.holds import Hold, Wanted, find_hold
from metricwatch_operator.planning.policies import evaluate
from metricwatch_operator.planning.schedules import next_due
from metricwatch_operator.planning.situation import Situation, read_situation
from metricwatch_operator.planning.trainer_runs import Run
from metricwatch_operator.planning.triggers import (
    RETRAIN_REQUESTED,
    RETRY,
    SPEC_CHANGED,
    TRIGGERS,
    asked_for_later,
    read_retrain_annotation,
)

_FRESH_START = (RETRAIN_REQUESTED, SPEC_CHANGED)


@dataclass(frozen=True, slots=True)
class Wish:
    """Whether a version is wanted, and whether it is to be trained now.

    Attributes:
        reason: Of the version, one word; empty when none is wanted.
        why: The same in a sentence.
        attempt: Of the version: 1, or one more than that of the version that failed before.
        held: What keeps it back; None when nothing does.
        at: When time alone changes the answer, unix seconds.
        next_training: When a version is trained next by itself, as far as that is known, unix
            seconds.
        note: A remark for people about what was asked for.
    """

    reason: str = ""
    why: str = ""
    attempt: int = 1
    held: Hold | None = None
    at: float | None = None
    next_training: int | None = None
    note: str = ""

    @property
    def is_due(self) -> bool:
        """Whether a version is to be made now."""
        return bool(self.reason) and self.held is None

    @property
    def retry_at(self) -> int | None:
        """When a failed run is tried again, unix seconds; None when there is none to try."""
        if self.reason != RETRY or self.held is None or self.held.until is None:
            return None
        return int(self.held.until)


def wish(
    observed: Observed,
    desired: Desired,
    runs: Mapping[int, Run],
    *,
    now: datetime,
    config: Config,
) -> Wish:
    """Whether a version of a model is wanted.

    Args:
        observed: The model, its watches and what the database says of them.
        desired: What they ask for.
        runs: Training runs by version, of the newest version at least.
        now: The time.
        config: What an administrator decided.
    """
    situation = read_situation(observed, desired, runs, now=now, config=config)
    if situation is None:
        return Wish()
    scheduled = _next_scheduled(situation)
    _, note = read_retrain_annotation(situation.model.metadata.annotations, now=situation.now)
    asked = asked_for_later(situation.model.metadata.annotations, now=situation.now)
    nothing = Wish(at=_first(scheduled, asked), next_training=scheduled, note=note)
    trigger = evaluate(TRIGGERS, situation)
    if trigger is None:
        return nothing
    held = find_hold(Wanted(situation, trigger.reason))
    until = held.until if held else None
    first = _first(until, scheduled)
    return replace(
        nothing,
        reason=trigger.reason,
        why=trigger.message,
        attempt=_attempt(situation, trigger.reason),
        held=held,
        at=_first(first, asked) if held else None,
        next_training=None if first is None else int(first),
    )


def _first(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _next_scheduled(situation: Situation) -> int | None:
    spec = situation.model.spec
    if spec.suspend or not spec.training.schedule:
        return None
    return next_due(spec.training.schedule, spec.training.time_zone, situation.now)


def _attempt(situation: Situation, reason: str) -> int:
    if situation.newest is None or not situation.has_failed or reason in _FRESH_START:
        return 1
    return situation.newest.attempt + 1
