"""The gate of one training run: what it needs from the database, and what comes of each watch.

A bug in a family must not fail a training run: what cannot be measured is said in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from metricwatch.algorithms import FitStopped
from metricwatch.anomalies import Policy
from metricwatch.artifact import sha256
from metricwatch.assignments import TrainingWatch
from metricwatch.gate import GateMeasurement, WatchMeasured
from metricwatch.resources.detection import Detection
from metricwatch.series import Grid, Panel
from metricwatch.store.anomalies import list_anomalies
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, ModelOverview, StoredAnomaly, Version
from metricwatch.store.watches import load_watches
from metricwatch_trainer.gate.disturbing import Event
from metricwatch_trainer.gate.holding import Held, divide
from metricwatch_trainer.gate.measuring import Trial, measure
from metricwatch_trainer.gate.opponent import read_chunks, seen_until, serving_version
from metricwatch_trainer.gate.tail import TooShort, beginning, hold_back
from metricwatch_trainer.gate.walks import ShouldStop
from metricwatch_trainer.preparation import Group, Stretch, without_stretches
from metricwatch_trainer.progress import ProgressLog
from metricwatch_trainer.report import WatchReport

_MOST_ANOMALIES = 10_000
_NEW_NORMAL_SECONDS = 86_400
_NOTHING = "there was no series to measure"
_SEED = 20
"""Of the anomalies put in: the same for every version, so that each finds or misses the same."""
_log: Any = structlog.get_logger("metricwatch_trainer")


@dataclass(slots=True)
class Gate:
    """Measures the version that a run makes, watch by watch.

    Attributes:
        database: open.
        model_uid: whose version it is.
        should_stop: asked while measuring.
        progress: told while measuring.
    """

    database: Database
    model_uid: str
    should_stop: ShouldStop
    progress: ProgressLog
    _serving: Version | None = None
    _detection: Mapping[str, Detection] = field(default_factory=dict)
    _measured: list[WatchMeasured] = field(default_factory=list)
    _inconclusive: list[str] = field(default_factory=list)
    _errors: list[str] = field(default_factory=list)

    async def open(self, overview: ModelOverview | None) -> None:
        """Finds out which version serves and what the watches call an anomaly.

        Args:
            overview: of the model, None when the database does not know it.

        Raises:
            StoreError: the database is away.
        """
        self._serving = serving_version(overview)
        async with self.database.acquire() as connection:
            rows = await load_watches(connection, model_uid=self.model_uid)
        self._detection = {
            row.uid: row.settings.detection for row in rows if row.settings is not None
        }

    async def prepare(
        self, report: WatchReport, panel: Panel, excluded: Sequence[Stretch]
    ) -> Trial | None:
        """Returns what the version is to be measured on; None when a watch has too little.

        Args:
            report: of the watch.
            panel: its history.
            excluded: what is not to be judged.

        Raises:
            StoreError: the database is away.
        """
        watch, grid, serving = report.watch, panel.grid, self._serving
        seen = None if serving is None else seen_until(serving, watch.uid, interval=grid.step)
        try:
            tail = hold_back(grid, began=beginning(panel.values), seen_until=seen)
        except TooShort as why:
            self._skip(report, f"{why}")
            return None
        detection = self._detection.get(watch.uid, Detection())
        recorded, dismissed = await self._recorded(watch, grid.part(tail.head, tail.count))
        trial = Trial(
            uid=watch.uid,
            name=watch.name,
            policy=Policy.from_detection(detection, interval_seconds=grid.step),
            per_week=detection.false_alarms_per_week,
            panel=without_stretches(panel, excluded) if excluded else panel,
            tail=tail,
            recorded=recorded,
            dismissed=dismissed,
        )
        if serving is None or seen is None:
            return trial
        return await self._against(trial, serving)

    def hold(
        self,
        report: WatchReport,
        trial: Trial | None,
        panel: Panel,
        grouped: Callable[[Panel, WatchReport], tuple[Group, ...]],
        *,
        together: bool,
    ) -> Held:
        """Returns the groups of a watch, those that are measured without the tail.

        Args:
            report: of the watch; it says what is left out of the whole history.
            trial: None when nothing is held back.
            panel: the whole history.
            grouped: groups of a history; it writes what is left out into a report.
            together: all or nothing.
        """
        whole = grouped(panel, report)
        if trial is None:
            return Held(measured=(), others=whole)
        head = panel.window(panel.grid.part(0, trial.tail.head))
        unread = WatchReport(watch=report.watch, grid=head.grid)
        held = divide(whole, grouped(head, unread), together=together)
        young = sum(len(group.panel.labels) for group in held.others)
        if not held.measured:
            self._skip(report, "without its tail the history is too short to learn from")
        elif young:
            report.notes.append(f"{young} series are too young to be measured")
        return held

    def measure(self, trial: Trial, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Returns the artifacts with what the tail taught them; they are measured on it first.

        What goes wrong leaves them as they are and is in the report.

        Raises:
            FitStopped: `should_stop` returned true.
        """
        try:
            row, contents = measure(
                trial,
                [one.content for one in artifacts],
                seed=_SEED,
                progress=self.progress.measuring(trial.name),
                should_stop=self.should_stop,
            )
        except FitStopped:
            raise
        except Exception as error:  # noqa: BLE001 - a bug here must not fail the training
            _log.exception("the version cannot be measured", watch=trial.name)
            self._errors.append(f"watch {trial.name}: {type(error).__name__}: {error}")
            return list(artifacts)
        self._measured.append(row)
        return [
            replace(one, content=content, sha256=bytes.fromhex(sha256(content)))
            for one, content in zip(artifacts, contents, strict=True)
        ]

    def pass_over(self, watch: TrainingWatch, *, learned_by: int) -> None:
        """Notes that a watch was taken over: what was measured of it then is right still."""
        self._inconclusive.append(
            f"watch {watch.name}: taken over from version {learned_by}, and measured then"
        )

    def result(self) -> GateMeasurement:
        """Returns what was measured of all watches."""
        nothing = not self._measured and not self._errors
        return GateMeasurement(
            serving=None if self._serving is None else self._serving.version,
            watches=tuple(self._measured),
            inconclusive=("; ".join(self._inconclusive) or _NOTHING) if nothing else "",
            error="; ".join(self._errors),
        )

    def _skip(self, report: WatchReport, why: str) -> None:
        """Notes that nothing of a watch is measured although nothing went wrong."""
        self._inconclusive.append(f"watch {report.watch.name}: {why}")
        report.notes.append(f"not measured: {why}")

    async def _against(self, trial: Trial, serving: Version) -> Trial:
        chunks, note = await read_chunks(
            self.database,
            version_id=serving.id,
            uid=trial.uid,
            interval=trial.panel.grid.step,
            labels=trial.panel.labels,
        )
        notes = [note] if note else []
        if trial.tail.was_seen:
            notes.append("the serving version learned from the tail, so errors are not compared")
        return replace(trial, serving=chunks, note="; ".join(notes))

    async def _recorded(
        self, watch: TrainingWatch, tail: Grid
    ) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
        """Returns the anomalies recorded in the tail, and those that people called false alarms.

        What lasted a day is how things are now.
        """
        async with self.database.acquire() as connection:
            stored = await list_anomalies(
                connection,
                model_uid=self.model_uid,
                watch_uid=watch.uid,
                start=tail.start,
                end=tail.end,
                limit=_MOST_ANOMALIES,
            )
        events = [(one, event) for one in stored if (event := event_of(one, tail)) is not None]
        return (
            tuple(event for one, event in events if not one.is_dismissed),
            tuple(event for one, event in events if one.is_dismissed),
        )


def event_of(stored: StoredAnomaly, tail: Grid) -> Event | None:
    """Returns a recorded anomaly as one of the tail; None when it is none that can be found.

    One that began before the tail is known already, and missing data is odd to no version.
    """
    one = stored.anomaly
    end = max(one.last_anomalous_at, one.started_at)
    if one.direction == "missing" or one.started_at < tail.start:
        return None
    if end - one.started_at > _NEW_NORMAL_SECONDS and not stored.is_confirmed:
        return None
    first = (one.started_at - tail.start) // tail.step
    last = (end - tail.start) // tail.step
    return Event(stored.labels, first, min(last, tail.count - 1) + 1)
