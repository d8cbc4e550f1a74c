"""What detectors report about watches, summed up over their shards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metricwatch.resources import ConditionType, Reason
from metricwatch.store.rows import HealthState, WatchHealth, WatchOverview
from metricwatch_operator.planning.conditions import Finding

# What a person should hear of first.
_WORST_FIRST = (
    HealthState.SECRET_MISSING,
    HealthState.SOURCE_UNAUTHORIZED,
    HealthState.QUERY_REFUSED,
    HealthState.SOURCE_UNAVAILABLE,
    HealthState.NO_DATA,
    HealthState.ARTIFACT_DAMAGED,
    HealthState.STARTING,
    HealthState.SCORING,
)

ENOUGH_DRIFT = 0.25
"""Share of a watch's series from which on the model has drifted."""
_PARTS = (
    (1.0, "all"),
    (0.75, "three quarters or more"),
    (0.5, "half or more"),
    (ENOUGH_DRIFT, "a quarter or more"),
)


@dataclass(frozen=True, slots=True)
class Health:
    """A watch over all shards of one version; `state` None while nothing was reported."""

    state: HealthState | None = None
    message: str = ""
    series: int = 0
    left_out: int = 0
    last_sample_at: int | None = None
    lag_seconds: float | None = None

    @property
    def has_data(self) -> bool | None:
        """Whether samples come; None while that is not known."""
        if self.state in (None, HealthState.STARTING):
            return None
        return self.state in (HealthState.SCORING, HealthState.ARTIFACT_DAMAGED)


def sum_up(shards: Iterable[WatchHealth]) -> Health:
    """The worst state, and sums or the newest of the rest."""
    rows = list(shards)
    if not rows:
        return Health()
    # Of shards that fare equally well, the one that has something to say.
    worst = min(
        rows, key=lambda row: (_WORST_FIRST.index(HealthState(row.state)), not row.message)
    )
    samples = [row.last_sample_at for row in rows if row.last_sample_at is not None]
    lags = [row.lag_seconds for row in rows if row.lag_seconds is not None]
    return Health(
        state=HealthState(worst.state),
        message=worst.message,
        series=sum(row.series for row in rows),
        left_out=sum(row.left_out for row in rows),
        last_sample_at=max(samples, default=None),
        lag_seconds=max(lags, default=None),
    )


def damage_of(watches: Iterable[WatchOverview], version: int) -> str:
    """What of a version its detectors cannot read; empty when they read all of it."""
    damaged = (
        f"watch {watch.name}: {row.message}"
        for watch in watches
        for row in watch.health_of(version)
        if row.state is HealthState.ARTIFACT_DAMAGED
    )
    return next(damaged, "")


def drifted_share(shards: Iterable[WatchHealth]) -> float | None:
    """Share of a watch's series that are no longer as they were learned; None while unknown."""
    known = [(row.drift, row.series) for row in shards if row.drift is not None and row.series]
    series = sum(count for _, count in known)
    return sum(drift * count for drift, count in known) / series if series else None


def drift_finding(watches: Iterable[tuple[str, Iterable[WatchHealth]]]) -> Finding:
    """Drifted of a model: the watch that is farthest from what was learned says it."""
    shares = [
        (share, name) for name, shards in watches if (share := drifted_share(shards)) is not None
    ]
    if not shares:
        message = "too little was scored to tell"
        return Finding(ConditionType.DRIFTED, None, Reason.PENDING, message)
    share, name = max(shares)
    if share >= ENOUGH_DRIFT:
        return Finding(ConditionType.DRIFTED, True, Reason.DRIFTED, drift_message(share, name))
    message = "series are as the serving version learned them"
    return Finding(ConditionType.DRIFTED, False, Reason.AS_LEARNED, message)


def drift_message(share: float, watch: str) -> str:
    """How much of a watch has drifted, in so few words that a status seldom changes.

    >>> drift_message(0.6, "latency")
    'half or more of the series of watch latency are no longer as learned'
    """
    words = next((word for least, word in _PARTS if share >= least), "some")
    return f"{words} of the series of watch {watch} are no longer as learned"


def data_finding(health: Health) -> Finding:
    """DataAvailable of one watch."""
    if health.has_data is None:
        message = health.message or "no detector has scored this watch yet"
        return Finding(ConditionType.DATA_AVAILABLE, None, Reason.PENDING, message)
    if health.has_data:
        message = "the source gives samples"
        if health.state is HealthState.ARTIFACT_DAMAGED:
            message += f"; some series are scored by the online family: {health.message}"
        elif health.message:
            message += f"; {health.message}"
        return Finding(ConditionType.DATA_AVAILABLE, True, Reason.DATA_RECEIVED, message)
    return Finding(
        ConditionType.DATA_AVAILABLE, False, str(health.state), health.message or str(health.state)
    )


def worst_data_finding(watches: Sequence[tuple[str, Health]]) -> Finding:
    """DataAvailable of a model over its watches: pairs of name and health."""
    if not watches:
        return Finding(
            ConditionType.DATA_AVAILABLE,
            None,
            Reason.NO_WATCHES,
            "no MetricWatch refers to this model yet",
        )
    findings = [(name, data_finding(health)) for name, health in watches]
    failing = [(name, one) for name, one in findings if one.status is False]
    if failing:
        name, first = failing[0]
        others = len(failing) - 1
        more = f" (and {others} more {'watches' if others > 1 else 'watch'})" if others else ""
        message = f"watch {name}: {first.message}{more}"
        return Finding(ConditionType.DATA_AVAILABLE, False, first.reason, message)
    unknown = [one for _, one in findings if one.status is None]
    return unknown[0] if unknown else findings[0][1]
