"""What no event tells of, for all models at once, so that a model at rest costs next to nothing.

```
every few seconds    one statement: a stamp for each model ──► those whose stamp is another one
the database is away, twice in a row ──► every model says so    are looked at
it came back after that ───────────────► every model is looked at
the URL changed ───────────────────────► every model is looked at
```

A look that follows a pulse sees at least what the pulse saw, and whatever changes after it changes
the next stamp, so nothing is missed; what a stamp leaves out waits for the model's own moment
(`planning.rest`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from metricwatch.store.errors import StoreError

log = structlog.get_logger(__name__)
WHILE_AWAY_SECONDS = 5.0
_FAILURES_THAT_TELL = 2

Stamps = Mapping[str, str]


def changed_since(before: Stamps, now: Stamps) -> frozenset[str]:
    """Uids whose stamp is another one than before, came, or went.

    >>> sorted(changed_since({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"}))
    ['b', 'c', 'd']
    """
    return frozenset(uid for uid in before.keys() | now.keys() if before.get(uid) != now.get(uid))


class Pulse:
    """Looks after what no event tells of.

    Args:
        read: The stamp of each model, by uid; raises `StoreError`.
        credentials: A digest of how the database is reached.
        changed: Told the uid of a model to look at; None means all of them.
        every: Seconds between two looks.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Awaitable[Stamps]],
        credentials: Callable[[], str],
        changed: Callable[[str | None], None],
        every: float,
    ) -> None:
        self._read = read
        self._credentials = credentials
        self._changed = changed
        self._every = every
        self._stamps: Stamps | None = None
        self._failures = 0
        self._known_credentials: str | None = None

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(min(self._every, WHILE_AWAY_SECONDS if self._failures else 3600.0))

    async def beat(self) -> None:
        """One look.

        One that fails alone tells nothing: a database with much to do answers the next one, and
        thousands of looks would be more to do. Stamps that are known stay, so what changed in
        between is noticed.
        """
        credentials = self._credentials()
        is_another = self._known_credentials not in (None, credentials)
        self._known_credentials = credentials
        try:
            stamps = await self._read()
        except StoreError as error:
            log.warning("cannot ask what changed", reason=error.reason, error=str(error))
            self._failures += 1
            if self._failures == _FAILURES_THAT_TELL:
                self._changed(None)
            return
        was_away, self._failures = self._failures >= _FAILURES_THAT_TELL, 0
        before, self._stamps = self._stamps, stamps
        if before is None or is_another or was_away:
            self._changed(None)
            return
        for uid in sorted(changed_since(before, stamps)):
            self._changed(uid)
