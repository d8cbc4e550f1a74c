"""When a version that has just taken over goes back, and the one before serves again.

```
promoted ──► rollbackWindow runs ──► over: the version before goes
                 │ a rule of MISBEHAVIOUR is broken
                 └──► the version before serves again, this one is Rejected: once, and for good
```

The version before runs on in the meantime and scores what it would have scored, so going back
misses nothing, and what both find can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.resources import Reason
from metricwatch.store.rows import Comparison, Version
from metricwatch_operator.planning.comparing import is_storm, scores_nothing
from metricwatch_operator.planning.policies import Chain, Violation, evaluate
from metricwatch_operator.planning.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Probation:
    """A version that serves, and the one that it took over from.

    Attributes:
        serving: The version that serves.
        fallback: The version before.
        rollout: Of the serving version.
        fallback_rollout: Of the version before.
        comparison: What both scored since; None when that is not known.
        served_seconds: How long it has served.
        patience_seconds: How long a version may take until its first scores are stored.
        damage: What of the serving version cannot be read; empty when nothing is wrong.
    """

    serving: Version
    fallback: Version
    rollout: Rollout
    fallback_rollout: Rollout
    comparison: Comparison | None
    served_seconds: float
    patience_seconds: float
    damage: str = ""


def is_damaged(given: Probation) -> Violation | None:
    """A part of it cannot be read, and the version before does better without it."""
    if not given.damage:
        return None
    return Violation(Reason.ARTIFACT_DAMAGED, f"its detectors cannot read it: {given.damage}")


def crashes(given: Probation) -> Violation | None:
    """Its detectors crash again and again, so that a shard has none."""
    if not given.rollout.crashing or given.rollout.serving:
        return None
    return Violation(Reason.CRASH_LOOP, f"its detectors crash: {given.rollout.crashing}")


def falls_silent(given: Probation) -> Violation | None:
    """It scores nothing while the version before goes on scoring."""
    comparison = given.comparison
    if comparison is None or given.served_seconds < given.patience_seconds:
        return None
    if not scores_nothing(comparison):
        return None
    message = f"it scored nothing in {given.served_seconds:.0f} s, where version "
    message += f"{given.fallback.version} scored {comparison.samples_against} samples"
    return Violation(Reason.SCORES_NOTHING, message)


def storms(given: Probation) -> Violation | None:
    """It finds many series in trouble that are well to the version before."""
    comparison = given.comparison
    if comparison is None or not is_storm(comparison):
        return None
    message = f"it finds {comparison.stormy} of {comparison.series} series anomalous that version "
    message += f"{given.fallback.version} does not"
    return Violation(Reason.ANOMALY_STORM, message)


MISBEHAVIOUR: Chain[Probation] = (is_damaged, crashes, falls_silent, storms)
"""What sends a version back; the first broken rule gives the reason."""


def find_misbehaviour(given: Probation) -> Violation | None:
    """Why a version is to be rolled back now; None when it does well.

    Nothing is gained by going back to a version that does not run.
    """
    return evaluate(MISBEHAVIOUR, given) if given.fallback_rollout.serving else None
