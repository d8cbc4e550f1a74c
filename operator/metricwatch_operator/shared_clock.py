"""The time as the database has it: what one operator wrote down, another one compares with now.

Rows carry times of the database, and a status those of whichever operator led. Two nodes whose
clocks are minutes apart would wait for minutes, or not at all, where seconds are meant.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from metricwatch.sources.server_clock import ServerClock
from metricwatch.store.errors import StoreError

log = structlog.get_logger(__name__)
_EVERY_SECONDS = 15.0
_HALF_A_SECOND = 0.5


class SharedClock:
    """Our clock, put right by the database's when they are more than two seconds apart.

    Args:
        read: Whole unix seconds of the database; raises `StoreError`.
        changed: Called when it was put right.
        own: Our clock.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[int]],
        *,
        changed: Callable[[], None],
        own: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._changed = changed
        self._own = own
        self._database = ServerClock()

    def now(self) -> datetime:
        """The time."""
        return datetime.fromtimestamp(self._own() + self._database.ahead, UTC)

    async def look(self) -> None:
        """Compares the clocks; while the database is away what was known last holds."""
        sent, before = self._own(), self._database.ahead
        with suppress(StoreError):
            moment = await self._read() + _HALF_A_SECOND
            self._database.hear(moment, sent=sent, received=self._own())
        if self._database.ahead != before:
            log.warning("the clock differs", database_ahead_seconds=self._database.ahead)
            self._changed()

    async def run(self) -> None:
        """Looks again and again until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            await self.look()
