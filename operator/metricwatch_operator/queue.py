"""Keys that want a reconcile, each at most once at a time.

client-go's work queue in the few lines that are needed: a key that is added while it waits is one
key, a key that is added while it is reconciled is reconciled once more afterwards, a key that
fails comes back after a growing delay. Nothing here knows about Kubernetes. All methods belong to
one event loop and none is safe to call from another thread.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from metricwatch_operator.errors import Retryable

Key = TypeVar("Key", bound=Hashable)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays after the first, second, … failure in a row: `first * 2**n`, at most `longest`.

    >>> [Backoff(jitter=0).delay(failures, 0.5) for failures in (1, 2, 3, 20)]
    [0.5, 1.0, 2.0, 60.0]
    """

    first: float = 0.5
    longest: float = 60.0
    jitter: float = 0.2

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures; `chance` in [0, 1) spreads keys apart."""
        exponent = min(failures - 1, 32)
        delay = min(self.first * 2.0**exponent, self.longest)
        return delay * (1 + self.jitter * (2 * chance - 1))


class WorkQueue(Generic[Key]):
    """Reconciles keys with a bounded number of workers.

    Args:
        reconcile: Gives the seconds until the next look at the key, or None to wait for an event.
        workers: How many keys are reconciled at the same time.
        backoff: Delays after failures.
        on_failure: Told of each failure, for metrics.
    """

    def __init__(
        self,
        reconcile: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int = 16,
        backoff: Backoff | None = None,
        on_failure: Callable[[Key, Exception], None] = lambda key, error: None,
    ) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._backoff = backoff or Backoff()
        self._on_failure = on_failure
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._dirty: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Asks for a reconcile now."""
        if key in self._dirty:
            return
        self._dirty[key] = asyncio.get_running_loop().time()
        if key not in self._running:
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Asks for a reconcile in `seconds`; of several wishes for a key the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._ring, key)

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._dirty)

    def oldest_age(self, now: float) -> float:
        """Seconds that the key waiting longest has waited; 0 when none waits.

        Args:
            now: The time of the event loop; scrapes ask from outside of it.
        """
        return max((now - since for since in list(self._dirty.values())), default=0.0)

    async def run(self) -> None:
        """Works until cancelled; a reconcile that is under way is cancelled with it."""
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(self._workers):
                    workers.create_task(self._work())
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def _ring(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._dirty.pop(key, None)
            self._running.add(key)
            timer = self._timers.pop(key, None)
            if timer is not None:
                timer.cancel()
            try:
                await self._attempt(key)
            finally:
                self._running.discard(key)
            if key in self._dirty:
                self._ready.put_nowait(key)

    async def _attempt(self, key: Key) -> None:
        try:
            again = await self._reconcile(key)
        except Exception as error:  # noqa: BLE001 - the one place where a bug must not end the loop
            self._on_failure(key, error)
            self.add_after(key, self._delay(key, error))
            return
        self._failures.pop(key, None)
        if again is not None:
            self.add_after(key, again)

    def _delay(self, key: Key, error: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(failures, random.random())  # noqa: S311 - spreads load only
        if isinstance(error, Retryable):
            log.warning("reconcile failed", key=key, error=str(error), retry_in=round(delay, 1))
            return max(delay, error.delay or 0.0)
        log.error("reconcile failed by a bug", key=key, retry_in=round(delay, 1), exc_info=error)
        return delay
