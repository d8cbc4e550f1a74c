"""Hearing of changes made by other processes, over a connection of its own.

Notifications are a shortcut, never the only way to learn something: those sent while the
connection is away are lost. After every (re)connection the callback is therefore called once with
None, which means that anything may have changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import structlog

from metricwatch.store.errors import StoreError
from metricwatch.store.notify import CHANNEL
from metricwatch.store.pool import Database

_log = structlog.get_logger(__name__)

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
PROBE_SECONDS = 20.0
"""A silent connection is asked this often if it is still there: firewalls drop them quietly."""


async def listen(
    database: Database,
    callback: Callable[[str | None], None],
    *,
    channel: str = CHANNEL,
    longest_pause: float = LONGEST_PAUSE,
) -> None:
    """Call back with each payload of `channel`, and with None after connecting; until cancelled.

    The callback runs in the event loop and should only make a note. Errors of the database are
    waited out, with a pause that doubles up to `longest_pause` seconds.
    """
    failures = 0
    while True:
        try:
            async with database.connect() as connection:
                lost = asyncio.Event()
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                async with asyncio.timeout(PROBE_SECONDS):
                    await connection.add_listener(
                        channel, lambda _connection, _pid, _channel, payload: callback(payload)
                    )
                failures = 0
                callback(None)
                await _until_lost(connection, lost)
        except StoreError as error:
            if failures == 0:
                _log.warning(
                    "not listening", channel=channel, reason=error.reason, error=str(error)
                )
            failures += 1
        # Jitter: after a restart of PostgreSQL not everybody knocks in the same moment.
        pause = min(longest_pause, SHORTEST_PAUSE * 2 ** min(failures, 16))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


async def _until_lost(connection: Any, lost: asyncio.Event) -> None:
    while not lost.is_set():
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await lost.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=PROBE_SECONDS)
