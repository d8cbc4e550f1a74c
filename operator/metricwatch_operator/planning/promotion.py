"""Whether a contender serves now: what ends its candidacy, and what it waits for.

```
contender ──► BREAKDOWNS ──► Failed      its detectors cannot run
          ──► REFUSALS ────► Rejected    what it scores beside the serving version is worse
          ──► WAITS ───────► later, with a reason
          └─────────────────► serves
```

| Chain | Rule | Reason | |
|---|---|---|---|
| BREAKDOWNS | `is_damaged` | ArtifactDamaged | a part of it cannot be read |
| | `crashes` | DetectorNotReady | again and again, and the serving version's do not |
| | `is_overdue` | DetectorNotReady | no progress for ten minutes |
| REFUSALS | `falls_silent` | ScoresNothing | while the serving version scores |
| | `storms` | AnomalyStorm | a fifth of the series anomalous to it alone |
| | `leaves_out` | MissesSamples | after the comparison: less than half of what the other scores |
| | `finds_too_much` | AnomalyRateRatio | after the comparison: above `maxAnomalyRateRatio` |
| WAITS | `is_starting` | DetectorStarting | until all of its detectors are ready |
| | `is_compared` | Comparing | for `shadow.duration` |
| | `is_undecided` | ComparisonInconclusive | until enough was scored by both |
| | `awaits_a_person` | AwaitingPromotion | `autoPromote` is false |

REFUSALS, `is_compared` and `is_undecided` are for strategy Shadow, beside a version that serves,
and not for a version that a person named: by `spec.version` or by annotation.
"""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.resources import PROMOTE_ANNOTATION, Reason, RolloutStrategy
from metricwatch.resources import Rollout as Terms
from metricwatch.store.rows import Comparison, Version
from metricwatch_operator.planning.comparing import is_storm, scores_nothing
from metricwatch_operator.planning.policies import Chain, Violation
from metricwatch_operator.planning.rollouts import Rollout

FEWEST_COMMON = 30
"""Samples that both versions scored: with fewer nothing is said about their rates."""
LEAST_COMMON_SHARE = 0.5
NEGLIGIBLE_RATE = 0.005
"""A version that finds no larger share of samples anomalous is refused for no multiple of it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A contender beside the serving version.

    Attributes:
        contender: The version that is to serve.
        serving: The version that serves; None before the first one does.
        rollout: Of the contender.
        serving_rollout: Of the serving version.
        terms: `spec.rollout`.
        is_pinned: `spec.version` names it.
        is_named: The annotation names it.
        comparison: Of the two; None when that is not known.
        now: Unix seconds.
        patience_seconds: How long a version may take until its first scores are stored.
        damage: What of the contender cannot be read; empty when nothing is wrong.
    """

    contender: Version
    serving: Version | None
    rollout: Rollout
    serving_rollout: Rollout | None
    terms: Terms
    is_pinned: bool
    is_named: bool
    comparison: Comparison | None
    now: float
    patience_seconds: float
    damage: str = ""

    @property
    def is_shadow(self) -> bool:
        """Whether it has to do well beside the serving version."""
        is_asked_for = self.is_pinned or self.is_named
        is_shadow = self.terms.strategy is RolloutStrategy.SHADOW
        return is_shadow and self.serving is not None and not is_asked_for

    @property
    def compared_until(self) -> float | None:
        """When the comparison is over, unix seconds; None before it has begun."""
        if self.contender.ready_at is None:
            return None
        return self.contender.ready_at + self.terms.shadow.duration.seconds

    @property
    def is_over(self) -> bool:
        """Whether the time of the comparison is over."""
        return self.compared_until is not None and self.now >= self.compared_until

    @property
    def is_enough(self) -> bool:
        """Whether both scored enough to say something about rates."""
        return self.comparison is not None and self.comparison.common >= FEWEST_COMMON

    @property
    def is_beside_nothing(self) -> bool:
        """Whether the contender scores, and the serving version does not."""
        comparison = self.comparison
        if comparison is None or comparison.samples_against > 0:
            return False
        return comparison.samples > 0


def is_damaged(given: Trial) -> Violation | None:
    """A part of it cannot be read: its series would be scored as if nothing was known of them."""
    if not given.damage:
        return None
    return Violation(Reason.ARTIFACT_DAMAGED, f"its detectors cannot read it: {given.damage}")


