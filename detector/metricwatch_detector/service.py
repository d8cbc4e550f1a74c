"""One detector process: watches, metrics and health over HTTP, housekeeping, and a clean end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus

import structlog

from metricwatch.store.clock import read_time
from metricwatch.store.errors import StoreError
from metricwatch.store.models import read_version
from metricwatch.store.overview import read_model_overview
from metricwatch.store.partitions import ensure_partitions
from metricwatch.store.pool import Database
from metricwatch.store.retention import apply_retention
from metricwatch.store.rows import ModelOverview, Slice, WatchRow
from metricwatch_detector.exposition import CONTENT_TYPE, WatchLabels, render
from metricwatch_detector.http import HttpServer, Response
from metricwatch_detector.loading import Artifacts
from metricwatch_detector.recording import Identity
from metricwatch_detector.room import Room
from metricwatch_detector.roster import Roster
from metricwatch_detector.settings import Settings
from metricwatch_detector.telemetry import Telemetry
from metricwatch_detector.watching import WatchLoop

_log = structlog.get_logger(__name__)
_MOST_CONNECTIONS = 8
_HOUSEKEEPING_SECONDS = 3600.0
_LONGEST_PAUSE = 15.0


class Detector:
    """A model version at work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._telemetry = Telemetry(version=settings.version, shard=settings.shard)
        self._roster: Roster | None = None
        self._serving: bool | None = None
        self._waits_because = "starting"
        self.server = HttpServer(
            {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then writes what waits and ends."""
        settings = self._settings
        name = f"metricwatch-detector-v{settings.version}-{settings.shard}"
        database = Database(
            settings.database, application_name=name, max_connections=_MOST_CONNECTIONS
        )
        await self.server.start(port=settings.port)
        async with database:
            working = asyncio.create_task(self._work(database))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            _log.info("stopping")
            working.cancel()
            try:
                with suppress(asyncio.CancelledError):
                    await working
            finally:
                if self._roster is not None:
                    await self._roster.stop()
                await self.server.close()
        _log.info("stopped")

    async def _work(self, database: Database) -> None:
        make = await self._prepare(database)
        self._roster = Roster(database, model_uid=self._settings.model_uid, make=make)
        self._waits_because = ""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._roster.run())
            group.create_task(self._keep_house(database))

    async def _prepare(self, database: Database) -> _Maker:
        """Reads the version and its artifacts, however long the database is away."""
        pause = 0.25
        while True:
            try:
                return await self._read(database)
            except StoreError as error:
                if str(error) != self._waits_because:
                    _log.warning("cannot start yet", reason=error.reason, error=str(error))
                self._waits_because = str(error)
                self._telemetry.store_errors.labels(error.reason).inc()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _read(self, database: Database) -> _Maker:
        settings = self._settings
        part = Slice(shards=settings.shards, shard=settings.shard)
        async with database.acquire() as connection:
            version = await read_version(
                connection, model_uid=settings.model_uid, version=settings.version
            )
            await ensure_partitions(connection, now=await read_time(connection))
        model = await read_model_overview(database, settings.model_uid)
        assert model is not None, "its version was just read"  # noqa: S101
        artifacts = Artifacts(database, version_id=version.id, part=part)
        await artifacts.load()
        _log.info("loaded", model=model.name, version=settings.version, shard=settings.shard)
        return _Maker(database, artifacts, self._telemetry, model, version.version, part)

    async def _keep_house(self, database: Database) -> None:
        """Makes partitions ahead of time and drops old scores, every hour."""
        while True:
            try:
                async with database.acquire() as connection:
                    # A pod whose clock is days ahead must not take yesterday for long ago.
                    now = await read_time(connection)
                    await ensure_partitions(connection, now=now)
                days = self._settings.score_retention_days
                forgotten = await apply_retention(database, now=now, score_days=days)
                if forgotten.partitions or forgotten.series or forgotten.orphans:
                    _log.info(
                        "old data dropped",
                        partitions=forgotten.partitions,
                        series=forgotten.series,
                        orphans=forgotten.orphans,
                    )
            except StoreError as error:
                self._telemetry.store_errors.labels(error.reason).inc()
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)

    def _metrics(self) -> Response:
        loops = self._roster.loops if self._roster is not None else ()
        for loop in loops:
            self._telemetry.show_waits(loop.identity.labels, loop.waits())
        serving = [loop.display.exposition for loop in loops if loop.serving]
        self._telemetry.serve(bool(serving))
        return Response(self._telemetry.render() + render(serving), content_type=CONTENT_TYPE)

    def _healthz(self) -> Response:
        stuck = self._roster.stuck() if self._roster is not None else []
        if stuck:
            text = f"these watches stand still: {', '.join(stuck)}\n"
            return Response(text.encode(), HTTPStatus.INTERNAL_SERVER_ERROR)
        return Response(b"ok\n")

    def _readyz(self) -> Response:
        if self._roster is None:
            text = f"not ready: {self._waits_because}\n"
            return Response(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        if not self._roster.ready:
            waiting = [loop.identity.labels.watch for loop in self._roster.loops if not loop.ready]
            text = f"not ready: waiting for {', '.join(waiting) or 'the list of watches'}\n"
            return Response(text.encode(), HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(b"ok\n")


class _Maker:
    """Makes the loop of a watch."""

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        telemetry: Telemetry,
        model: ModelOverview,
        version: int,
        part: Slice,
    ) -> None:
        self._database = database
        self._artifacts = artifacts
        self._telemetry = telemetry
        self._model = model
        self._version = version
        self._part = part
        self._room = Room()

    def __call__(self, row: WatchRow) -> WatchLoop:
        assert row.settings is not None, "who asks has checked"  # noqa: S101
        identity = Identity(
            watch_id=row.id,
            watch_uid=row.uid,
            model_id=self._model.id,
            version=self._version,
            part=self._part,
            labels=WatchLabels(row.namespace, row.name, self._model.name),
        )
        return WatchLoop(
            identity,
            row.settings,
            database=self._database,
            artifacts=self._artifacts,
            telemetry=self._telemetry,
            room=self._room,
        )
