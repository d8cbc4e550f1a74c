"""What one watch writes to the database, in a task of its own: scoring never waits for PostgreSQL.

Scored ticks wait here until they are stored. A flush writes their scores by COPY, then decides in
one transaction, then says how the watch fares. Whatever fails is written at the next attempt:
scores are written at most once, a decision is made once, and what was lost is only what had to
wait for too long.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from metricwatch.anomalies import Action, Change, Policy, Verdicts
from metricwatch.series import Labels
from metricwatch.store.anomalies import load_open, write_anomalies
from metricwatch.store.decisions import Decision as Right
from metricwatch.store.decisions import deciding, read_decided_until
from metricwatch.store.errors import RowMissing, StoreError
from metricwatch.store.health import record_health
from metricwatch.store.metrics import register_series
from metricwatch.store.pool import Database
from metricwatch.store.rows import Slice, WatchHealth
from metricwatch.store.scores import Scores, write_scores
from metricwatch_detector.exposition import WatchLabels
from metricwatch_detector.grouping import group_system
from metricwatch_detector.ledger import Decision, Ledger
from metricwatch_detector.room import Room
from metricwatch_detector.rows import anomaly_from, row_from
from metricwatch_detector.schedule import Schedule
from metricwatch_detector.slots import SlotIndex
from metricwatch_detector.telemetry import Telemetry, watch_values

_log = structlog.get_logger(__name__)
MOST_ROWS_AT_ONCE = 100_000
MOST_NEW_AT_ONCE = 5_000
"""Series: a statement that registers them has to end within the time a statement may take."""
FEWEST_ROWS_AT_ONCE = 1_000
LONGEST_PAUSE = 10.0
_SEEN_AGAIN_SECONDS = 6 * 3600


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose scores these are."""

    watch_id: int
    watch_uid: str
    model_id: int
    version: int
    part: Slice
    labels: WatchLabels


