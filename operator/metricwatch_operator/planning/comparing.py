"""Which two versions are to be compared by what they score, and what a comparison shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metricwatch.resources import (
    AnomalyModelSpec,
    InvalidResource,
    RolloutStrategy,
    VersionState,
    parse_model,
)
from metricwatch.store.rows import Comparison, ModelOverview
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.standing import find_fallback

STORMY_SHARE = 0.2
"""Of the series: so many more in trouble at once are a storm."""
FEWEST_SAMPLES_EACH = 5
"""Of a series, on average, before a storm is called one."""
FEWEST_STORMY_SAMPLES = 30
"""Of all series in trouble: one series of two may well have an incident that is missed so far."""
LONGEST_SECONDS = 7 * 86_400
"""A comparison looks back so far at least: a single series of hourly samples needs more than a day
until there is enough to say."""

_STEP_SECONDS = 600


@dataclass(frozen=True, slots=True)
class WantedComparison:
    """What to compare: `version` with `against`, from `since` on (unix seconds)."""

    version: int
    against: int
    since: int


def wanted_comparison(observed: Observed, *, now: datetime) -> WantedComparison | None:
    """What a decision about a model needs to have compared; None when nothing.

    The serving version and what it took over from come first, while `rollbackWindow` runs.
    """
    overview = observed.overview
    if overview is None or observed.model is None or not _may_want(overview):
        return None
    try:
        spec = parse_model(observed.model).spec
    except InvalidResource:
        return None
    if spec.suspend or spec.version is not None:
        return None
    return _watched_rollout(overview, spec, now=now) or _shadow(overview, spec, now=now)


def is_storm(comparison: Comparison) -> bool:
    """Whether a version finds far more series in trouble than the one beside it."""
    if comparison.common < FEWEST_SAMPLES_EACH * max(comparison.series, 1):
        return False
    each = comparison.common / max(comparison.series, 1)
    if comparison.stormy * each < FEWEST_STORMY_SAMPLES:
        return False
    return comparison.stormy >= max(1.0, STORMY_SHARE * comparison.series)


def scores_nothing(comparison: Comparison) -> bool:
    """Whether a version scores nothing while the one beside it does."""
    return comparison.samples == 0 and comparison.samples_against > 0


def _may_want(overview: ModelOverview) -> bool:
    """Whether there are two versions to compare at all: most of the time there are not."""
    return overview.serving_version is not None and any(
        one.state is VersionState.CANDIDATE
        or (one.state is VersionState.SERVING and one.replaced is not None)
        for one in overview.versions
    )


def _watched_rollout(
    overview: ModelOverview, spec: AnomalyModelSpec, *, now: datetime
) -> WantedComparison | None:
    serving = overview.serving
    before, _ = find_fallback(overview, spec, now=now.timestamp())
    if serving is None or before is None or serving.served_at is None:
        return None
    return WantedComparison(serving.version, before.version, serving.served_at)


def _shadow(
    overview: ModelOverview, spec: AnomalyModelSpec, *, now: datetime
) -> WantedComparison | None:
    if spec.rollout.strategy is not RolloutStrategy.SHADOW or overview.serving_version is None:
        return None
    for one in overview.versions:
        if one.state is VersionState.CANDIDATE and one.ready_at is not None:
            # A candidate that is held back for weeks is compared by what it does lately.
            lately = max(2 * spec.rollout.shadow.duration.seconds, LONGEST_SECONDS)
            # In steps: what is asked for again is remembered.
            earliest = int(now.timestamp() - lately) // _STEP_SECONDS * _STEP_SECONDS
            since = max(one.ready_at, earliest)
            return WantedComparison(one.version, overview.serving_version, since)
    return None
