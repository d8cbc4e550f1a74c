"""Which watches are live: what the database says, compared with what runs here.

It listens for changes and looks every few seconds as well; a notification only makes it quick.
While the database is away everything goes on as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from metricwatch.store.errors import StoreError
from metricwatch.store.listen import listen
from metricwatch.store.pool import Database
from metricwatch.store.rows import WatchRow
from metricwatch.store.watches import load_watches
from metricwatch_detector.watching import WatchLoop

_log = structlog.get_logger(__name__)
POLL_SECONDS = 10.0
_STOP_SECONDS = 5.0


@dataclass(slots=True)
class _Running:
    loop: WatchLoop
    task: asyncio.Task[None]


class Roster:
    """Runs one loop for each watch of a model."""

    def __init__(
        self, database: Database, *, model_uid: str, make: Callable[[WatchRow], WatchLoop]
    ) -> None:
        self._database = database
        self._model_uid = model_uid
        self._make = make
        self._running: dict[str, _Running] = {}
        self._changed = asyncio.Event()
        self._known_once = False
        self._ready = False

    @property
    def loops(self) -> tuple[WatchLoop, ...]:
        """The loops that run, by namespace and name."""
        loops = [running.loop for running in self._running.values()]
        return tuple(sorted(loops, key=lambda loop: loop.identity.labels.pairs()))

    @property
    def ready(self) -> bool:
        """Whether the watches are known and every one of them has been ready.

        Once true it stays true: a watch that is added later does not make a serving version
        unavailable.
        """
        self._ready |= self._known_once and all(loop.ready for loop in self.loops)
        return self._ready

    def stuck(self) -> list[str]:
        """Watches whose loop stands still by a fault of ours, or ended."""
        return [
            running.loop.identity.labels.watch
            for running in self._running.values()
            if running.loop.is_stuck() or running.task.done()
        ]

    async def run(self) -> None:
        """Keeps the loops as the database wants them, until cancelled."""
        listening = asyncio.create_task(listen(self._database, self._heard))
        try:
            while True:
                self._changed.clear()
                try:
                    await self.refresh()
                except StoreError as error:
                    _log.debug("watches not read", reason=error.reason, error=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._changed.wait()
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    def _heard(self, model_uid: str | None) -> None:
        if model_uid is None or model_uid == self._model_uid:
            self._changed.set()

    async def refresh(self) -> None:
        """Starts, changes and stops loops as the rows say.

        Raises:
            StoreError: the rows cannot be read; nothing was changed.
        """
        async with self._database.acquire() as connection:
            rows = await load_watches(connection, model_uid=self._model_uid)
        wanted = {row.uid: row for row in rows if not (row.settings and row.settings.suspend)}
        gone = [uid for uid in self._running if uid not in wanted]
        for uid, row in wanted.items():
            running = self._running.get(uid)
            if row.settings is None:
                _log.error("settings cannot be read", watch=row.name, problem=row.problem)
            elif running is None:
                self._start(row)
            elif running.loop.identity.watch_id != row.id or not running.loop.update(row.settings):
                await self._stop([uid])
                self._start(row)
        await self._stop(gone)
        self._known_once = True

    def _start(self, row: WatchRow) -> None:
        try:
            loop = self._make(row)
        except Exception:  # noqa: BLE001 - one watch that cannot start must not end the others
            _log.exception("a watch cannot start", watch=row.name)
            return
        _log.info("watch added", watch=row.name, namespace=row.namespace)
        self._running[row.uid] = _Running(loop, asyncio.create_task(loop.run()))

    async def stop(self) -> None:
        """Ends all loops after their tick; what does not end in time is cancelled."""
        await self._stop(list(self._running))

    async def _stop(self, uids: Iterable[str]) -> None:
        stopping = [self._running.pop(uid) for uid in uids]
        if not stopping:
            return
        for running in stopping:
            _log.info("watch stopped", watch=running.loop.identity.labels.watch)
            running.loop.stop()
        _, late = await asyncio.wait([running.task for running in stopping], timeout=_STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*(running.task for running in stopping), return_exceptions=True)
