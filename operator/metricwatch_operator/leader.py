"""What only the leader runs, in a thread with an event loop of its own.

kopf cancels every task that was created after it when it ends, and takes seconds to do so; sharing
its loop with the Lease would let the Lease expire. So the main thread keeps the Lease, and this
one keeps informers, queue, gateway and database together: indices are read in the loop that writes
them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import kopf
import structlog

from metricwatch import heap
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database
from metricwatch_operator.apply import Applier
from metricwatch_operator.errors import ApiError
from metricwatch_operator.gateway import Gateway, load_configuration
from metricwatch_operator.informers import (
    RESOURCES,
    InformerCache,
    build_readers,
    build_registry,
    build_settings,
    wait_for_resources,
)
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.pulse import Pulse, Stamps
from metricwatch_operator.queue import WorkQueue
from metricwatch_operator.reading import Reader
from metricwatch_operator.reconcile import Reconciler
from metricwatch_operator.records import Records
from metricwatch_operator.remembered import Remembered
from metricwatch_operator.settings import Settings
from metricwatch_operator.shared_clock import SharedClock
from metricwatch_operator.shelves import Key

log = structlog.get_logger(__name__)
_BEAT_SECONDS = 1.0
_COUNT_CONDITIONS_EVERY_BEATS = 15
_TRIM_EVERY_BEATS = 60
_STUCK_SECONDS = 60.0
_DATABASE_CONNECTIONS = 8


class Leader:
    """The reconciling half of the operator.

    Args:
        settings: Of the operator.
        location: Where the database is.
        metrics: Of the process.
        fence: Raises when another replica may lead; asked before each write.
    """

    def __init__(
        self,
        settings: Settings,
        location: DatabaseLocation,
        metrics: Metrics,
        *,
        fence: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._location = location
        self._metrics = metrics
        self._fence = fence
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._failed = False
        self._is_watching = threading.Event()
        self._beat_at = time.monotonic()
        self._watchers_seen_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="leader", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    async def wait(self) -> None:
        """Returns when the thread has ended, asked to or not."""
        while not self._ended.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Asks the thread to end; `wait` tells when it has."""
        self._stop.set()

    @property
    def failed(self) -> bool:
        """Whether the thread ended without being asked to."""
        return self._failed

    @property
    def is_watching(self) -> bool:
        """Whether the indices are complete and changes come in."""
        return self._is_watching.is_set()

    def problem(self) -> str:
        """What is wrong: the loop is stuck, or a watch ended for good (kopf #1276)."""
        now = time.monotonic()
        if self._ended.is_set():
            return "the reconciling thread has ended"
        if now - self._beat_at > _STUCK_SECONDS:
            return f"the reconciling loop has been stuck for {now - self._beat_at:.0f} s"
        if self.is_watching and now - self._watchers_seen_at > _STUCK_SECONDS:
            return "a watch of the API server ended and did not come back"
        return ""

    def _run(self) -> None:
        try:
            asyncio.run(self._lead())
        except Exception:
            self._failed = True
            log.exception("the reconciling thread failed")
        finally:
            self._ended.set()

    async def _lead(self) -> None:
        async with AsyncExitStack() as stack:
            gateway = Gateway(await load_configuration(), fence=self._fence)
            stack.push_async_callback(gateway.close)
            if not await self._wait_for_crds(gateway):
                return
            # One connection is the pulse's: it must not wait behind thousands of looks.
            database, own = [
                await stack.enter_async_context(self._database(connections))
                for connections in (_DATABASE_CONNECTIONS, 1)
            ]
            await self._work(gateway, Records(database, fence=self._fence), Records(own).stamps)

    def _database(self, connections: int) -> Database:
        return Database(
            self._location,
            application_name="metricwatch-operator",
            max_connections=connections,
        )

    async def _work(
        self, gateway: Gateway, records: Records, stamps: Callable[[], Awaitable[Stamps]]
    ) -> None:
        cache = InformerCache()
        remembered = Remembered(now=time.monotonic, share=cache.sharing.share)
        clock = SharedClock(records.time, changed=lambda: changed(None))
        applier = Applier(
            gateway,
            records,
            location=self._location,
            remembered=remembered,
            identity=self._settings.pod_name,
        )
        reconciler = Reconciler(
            cache=cache,
            records=records,
            applier=applier,
            remembered=remembered,
            location=self._location,
            config=self._settings.config(),
            metrics=self._metrics,
            now=clock.now,
        )
        queue: WorkQueue[Key] = WorkQueue(
            reconciler.reconcile, workers=self._settings.workers, on_failure=self._count_failure
        )
        loop = asyncio.get_running_loop()
        self._metrics.watch_queue(lambda: queue.depth, lambda: queue.oldest_age(loop.time()))
        kopf_stop = asyncio.Event()

        def changed(uid: str | None) -> None:
            _enqueue_changed(queue, cache, uid)

        pulse = Pulse(
            read=stamps,
            credentials=reconciler.credentials,
            changed=changed,
            every=self._settings.resync_seconds,
        )

        def enqueue(key: Key) -> None:
            self._metrics.last_event.set_to_current_time()
            queue.add(key)

        readers = build_readers(cache, gateway, enqueue, namespaces=self._settings.namespaces)
        await clock.look()
        await self._run_together(
            *(reader.run() for reader in readers),
            self._work_when_complete(queue, cache, gateway, readers),
            records.listen(changed),
            pulse.run(),
            clock.run(),
            self._beat(cache),
            informers=self._watch(cache, enqueue, kopf_stop),
            stop_informers=kopf_stop.set,
        )

    async def _run_together(
        self,
        *work: Coroutine[Any, Any, None],
        informers: Coroutine[Any, Any, None],
        stop_informers: Callable[[], None],
    ) -> None:
        """Runs until asked to stop, then ends the work before the informers it reads from."""
        tasks = [asyncio.create_task(one) for one in work]
        # kopf leaves tasks alone that were there before it, so it comes last.
        watching = asyncio.create_task(informers)
        asked = asyncio.create_task(self._wait_for_stop())
        done, _ = await asyncio.wait(
            {*tasks, watching, asked}, return_when=asyncio.FIRST_COMPLETED
        )
        for task in (*tasks, asked):
            task.cancel()
        await asyncio.gather(*tasks, asked, return_exceptions=True)
        stop_informers()
        with suppress(asyncio.CancelledError):
            await watching
        for task in done - {asked}:
            if not task.cancelled() and task.exception() is not None:
                raise RuntimeError("a part of the reconciling loop failed") from task.exception()
        if asked not in done:
            raise RuntimeError("a part of the reconciling loop ended by itself")

    async def _watch(
        self, cache: InformerCache, enqueue: Callable[[Key], None], stop: asyncio.Event
    ) -> None:
        await kopf.operator(
            registry=build_registry(cache, enqueue),
            settings=build_settings(),
            standalone=True,
            # Left to itself, kopf asks for the user's name, and a container's has none.
            identity=self._settings.pod_name,
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            stop_flag=stop,
        )

    async def _work_when_complete(
        self,
        queue: WorkQueue[Key],
        cache: InformerCache,
        gateway: Gateway,
        readers: Sequence[Reader],
    ) -> None:
        """Looks at nothing before everything is known: a model would seem to have no children."""
        await wait_for_resources(cache, gateway, namespaces=self._settings.namespaces)
        for reader in readers:
            await reader.listed.wait()
        cache.is_complete = True
        heap.settle()
        for key in cache.model_keys():
            queue.add(key)
        await queue.run()

    async def _beat(self, cache: InformerCache) -> None:
        beats, kopfs = 0, len(RESOURCES) * max(len(self._settings.namespaces), 1)
        while True:
            self._beat_at = time.monotonic()
            if _count_watchers() >= kopfs:
                self._watchers_seen_at = self._beat_at
                if cache.is_complete:
                    self._is_watching.set()
            if beats % _COUNT_CONDITIONS_EVERY_BEATS == 0:
                self._metrics.look_at(cache.resources())
            if beats % _TRIM_EVERY_BEATS == 0:
                heap.trim()
            beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def _wait_for_stop(self) -> None:
        while not self._stop.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.1)

    async def _wait_for_crds(self, gateway: Gateway) -> bool:
        """Waits until both resources are served; kopf would watch nothing for ever otherwise."""
        while not self._stop.is_set():
            self._beat_at = time.monotonic()
            try:
                served = await gateway.served_kinds("metricwatch.io/v1alpha1")
            except ApiError as error:
                log.warning("cannot ask for the served resources", error=str(error))
                served = frozenset()
            if {"AnomalyModel", "MetricWatch"} <= served:
                return True
            log.warning("the CRDs of metricwatch.io/v1alpha1 are not installed yet")
            await asyncio.sleep(2.0)
        return False

    def _count_failure(self, key: Key, error: Exception) -> None:
        reason = error.reason if isinstance(error, ApiError) else "Bug"
        self._metrics.errors.labels(reason).inc()
        self._metrics.reconciles.labels("failed").inc()


def _enqueue_changed(queue: WorkQueue[Key], cache: InformerCache, uid: str | None) -> None:
    if uid is None:
        for key in cache.model_keys():
            queue.add(key)
        return
    changed = cache.key_of_uid(uid)
    if changed is not None:
        queue.add(changed)


def _count_watchers() -> int:
    """How many of kopf's watches are alive; it names a task after each."""
    return sum(task.get_name().startswith("watcher for ") for task in asyncio.all_tasks())
