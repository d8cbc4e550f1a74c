"""What the rules of when to train see of a model: one frozen value, put together once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from metricwatch.anomalies.policy import MaintenanceWindow
from metricwatch.assignments import TrainingRequest
from metricwatch.resources import AnomalyModel, VersionState
from metricwatch.store.rows import Version, WatchHealth, WatchOverview
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.answering import find_answer, newest_of
from metricwatch_operator.planning.backoff import ended_at
from metricwatch_operator.planning.conditions import parse_time
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.trainer_runs import Phase, Run


@dataclass(frozen=True, slots=True)
class Situation:
    """A model that could be trained.

    Attributes:
        model: Its spec.
        request: What is to be learned.
        versions: Newest first.
        serving: The version that serves.
        newest: The version that was trained last, by ourselves.
        answer: The version that is what the request asks for.
        run: Of the newest version.
        watches: What detectors report.
        created: When the model and its watches were created, by uid; unix seconds.
        maintenance: Of all watches.
        now: Unix seconds.
        config: What an administrator decided.
    """

    model: AnomalyModel
    request: TrainingRequest
    versions: tuple[Version, ...]
    serving: Version | None
    newest: Version | None
    answer: Version | None
    run: Run
    watches: tuple[WatchOverview, ...]
    created: Mapping[str, float]
    maintenance: tuple[MaintenanceWindow, ...]
    now: float
    config: Config

    @property
    def is_training(self) -> bool:
        """Whether a version is being trained, or waits for its turn."""
        return self.newest is not None and self.newest.state is VersionState.TRAINING

    @property
    def has_failed(self) -> bool:
        """Whether the last run brought nothing that could serve, for the present request.

        A version that the gate refused has done its work, unless nothing else serves.
        """
        newest = self.newest
        if newest is None or newest is not self.answer:
            return False
        is_refused = newest.state is VersionState.REJECTED and self.serving is None
        return newest.state is VersionState.FAILED or is_refused

    @property
    def last_training(self) -> int:
        """When the last run was over, or began; unix seconds."""
        return ended_at(self.newest, self.run) if self.newest else 0

    @property
    def labelled_at(self) -> int | None:
        """Start of the newest recorded anomaly."""
        known = [one.last_anomaly_at for one in self.watches if one.last_anomaly_at is not None]
        return max(known, default=None)

    @property
    def health(self) -> Iterable[tuple[WatchOverview, tuple[WatchHealth, ...]]]:
        """Each watch with what the detectors of the serving version report of it."""
        number = self.serving.version if self.serving else None
        return [(watch, watch.health_of(number)) for watch in self.watches]


def read_situation(
    observed: Observed,
    desired: Desired,
    runs: Mapping[int, Run],
    *,
    now: datetime,
    config: Config,
) -> Situation | None:
    """The situation of a model; None when nothing can be learned: no watch, no row, a problem."""
    overview, model, request = observed.overview, desired.model, desired.request
    if overview is None or model is None or request is None:
        return None
    versions = overview.versions
    newest = newest_of(versions)
    run = runs.get(newest.version) if newest else None
    return Situation(
        model=model,
        request=request,
        versions=versions,
        serving=overview.serving,
        newest=newest,
        answer=find_answer(versions, request, serving=overview.serving_version),
        run=run or Run(Phase.ABSENT),
        watches=overview.watches,
        created=_creation_times(observed),
        maintenance=maintenance_of(desired),
        now=now.timestamp(),
        config=config,
    )


def _creation_times(observed: Observed) -> dict[str, float]:
    return {
        manifest["metadata"]["uid"]: parse_time(created).timestamp()
        for manifest in (*filter(None, (observed.model,)), *observed.watches)
        if (created := manifest["metadata"].get("creationTimestamp"))
    }


def maintenance_of(desired: Desired) -> tuple[MaintenanceWindow, ...]:
    """When nobody should read what the watches of a model are about."""
    return tuple(
        MaintenanceWindow(one.schedule, one.time_zone, round(one.duration.seconds))
        for watch in desired.watches
        if watch.settings is not None and not watch.settings.suspend
        for one in watch.settings.detection.maintenance
    )