class Recorder:
    """Stores ticks of one watch, and decides them while its version serves."""

    def __init__(
        self,
        database: Database,
        identity: Identity,
        *,
        index: SlotIndex,
        ledger: Ledger,
        family_of: Callable[[int], str],
        telemetry: Telemetry,
        room: Room,
    ) -> None:
        self._database = database
        self._identity = identity
        self._index = index
        self._ledger = ledger
        self._family_of = family_of
        self._telemetry = telemetry
        self._room = room
        self._scores: deque[Verdicts] = deque()
        self._rows_at_once = MOST_ROWS_AT_ONCE
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._seen_at = time.monotonic()
        self._settled_until: int | None = None
        self._system_series: int | None = None
        self._waits_since: float | None = None
        self._newer_since: float | None = None
        self._health: WatchHealth | None = None
        self._due = asyncio.Event()
        self._failures = 0
        self.serving = False

    def put(self, verdicts: Verdicts) -> None:
        """Takes a scored tick."""
        now = time.monotonic()
        self._newer_since = self._newer_since or now
        self._waits_since = self._waits_since or now
        self._scores.append(verdicts)
        dropped = 0
        while len(self._scores) > self._room.ticks:
            self._scores.popleft()
            dropped += 1
        self._show_backlog(dropped)

    @property
    def waits(self) -> float:
        """Seconds that the oldest tick has waited to be stored and decided; 0 if none does."""
        return 0.0 if self._waits_since is None else time.monotonic() - self._waits_since

    def report(self, health: WatchHealth) -> None:
        """Takes how the watch fares now, and asks for a flush."""
        self._health = health
        self._due.set()

    async def run(self, settings: Callable[[], tuple[Policy, Schedule, str]]) -> None:
        """Flushes whenever there is something, until cancelled or the watch is removed."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self.flush(*settings())
            except RowMissing:
                _log.info("the watch was removed", watch=self._identity.labels.watch)
                return
            except StoreError as error:
                if self._failures == 0:
                    watch = self._identity.labels.watch
                    _log.warning(
                        "storing waits", watch=watch, reason=error.reason, error=str(error)
                    )
                await self._wait_after(error.reason)
            except Exception:  # noqa: BLE001 - scores wait until it works again, and are bounded
                _log.exception("storing failed", watch=self._identity.labels.watch)
                await self._wait_after("Bug")

    async def _wait_after(self, reason: str) -> None:
        self._failures += 1
        self._telemetry.store_errors.labels(reason).inc()
        await asyncio.sleep(min(LONGEST_PAUSE, 0.25 * 2.0 ** min(self._failures, 10)))
        self._due.set()

    async def flush(self, policy: Policy, schedule: Schedule, system: str) -> None:
        """Writes all that waits.

        Raises:
            RowMissing: the watch was removed.
            StoreError: the database is away; what was not written waits on.
        """
        self._newer_since = None
        await self._register()
        # A disk that is full of scores may still have room for what matters more.
        waiting = await self._try_to_store_scores()
        if self._health is not None:
            # Before deciding: how many series a system has is counted from here.
            async with self._database.acquire() as connection:
                await record_health(connection, _told(self._health, waiting))
        await self._decide(policy, schedule, system)
        if waiting is not None:
            raise waiting
        self._waits_since = self._newer_since
        if self._failures:
            _log.info("storing again", watch=self._identity.labels.watch, attempts=self._failures)
            self._failures = 0

    async def _register(self) -> None:
        """Gets the ids of series that have samples; now and then says that they still live."""
        if time.monotonic() - self._seen_at > _SEEN_AGAIN_SECONDS:
            self._ids[:] = 0
            self._seen_at = time.monotonic()
        more = len(self._index) - len(self._ids)
        self._ids = np.concatenate([self._ids, np.zeros(more, np.int64)])
        slots = np.flatnonzero(self._ledger.seen(len(self._ids)) & (self._ids == 0)).tolist()
        if slots:
            await self._assign_ids([self._index.labels[slot] for slot in slots])

    async def _assign_ids(self, labels: Sequence[Labels]) -> None:
        for first in range(0, len(labels), MOST_NEW_AT_ONCE):
            async with self._database.acquire() as connection:
                ids = await register_series(
                    connection,
                    watch_id=self._identity.watch_id,
                    labels=labels[first : first + MOST_NEW_AT_ONCE],
                )
            for series, metric_id in ids.items():
                self._set_id(self._index.slot(series), metric_id)

    def _set_id(self, slot: int, metric_id: int) -> None:
        if slot >= len(self._ids):
            more = np.zeros(slot + 1 - len(self._ids), np.int64)
            self._ids = np.concatenate([self._ids, more])
        self._ids[slot] = metric_id

    async def _try_to_store_scores(self) -> StoreError | None:
        """Writes the scores that wait; returns what keeps them from being written."""
        try:
            while self._scores:
                await self._store_some(self._oldest_scores())
                self._rows_at_once = min(self._rows_at_once * 5 // 4, MOST_ROWS_AT_ONCE)
        except RowMissing:
            raise
        except StoreError as error:
            # What a slow database does not manage in the time of a statement, it manages in parts.
            self._rows_at_once = max(self._rows_at_once // 2, FEWEST_ROWS_AT_ONCE)
            return error
        return None

    def _oldest_scores(self) -> list[Verdicts]:
        ticks: list[Verdicts] = []
        values = 0
        for verdicts in self._scores:
            if ticks and values + verdicts.series > self._rows_at_once:
                break
            ticks.append(verdicts)
            values += verdicts.series
        return ticks

    async def _store_some(self, ticks: Sequence[Verdicts]) -> None:
        scores = self._columns(ticks)
        if scores is not None:
            async with self._database.acquire() as connection:
                written = await write_scores(
                    connection, version=self._identity.version, scores=scores
                )
            self._telemetry.rows.labels("prediction_errors").inc(written)
        # The oldest may have been given up while we wrote.
        while self._scores and self._scores[0].time <= ticks[-1].time:
            self._scores.popleft()
        self._show_backlog(0)

    def _columns(self, ticks: Sequence[Verdicts]) -> Scores | None:
        """The samples of some ticks as columns; None without a sample."""
        kept = [
            np.flatnonzero(~np.isnan(tick.value) & (self._ids[: tick.series] != 0))
            for tick in ticks
        ]
        if not any(len(slots) for slots in kept):
            return None

        def column(name: str) -> NDArray[np.float64]:
            return np.concatenate(
                [getattr(tick, name)[slots] for tick, slots in zip(ticks, kept, strict=True)]
            )

        score = column("score")
        return Scores(
            metric_id=self._ids[np.concatenate(kept)],
            ts=np.repeat([tick.time for tick in ticks], [len(slots) for slots in kept]),
            value=column("value"),
            expected=column("expected"),
            lower=column("lower"),
            upper=column("upper"),
            rarity=column("rarity"),
            score=score,
            anomalous=score > 1.0,
        )

    async def _decide(self, policy: Policy, schedule: Schedule, system: str) -> None:
        own = self._identity
        outcome = None
        async with deciding(
            self._database, watch_id=own.watch_id, part=own.part, version=own.version
        ) as right:
            serving = right.serving
            if serving:
                await self._continue(right, policy)
                late_before = schedule.late_before(time.time())
                outcome = self._ledger.decide(policy, late_before=late_before)
            if outcome is not None:
                grouped = await self._write(right, outcome, policy, system)
                await right.decided(outcome.until)
        if outcome is not None:
            self._ledger.commit(outcome)
            self._settled_until = outcome.until
            self._system_series = grouped
            self._telemetry.show_system(own.labels, system, grouped)
            self._log_changes(outcome.changes)
        if not serving:
            await self._follow(policy)
        if serving != self.serving:
            _log.info("serving" if serving else "not serving", watch=own.labels.watch)
        self.serving = serving

    async def _continue(self, right: Right, policy: Policy) -> None:
        """Goes on where the last decision ended, whoever made it."""
        until = right.decided_until
        if self.serving and until == self._settled_until:
            return
        if until is not None:
            self._ledger.settle(policy, until)
        stored = await load_open(
            right.connection,
            watch_id=self._identity.watch_id,
            part=self._identity.part,
        )
        opened = {}
        for one in stored:
            slot = self._index.slot(one.labels)
            self._set_id(slot, one.anomaly.metric_id)
            opened[slot] = anomaly_from(one.anomaly)
        self._ledger.adopt(policy, opened)
        self._system_series = None

    async def _follow(self, policy: Policy) -> None:
        """Another version decides: keep only what it has not decided yet."""
        async with self._database.acquire() as connection:
            until = await read_decided_until(
                connection, watch_id=self._identity.watch_id, part=self._identity.part
            )
        if until is not None:
            self._ledger.settle(policy, until)
        self._settled_until = None

    async def _write(self, right: Right, outcome: Decision, policy: Policy, system: str) -> int:
        """Writes what changed; returns how many series the system's open anomaly groups."""
        changes = outcome.changes
        if changes:
            rows = [
                row_from(
                    change.anomaly,
                    policy,
                    metric_id=int(self._ids[change.series]),
                    family=self._family_of(change.series),
                )
                for change in changes
            ]
            written = await write_anomalies(
                right.connection,
                watch_id=self._identity.watch_id,
                version=self._identity.version,
                anomalies=rows,
            )
            self._telemetry.rows.labels("anomaly_points").inc(len(written))
        # Not known after a start: then somebody else may have opened one.
        if not changes and self._system_series == 0:
            return 0
        return await group_system(
            right.connection,
            model_id=self._identity.model_id,
            system=system,
            now=changes[-1].time if changes else outcome.until,
            policy=policy,
        )

    def _log_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.action is not Action.UPDATED:
                _log.info(
                    f"anomaly {change.action.value}",
                    watch=self._identity.labels.watch,
                    series=dict(self._index.labels[change.series]),
                    kind=change.anomaly.kind.value,
                    severity=change.anomaly.severity,
                    started_at=change.anomaly.started_at,
                    score=round(change.anomaly.peak_score, 2),
                    late=change.late,
                )

    def _show_backlog(self, dropped: int) -> None:
        values = watch_values(self._identity.labels)
        self._telemetry.backlog.labels(*values).set(len(self._scores))
        if dropped:
            self._telemetry.dropped.labels(*values).inc(dropped)


def _told(health: WatchHealth, waiting: StoreError | None) -> WatchHealth:
    """The health, with what keeps scores from being stored."""
    if waiting is None:
        return health
    said = f"scores wait to be stored: {waiting}"
    return replace(health, message=f"{health.message}; {said}" if health.message else said)