def crashes(given: Trial) -> Violation | None:
    """Its detectors crash, and those of the serving version do not: it is no common trouble."""
    if not given.rollout.crashing or given.serving_rollout is None:
        return None
    if not given.serving_rollout.ready:
        return None
    return Violation(Reason.DETECTOR_NOT_READY, f"its detectors crash: {given.rollout.crashing}")


def is_overdue(given: Trial) -> Violation | None:
    """Its detectors made no progress; with nothing to fall back on Kubernetes goes on trying."""
    if not given.rollout.overdue or given.serving is None:
        return None
    message = f"its detectors did not become ready: {given.rollout.message}"
    return Violation(Reason.DETECTOR_NOT_READY, message)


def falls_silent(given: Trial) -> Violation | None:
    """It scores nothing although it is ready, and the serving version does."""
    comparison, ready_at = given.comparison, given.contender.ready_at
    if not given.is_shadow or comparison is None or ready_at is None:
        return None
    if given.now < ready_at + given.patience_seconds or not scores_nothing(comparison):
        return None
    message = f"it scored nothing, where version {comparison.against} scored "
    return Violation(Reason.SCORES_NOTHING, f"{message}{comparison.samples_against} samples")


def storms(given: Trial) -> Violation | None:
    """It finds many series in trouble that are well to the serving version: no need to go on."""
    comparison = given.comparison
    if not given.is_shadow or comparison is None or not is_storm(comparison):
        return None
    message = f"it finds {comparison.stormy} of {comparison.series} series anomalous that version "
    return Violation(Reason.ANOMALY_STORM, f"{message}{comparison.against} does not")


def leaves_out(given: Trial) -> Violation | None:
    """It leaves out most of what the serving version scores."""
    comparison = given.comparison
    if not given.is_shadow or not given.is_over or comparison is None:
        return None
    if comparison.samples_against < FEWEST_COMMON:
        return None
    if comparison.common >= LEAST_COMMON_SHARE * comparison.samples_against:
        return None
    message = f"it scored {comparison.common} of the {comparison.samples_against} samples that "
    return Violation(Reason.MISSES_SAMPLES, f"{message}version {comparison.against} scored")


def finds_too_much(given: Trial) -> Violation | None:
    """It finds more samples anomalous than the ratio allows, and not just a handful more."""
    comparison = given.comparison
    if not given.is_shadow or not given.is_over or comparison is None or not given.is_enough:
        return None
    ratio = given.terms.shadow.max_anomaly_rate_ratio
    more = comparison.anomalous - ratio * comparison.anomalous_against
    if more <= 0 or comparison.anomalous / comparison.common <= NEGLIGIBLE_RATE:
        return None
    message = f"it finds {comparison.anomalous} of {comparison.common} samples anomalous and "
    message += f"version {comparison.against} {comparison.anomalous_against}: more than "
    return Violation(Reason.ANOMALY_RATE_RATIO, f"{message}{ratio:g} times as many")


def is_starting(given: Trial) -> Violation | None:
    """Not all of its detectors are ready."""
    if given.rollout.ready:
        return None
    return Violation(Reason.DETECTOR_STARTING, given.rollout.message)


def is_compared(given: Trial) -> Violation | None:
    """The time of the comparison is not over."""
    if not given.is_shadow or given.is_over or given.serving is None:
        return None
    message = f"compared with version {given.serving.version} for {given.terms.shadow.duration}"
    return Violation(Reason.COMPARING, message)


def is_undecided(given: Trial) -> Violation | None:
    """The time of the comparison is over, and too little was scored by both."""
    if not given.is_shadow or given.is_enough or given.is_beside_nothing:
        return None
    common = given.comparison.common if given.comparison else 0
    message = f"{common} samples were scored by both, of at least {FEWEST_COMMON} to compare"
    return Violation(Reason.COMPARISON_INCONCLUSIVE, message)


def awaits_a_person(given: Trial) -> Violation | None:
    """Somebody has to say that it may serve."""
    if given.terms.auto_promote or given.is_pinned or given.is_named:
        return None
    message = f"it could serve: name it in annotation {PROMOTE_ANNOTATION} or in spec.version"
    return Violation(Reason.AWAITING_PROMOTION, message)


BREAKDOWNS: Chain[Trial] = (is_damaged, crashes, is_overdue)
REFUSALS: Chain[Trial] = (falls_silent, storms, leaves_out, finds_too_much)
WAITS: Chain[Trial] = (is_starting, is_compared, is_undecided, awaits_a_person)
