"""One training run from the request in its row to the version in the database.

Nothing is stored before everything is learned, and then in one transaction, so a run that ends
early leaves its row as it found it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from metricwatch import __version__
from metricwatch.assignments import TrainingRequest, TrainingWatch
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.resources.training import Scope, Strategy
from metricwatch.series import Panel
from metricwatch.sources import SourceError
from metricwatch.store.anomalies import list_anomalies
from metricwatch.store.models import read_version
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, ModelOverview, TrainingResult, Version
from metricwatch.verdict import ExitCode, Outcome, Verdict
from metricwatch_trainer.gate.gatekeeping import Gate
from metricwatch_trainer.gate.holding import Held
from metricwatch_trainer.gate.measuring import Trial
from metricwatch_trainer.gate.opponent import serving_version
from metricwatch_trainer.grouping import groups_of
from metricwatch_trainer.history import DataHash, read_history, slice_of
from metricwatch_trainer.inheriting import Heir
from metricwatch_trainer.learning import Lesson, as_artifact, learn_group
from metricwatch_trainer.lessons import lesson_of, read_request
from metricwatch_trainer.peak import peak_bytes
from metricwatch_trainer.preparation import Group, Stretch, label_stretches, training_grid
from metricwatch_trainer.progress import ProgressLog
from metricwatch_trainer.refusal import Refusal
from metricwatch_trainer.report import WatchReport, build_report, shown_labels
from metricwatch_trainer.searches import Searches, found_before
from metricwatch_trainer.settings import Phase, Settings
from metricwatch_trainer.storing import is_stored, store_result
from metricwatch_trainer.systems import systems_of
from metricwatch_trainer.taking_over import FROM, TakenWatch, in_order

MOST_TICKS = 150_000
"""A longer window is cut: 17 days at 10 s. What one second resolution shows, two days teach."""

_MOST_ANOMALIES = 100_000
_NEW_NORMAL_SECONDS = 86_400


@dataclass(slots=True)
class TrainingRun:
    """One run.

    Attributes:
        settings: what to train.
        database: open.
        now: unix seconds, where the window ends.
        should_stop: asked while learning.
        tell: is told what the run is at, before it may be killed for it.
    """

    settings: Settings
    database: Database
    now: int
    should_stop: Callable[[], bool]
    tell: Callable[[str], None] = lambda _: None
    _seconds: dict[str, float] = field(default_factory=dict)
    _hash: DataHash = field(default_factory=DataHash)
    _artifacts: list[Artifact] = field(default_factory=list)
    _progress: ProgressLog = field(default_factory=ProgressLog)
    _log: Any = field(default_factory=lambda: structlog.get_logger("metricwatch_trainer"))
    _gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self._gate = Gate(
            database=self.database,
            model_uid=self.settings.model_uid,
            should_stop=self.should_stop,
            progress=self._progress,
        )

    async def run(self) -> Verdict:
        """Trains and stores the version.

        Raises:
            Refusal: it cannot be trained, for a known reason.
            SourceError: a source is away.
            StoreError: the database is away, or the version is gone.
        """
        began = time.monotonic()
        async with self.database.acquire() as connection:
            version = await read_version(
                connection, model_uid=self.settings.model_uid, version=self.settings.version
            )
        if version.trained_at is not None:
            return self._verdict("AlreadyTrained", "this version was trained before", version)
        if version.state is not VersionState.TRAINING:
            raise Refusal(
                ExitCode.REQUEST, "VersionSuperseded", f"the version is {version.state} already"
            )
        part = self.settings.part
        if await is_stored(self.database, version, part):
            return self._verdict("AlreadyTrained", "this slice was trained before", version)
        searching = self.settings.phase is Phase.SEARCH
        if searching or part.shards > 1:
            # The pods of a run begin at different times, and look at the same window.
            self.now = version.created_at
        request = read_request(version)
        lesson = lesson_of(request)
        overview = await read_model_overview(self.database, self.settings.model_uid)
        versions = overview.versions if overview else ()
        earliest = _first_window_start(request, versions)
        await self._gate.open(overview)
        taken = await self._take_over(
            Heir(self.settings, version, request, lesson.family.learns_from_labels), overview
        )
        searches = Searches(
            settings=self.settings,
            tuning=request.tuning,
            watches=len(request.watches) - len(taken),
            should_stop=self.should_stop,
            earlier=found_before(versions, family=lesson.family.name),
        )
        learned = [
            await self._learn_watch(one, request, lesson, searches, earliest)
            for one in request.watches
            if one.uid not in taken
        ]
        if searching:
            return self._verdict("Searched", "looked for parameters", version)
        self._seconds["total"] = time.monotonic() - began
        report = build_report(
            in_order(request, (*learned, *taken.values())),
            requested=request.algorithm.type,
            seconds=self._seconds,
            peak_bytes=peak_bytes(),
        ) | {"gate": self._gate.result().to_row()}
        whole = await self._store(version, request, learned, report)
        if whole is None:
            return self._learned(f"shard {part.shard} of {part.shards} learned", report)
        await asyncio.to_thread(searches.forget)
        return self._learned("learned", whole.report)

    async def _take_over(
        self, heir: Heir, overview: ModelOverview | None
    ) -> Mapping[str, TakenWatch]:
        """Returns by uid the watches that are not learned; their chunks come first."""
        taken = await heir.take_over(self.database, serving_version(overview))
        for one in taken.values():
            self._gate.pass_over(one.watch, learned_by=one.learned_by)
            for artifact in one.artifacts:
                number = len(self._artifacts)
                self._artifacts.append(replace(artifact, shard=self.settings.shard, chunk=number))
        return taken

    async def _learn_watch(
        self,
        watch: TrainingWatch,
        request: TrainingRequest,
        lesson: Lesson,
        searches: Searches,
        earliest: int | None,
    ) -> WatchReport:
        window = round(request.training.window.seconds)
        if earliest is not None:
            window = max(window, self.now - earliest)
        grid = training_grid(
            now=self.now,
            window=window,
            step=watch.interval_seconds,
            delay=watch.delay_seconds,
            most_ticks=MOST_TICKS,
        )
        report = WatchReport(watch=watch, grid=grid)
        if grid.count < window // watch.interval_seconds:
            report.notes.append(f"the window was cut to its last {grid.count} samples a series")
        if watch.group_by and request.scope is not Scope.MULTIVARIATE:
            report.notes.append(f"groupBy has no effect with scope {request.scope}")
        panel = await self._read(watch, request.scope, report)
        if panel is None or not panel.labels:
            return report
        self.tell(_at(watch, panel))
        self._hash.add(watch.uid, panel)
        blank, labels = _excluded(request), None
        if lesson.family.learns_from_labels:
            labels = label_stretches(panel, await self._anomalies(watch, report))
        elif request.training.exclude_anomalies:
            blank += await self._anomalies(watch, report)

        began = time.monotonic()
        trial = await self._gate.prepare(report, panel, _excluded(request))
        self._spent("gate", began)

        def grouped(history: Panel, told: WatchReport) -> tuple[Group, ...]:
            known = None if labels is None else labels[:, : history.grid.count]
            return groups_of(history, request, lesson, blank, told, labels=known)

        def learn() -> None:
            began = time.monotonic()
            held = self._gate.hold(
                report, trial, panel, grouped, together=lesson.family.learns_from_labels
            )
            if self.settings.phase is Phase.SEARCH:
                searches.refine(lesson, held.groups, watch_uid=report.watch.uid)
                return
            measured = self._learn(held, lesson, searches, report)
            self._spent("fit", began)
            if trial is not None and held.measured:
                self._measure(trial, measured)

        await asyncio.to_thread(learn)
        return report

    async def _read(self, watch: TrainingWatch, scope: Scope, report: WatchReport) -> Panel | None:
        """Returns the history; None when the source refuses this watch, which others survive."""
        began = time.monotonic()
        try:
            whole = await read_history(
                watch, report.grid, progress=self._progress.reading(watch.name)
            )
        except SourceError as error:
            if error.retryable:
                raise
            report.problem = (error.reason, f"{error}")
            self._log.warning(
                "watch refused", watch=watch.name, reason=error.reason, why=f"{error}"
            )
            return None
        finally:
            self._spent("read", began)
        owners, part = None, self.settings.part
        if scope is Scope.MULTIVARIATE:
            owners = systems_of(whole.labels, watch.group_by, name=watch.name).owners()
        panel = slice_of(whole, shard=part.shard, shards=part.shards, owners=owners)
        report.found, report.beyond_limit = len(panel.labels), whole.left_out
        return panel

    async def _anomalies(self, watch: TrainingWatch, report: WatchReport) -> list[Stretch]:
        """Returns the recorded anomalies of the window.

        One that a person dismissed is left out, and so is one that lasted for more than a day,
        unless a person confirmed it: it is how things are now.
        """
        async with self.database.acquire() as connection:
            stored = await list_anomalies(
                connection,
                model_uid=self.settings.model_uid,
                watch_uid=watch.uid,
                start=report.grid.start,
                end=report.grid.end,
                limit=_MOST_ANOMALIES,
            )
        stretches = []
        for one in stored:
            start, ended = one.anomaly.started_at, one.anomaly.ended_at
            end = (self.now if ended is None else ended) + watch.interval_seconds
            if one.is_dismissed:
                continue
            if one.is_confirmed or end - start <= _NEW_NORMAL_SECONDS:
                stretches.append(Stretch(start=start, end=end, labels=one.labels))
        if stored:
            dismissed = sum(one.is_dismissed for one in stored)
            told = f", of which people dismissed {dismissed}" if dismissed else ""
            report.notes.append(f"{len(stored)} recorded anomalies lie in the window{told}")
        return stretches

    def _learn(self, held: Held, lesson: Lesson, searches: Searches, report: WatchReport) -> slice:
        """Learns one watch, group by group; returns which artifacts are to be measured."""
        lesson, report.tuning = searches.refine(lesson, held.groups, watch_uid=report.watch.uid)
        of = sum(len(group.panel.labels) for group in held.groups)
        first = len(self._artifacts)
        self._fit(held.measured, lesson, report, of)
        measured = slice(first, len(self._artifacts))
        self._fit(held.others, lesson, report, of)
        return measured

    def _fit(self, groups: Sequence[Group], lesson: Lesson, report: WatchReport, of: int) -> None:
        for group in groups:
            chunks, learned = learn_group(
                group,
                lesson,
                watch_uid=report.watch.uid,
                progress=self._progress.fitting(
                    report.watch.name, before=len(report.trained), of=of
                ),
                should_stop=self.should_stop,
            )
            for chunk in chunks:
                number = len(self._artifacts)
                self._artifacts.append(
                    as_artifact(chunk, shard=self.settings.shard, number=number)
                )
            report.trained.extend(learned)

    def _measure(self, trial: Trial, measured: slice) -> None:
        """Measures what was learned of a watch; it learns from the tail on the way."""
        began = time.monotonic()
        self._artifacts[measured] = self._gate.measure(trial, self._artifacts[measured])
        self._spent("gate", began)

    async def _store(
        self,
        version: Version,
        request: TrainingRequest,
        learned: list[WatchReport],
        report: dict[str, Any],
    ) -> TrainingResult | None:
        result = TrainingResult(
            window_start=min(one.grid.start for one in learned),
            window_end=max(one.grid.end for one in learned),
            data_hash=self._hash.hexdigest(),
            seed=request.training.seed,
            code_version=__version__,
            report=report,
        )
        return await store_result(
            self.database, version, self.settings.part, result, self._artifacts
        )

    def _learned(self, what: str, report: Mapping[str, Any]) -> Verdict:
        sentence = f"{what} {report['trained']} series"
        if report["families"]:
            sentence += f" ({_shown(report['families'])})"
        taken_over = sum(one["trained"] for one in report["watches"] if FROM in one)
        if taken_over:
            sentence += f", {taken_over} of them taken over"
        if report["leftOut"]:
            sentence += f", left out {report['leftOut']}"
        for one in report["watches"]:
            if one.get("problem") is not None:
                sentence += f"; watch {one['name']}: {one['problem']['message']}"
        return Verdict(
            outcome=Outcome.SUCCESSFUL,
            reason="Trained" if what == "learned" else "SliceTrained",
            message=sentence,
            version=self.settings.version,
            series=report["trained"],
            left_out=report["leftOut"],
            seconds=round(self._seconds["total"], 3),
        )

    def _verdict(self, reason: str, message: str, version: Version) -> Verdict:
        report = version.report or {}
        return Verdict(
            outcome=Outcome.SUCCESSFUL,
            reason=reason,
            message=message,
            version=version.version,
            series=report.get("trained", 0),
            left_out=report.get("leftOut", 0),
        )

    def _spent(self, part: str, began: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + time.monotonic() - began


def _at(watch: TrainingWatch, panel: Panel) -> str:
    """Returns which series are learned from, by the first and the last of them."""
    first, last = (shown_labels(dict(labels)) for labels in (panel.labels[0], panel.labels[-1]))
    return f"at {len(panel.labels)} series of watch {watch.name}, from {first} to {last}"


def _first_window_start(request: TrainingRequest, versions: Iterable[Version]) -> int | None:
    """Returns where the first version's window began, for a window that only grows."""
    if request.training.strategy is not Strategy.EXPANDING:
        return None
    starts = [one.window_start for one in versions if one.window_start is not None]
    return min(starts, default=None)


def _excluded(request: TrainingRequest) -> list[Stretch]:
    """Returns the stretches that the model leaves out."""
    return [
        Stretch(start=int(one.start.timestamp()), end=int(one.end.timestamp()))
        for one in request.training.exclude
    ]


def _shown(families: Mapping[str, int]) -> str:
    """Returns the families, with how many series each has when there are several."""
    if len(families) == 1:
        return next(iter(families))
    return ", ".join(f"{name} {count}" for name, count in families.items())
