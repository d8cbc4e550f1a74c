"""One watch, live: a task that warms up, keeps the rhythm of its ticks, and outlives every error.

Whatever goes wrong in one watch is said in its health, its metrics and one log line, and ends
there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import structlog

from metricwatch import heap
from metricwatch.anomalies import Policy, Verdicts
from metricwatch.artifact import ModelChunk
from metricwatch.assignments import WatchSettings
from metricwatch.scorer import Scorer
from metricwatch.series import Grid
from metricwatch.sources import Source, SourceError, SourceUnavailable, open_source
from metricwatch.store.decisions import mark_start, read_decided_until
from metricwatch.store.errors import RowMissing, StoreError
from metricwatch.store.health import record_health
from metricwatch.store.pool import Database
from metricwatch.store.rows import HealthState
from metricwatch_detector.display import Display
from metricwatch_detector.ledger import Ledger
from metricwatch_detector.loading import Artifacts, Loaded
from metricwatch_detector.patience import pause_after
from metricwatch_detector.reading import History, Reader
from metricwatch_detector.recording import Identity, Recorder
from metricwatch_detector.room import Room
from metricwatch_detector.schedule import Schedule
from metricwatch_detector.slots import SlotIndex, SlotsExhausted
from metricwatch_detector.telemetry import Telemetry, Waits, watch_values

_log = structlog.get_logger(__name__)
_FLUSH_SECONDS = 3.0
_TICKS_AT_ONCE = 120
_MANY_TICKS = 10
_MOST_PRELUDE = 120
_MOST_WARM_VALUES = 10_000_000
_STATES = {state.value: state for state in HealthState} | {
    # The health has no words of their own for these; the message says what it is.
    "SourceMalformed": HealthState.SOURCE_UNAVAILABLE,
    "SourceTooLarge": HealthState.QUERY_REFUSED,
    "SourceNotAllowed": HealthState.QUERY_REFUSED,
}


@dataclass(slots=True)
class _Equipment:
    """What a watch needs to score; `next_tick` is the first not scored yet."""

    source: Source
    index: SlotIndex
    scorer: Scorer
    ledger: Ledger
    reader: Reader
    recorder: Recorder
    writing: asyncio.Task[None]
    next_tick: int


class WatchLoop:
    """Reads, scores and shows one watch until stopped."""

    def __init__(
        self,
        identity: Identity,
        settings: WatchSettings,
        *,
        database: Database,
        artifacts: Artifacts,
        telemetry: Telemetry,
        room: Room,
    ) -> None:
        self.identity = identity
        self.display = Display(identity, telemetry)
        self.ready = False
        self._settings = settings
        self._database = database
        self._artifacts = artifacts
        self._telemetry = telemetry
        self._room = room
        self._stop = asyncio.Event()
        self._equipment: _Equipment | None = None
        self._message = ""
        self._damaged = False
        self._loaded: Loaded | None = None
        self._beat = time.monotonic()
        self._waits_for_others = False
        self._failures = 0
        self._schedule = Schedule(settings.interval_seconds)
        self._read_settings()

    def _read_settings(self) -> None:
        interval = self._settings.interval_seconds
        self._policy = Policy.from_detection(self._settings.detection, interval_seconds=interval)
        self._schedule = replace(
            self._schedule, interval=interval, delay=self._settings.delay_seconds
        )

    def update(self, settings: WatchSettings) -> bool:
        """Takes new settings over; False when they need another loop: other data, other banks."""
        if data_of(settings) != data_of(self._settings):
            return False
        if settings != self._settings:
            self._settings = settings
            self._read_settings()
            _log.info("detection settings changed", watch=self.identity.labels.watch)
        return True

    @property
    def serving(self) -> bool:
        """Whether this version turns its scores into anomalies, and shows them."""
        return self._equipment is not None and self._equipment.recorder.serving

    def waits(self) -> Waits:
        """How far scoring and storing are behind now."""
        kit, schedule = self._equipment, self._schedule
        if kit is None or not kit.recorder.serving:
            return Waits(storing=kit.recorder.waits if kit else None)
        behind = max(time.time() - schedule.due_at(kit.next_tick), 0.0)
        longest_age = self._policy.missing_after + schedule.interval + schedule.delay
        return Waits(behind, kit.recorder.waits, longest_age)

    def is_stuck(self) -> bool:
        """Whether the loop stands still and nobody else is to blame."""
        patience = max(5 * self._schedule.interval, 60)
        return not self._waits_for_others and time.monotonic() - self._beat > patience

    def stop(self) -> None:
        """Asks it to end after the tick that is under way."""
        self._stop.set()

    async def run(self) -> None:
        """Scores until `stop`, then writes what waits; however it ends, everything is closed."""
        try:
            while not self._stop.is_set():
                self._beat = time.monotonic()
                await self._attempt()
        finally:
            await self._dismantle()
            self._room.leave(self.identity.watch_id)
            self.display.close()

    async def _attempt(self) -> None:
        """One step; what goes wrong is told and waited out."""
        try:
            if self._equipment is None:
                self._equipment = await self._begin()
            await self._advance(self._equipment)
            self._failures = 0
        except SourceError as error:
            self.ready |= not error.retryable
            state = _STATES.get(error.reason, HealthState.SOURCE_UNAVAILABLE)
            wish = error.retry_after if isinstance(error, SourceUnavailable) else None
            await self._trouble(state, error.reason, str(error), wish=wish)
        except StoreError as error:
            await self._trouble(self.display.state, error.reason, str(error))
        except SlotsExhausted:
            _log.info("series come and go, starting again", watch=self.identity.labels.watch)
            await self._dismantle()
        except Exception as error:  # noqa: BLE001 - a bug here must not end other watches
            _log.exception("a tick failed", watch=self.identity.labels.watch)
            await self._dismantle()
            await self._trouble(HealthState.STARTING, "Bug", f"{type(error).__name__}: {error}")

    async def _begin(self) -> _Equipment:
        """Loads, finds out where scoring stands, and warms up."""
        own, settings = self.identity, self._settings
        with self._waiting_for_others():
            if self._loaded is None:
                self._loaded = await self._artifacts.take(own.watch_uid)
            async with self._database.acquire() as connection:
                until = await read_decided_until(connection, watch_id=own.watch_id, part=own.part)
        scorer = Scorer(self._usable(self._loaded), interval=settings.interval_seconds)
        index = SlotIndex(
            scorer.known,
            system_of=scorer.system_of(),
            shard=own.part.shard,
            shards=own.part.shards,
            limit=settings.max_series,
        )
        source = open_source(settings.source, retry_seconds=min(5.0, settings.interval_seconds))
        reader = Reader(source, settings, index)
        try:
            first = await self._warm(source, reader, scorer, until)
            if until is None:
                before = first - settings.interval_seconds
                await mark_start(
                    self._database, watch_id=own.watch_id, part=own.part, before=before
                )
        except BaseException:
            await source.close()
            raise
        await asyncio.to_thread(heap.trim)
        ledger = Ledger()
        recorder = Recorder(
            self._database,
            own,
            index=index,
            ledger=ledger,
            family_of=scorer.family_of,
            telemetry=self._telemetry,
            room=self._room,
        )
        writing = asyncio.create_task(recorder.run(self._deciding_by))
        return _Equipment(source, index, scorer, ledger, reader, recorder, writing, first)

    def _deciding_by(self) -> tuple[Policy, Schedule, str]:
        return self._policy, self._schedule, self._settings.system

    def _usable(self, loaded: Loaded) -> list[ModelChunk]:
        """The chunks that were trained on the interval this watch has now."""
        interval = self._settings.interval_seconds
        usable = [chunk for chunk in loaded.chunks if chunk.interval == interval]
        problems = [*loaded.problems]
        self._damaged = bool(problems)
        if len(usable) < len(loaded.chunks):
            problems.append(f"trained on another interval than {interval} seconds")
        self._telemetry.artifact_errors.inc(len(problems))
        self._message = "; ".join(problems)[:500]
        return usable

    async def _warm(
        self, source: Source, reader: Reader, scorer: Scorer, until: int | None
    ) -> int:
        """Brings the banks up to the first tick to score, and returns it."""
        interval = self._schedule.interval
        prelude = min(self._policy.memory, _MOST_PRELUDE)
        count = min(scorer.warmup, _MOST_WARM_VALUES // self._settings.max_series + 1)
        history = None
        while history is None:
            first = self._schedule.start(now=time.time(), decided_until=until, prelude=prelude)
            grid = Grid(first - count * interval, interval, count)
            history = await self._read(source, reader.history(grid))
        # From here on the banks move: another attempt needs fresh ones.
        self._loaded = None
        self._beat = time.monotonic()
        alert = self._policy.threshold
        await asyncio.to_thread(scorer.warm, history.grid, history.values, alert=alert)
        _log.info(
            "warm",
            watch=self.identity.labels.watch,
            series=scorer.series,
            known=len(scorer.known),
            samples=count,
            first_tick=first,
        )
        return first

    async def _advance(self, kit: _Equipment) -> None:
        """Scores what is due, or sleeps until something is."""
        interval, now = self._schedule.interval, time.time()
        newest = self._schedule.newest_due(now)
        if newest < kit.next_tick:
            await self._wait_for(kit, now)
            return
        first = max(kit.next_tick, self._schedule.oldest(newest))
        count = min((newest - first) // interval + 1, _TICKS_AT_ONCE)
        grid = Grid(first, interval, count)
        asked = kit.reader.history(grid) if count > 1 else kit.reader.tick(first)
        history = await self._read(kit.source, asked)
        if history is None:
            return
        self._count("missed", (first - kit.next_tick) // interval)
        with self._telemetry.tick_seconds.time():
            verdicts = await self._score(kit, history)
        self._count("scored", 1)
        self._count("late", count - 1)
        self.ready = True
        self.display.show(
            verdicts,
            lifecycle=kit.ledger.head,
            labels=kit.index.labels,
            families=kit.scorer.families(),
            drift=kit.scorer.drift(),
            left_out=history.left_out,
            policy=self._policy,
            serving=self.serving,
            damaged=self._damaged,
            message=self._remarks(),
            now=self._schedule.time_at(time.time()),
        )
        kit.recorder.report(self.display.health())
        if count >= _MANY_TICKS:
            await asyncio.to_thread(heap.trim)
        if len(kit.index) > len(kit.scorer.known) + 2 * self._settings.max_series:
            raise SlotsExhausted

    async def _wait_for(self, kit: _Equipment, now: float) -> None:
        """Sleeps until the next tick is due, unless it is a clock that makes it seem far off."""
        if self._schedule.is_from_the_future(kit.next_tick, now):
            with self._waiting_for_others():
                await kit.source.compare_clocks()
            if self._is_another_time(kit.source):
                return
        due = self._schedule.due_at(kit.next_tick)
        await self._sleep(min(due - now, self._schedule.interval))

    async def _read(self, source: Source, asked: Awaitable[History]) -> History | None:
        """The answer; None when it shows that our clock is wrong, so that it is of wrong ticks."""
        with self._waiting_for_others():
            history = await asked
        return None if self._is_another_time(source) else history

    def _is_another_time(self, source: Source) -> bool:
        """Whether the source's clock is not where we thought; from now on it is followed."""
        if source.ahead == self._schedule.ahead:
            return False
        self._schedule = replace(self._schedule, ahead=source.ahead)
        watch = self.identity.labels.watch
        _log.warning("the clocks differ", watch=watch, source_ahead_seconds=source.ahead)
        return True

    def _remarks(self) -> str:
        """What a person should know although every tick is scored."""
        return "; ".join(filter(None, (self._message, self._schedule.remark())))

    async def _score(self, kit: _Equipment, history: History) -> Verdicts:
        """Scores every tick of `history`; returns the verdicts of the last."""
        for tick, values in history.ticks():
            verdicts = kit.scorer.step(self._policy, time=tick, values=values)
            self._room.take(self.identity.watch_id, series=verdicts.series)
            lost = kit.ledger.add(self._policy, verdicts, most=self._room.ticks)
            if lost:
                _log.warning("undecided ticks were given up", ticks=lost)
            kit.scorer.learn(excluded=kit.ledger.head.open[: verdicts.series])
            kit.recorder.put(verdicts)
            kit.next_tick = tick + self._schedule.interval
            if history.grid.count > 1:
                await asyncio.sleep(0)
        return verdicts

    async def _trouble(
        self, state: HealthState, reason: str, message: str, *, wish: float | None = None
    ) -> None:
        """Says what is wrong, then waits; longer each time, and as long as the source wishes."""
        values = watch_values(self.identity.labels)
        self._telemetry.errors.labels(reason, *values).inc()
        self.display.enter(state, message)
        kit = self._equipment
        if kit is not None:
            kit.recorder.report(self.display.health())
        else:
            with suppress(StoreError):
                async with self._database.acquire() as connection:
                    await record_health(connection, self.display.health())
        self._failures += 1
        interval = self._schedule.interval
        await self._sleep(pause_after(self._failures, interval=interval, wish=wish))

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, or less when asked to stop."""
        with suppress(TimeoutError), self._waiting_for_others():
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._stop.wait()

    @contextmanager
    def _waiting_for_others(self) -> Iterator[None]:
        """While a source, the database or the clock is awaited, standing still is no fault."""
        self._waits_for_others = True
        try:
            yield
        finally:
            self._waits_for_others = False
            self._beat = time.monotonic()

    def _count(self, outcome: str, ticks: int) -> None:
        if ticks:
            values = watch_values(self.identity.labels)
            self._telemetry.ticks.labels(*values, outcome).inc(ticks)

    async def _dismantle(self) -> None:
        """Writes what waits, if the database takes it, and closes everything."""
        kit, self._equipment = self._equipment, None
        if kit is None:
            return
        kit.writing.cancel()
        with suppress(asyncio.CancelledError):
            await kit.writing
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await kit.recorder.flush(*self._deciding_by())
        except RowMissing:
            pass  # the watch is gone, and nobody wants its scores
        except (StoreError, TimeoutError) as error:
            _log.warning("not everything could be written", error=str(error) or "no time left")
        await kit.source.close()


def data_of(settings: WatchSettings) -> dict[str, object]:
    """The part of a watch's settings that decides what is read; the rest can change any time."""
    return settings.model_dump(exclude={"detection", "system", "suspend"})
