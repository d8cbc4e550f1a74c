"""Children of one kind: listed page by page once, then followed for ever.

```
list ──► follow from that revision ──► ended in good order: follow on from the newest revision
  ▲                                  no answer: the same, after a growing delay
  └───────────────────────────────── the revision is too old
```

kopf does the same for what people write, with a queue, a task and a memory for each object. Of
children there are several for each of thousands of models, nothing is to be done about one but to
look at its model, and each of their changes should be in a status at once; so they are read here,
where a change is one call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Protocol

import structlog

from metricwatch_operator.errors import ApiError, Away, Expired, Retryable
from metricwatch_operator.objects import Ref
from metricwatch_operator.shelves import Key, Shelf

log = structlog.get_logger(__name__)
PAGE = 100
"""Objects that are asked for at once. All of one answer are in memory beside those kept."""
_LASTED_SECONDS = 5.0


class Source(Protocol):
    """What a reader asks; `Gateway` is one."""

    async def read_page(
        self, kind: Ref, *, selector: str, limit: int, token: str
    ) -> dict[str, Any]:
        """Some objects."""

    async def follow(
        self,
        kind: Ref,
        *,
        selector: str,
        revision: str,
        told: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """What happens to them."""


async def read_uids(source: Source, kind: Ref) -> AsyncIterator[str]:
    """The uid of each object of a kind, in one namespace or all."""
    token = ""
    while True:
        page = await source.read_page(kind, selector="", limit=PAGE, token=token)
        for one in page["items"]:
            yield one["metadata"]["uid"]
        token = page["metadata"].get("continue", "")
        if not token:
            return


class EndlessBackoff:
    """Delays between attempts at a request: one second, doubling to a minute, for ever."""

    def __iter__(self) -> Iterator[float]:
        delay = 1.0
        while True:
            yield delay
            delay = min(delay * 2, 60.0)


class Reader:
    """Keeps a shelf as the API server has it.

    Args:
        source: The API server.
        kind: What is read, in one namespace or all.
        selector: Of labels that it has.
        shelf: Where it is put.
        changed: Told each key that a change concerns.
        sleep: Waits some seconds.
        now: A monotonic clock in seconds.
    """

    def __init__(
        self,
        source: Source,
        kind: Ref,
        *,
        selector: str,
        shelf: Shelf,
        changed: Callable[[Key], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._kind = kind
        self._selector = selector
        self._shelf = shelf
        self._changed = changed
        self._sleep = sleep
        self._now = now
        self._revision = ""
        self._heard = False
        self._delays = iter(EndlessBackoff())
        self.listed = asyncio.Event()
        """Set when the shelf holds everything that there was once."""

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            try:
                await self._read()
            except ApiError as error:
                if isinstance(error, Expired):
                    # Nothing that anybody should hear of: of a quiet kind this is usual.
                    self._revision = ""
                    await self._sleep(next(self._delays))
                    continue
                asked = error.delay if isinstance(error, Retryable) else None
                delay = max(next(self._delays), asked or 0.0)
                log.warning("cannot watch", kind=self._kind.kind, error=str(error), retry_in=delay)
                await self._sleep(delay)

    async def _read(self) -> None:
        if not self._revision:
            await self._list()
        self._heard, began = False, self._now()
        await self._source.follow(
            self._kind, selector=self._selector, revision=self._revision, told=self._told
        )
        if self._now() - began >= _LASTED_SECONDS:
            self._delays = iter(EndlessBackoff())
        elif not self._heard:
            raise Away("a watch ended as soon as it began", reason="ApiAway")

    async def _list(self) -> None:
        seen, token = set[str](), ""
        while True:
            page = await self._source.read_page(
                self._kind, selector=self._selector, limit=PAGE, token=token
            )
            self._delays = iter(EndlessBackoff())
            for one in page["items"]:
                seen.add(one["metadata"]["uid"])
                # Parts of a list do not say what they are.
                named = {"apiVersion": self._kind.api_version, "kind": self._kind.kind, **one}
                self._tell(self._shelf.put(named))
            token = page["metadata"].get("continue", "")
            if not token:
                break
        self._tell(self._shelf.retain(seen, namespace=self._kind.namespace))
        self._revision = page["metadata"]["resourceVersion"]
        self.listed.set()

    def _told(self, event: str, manifest: dict[str, Any]) -> None:
        self._heard = True
        self._delays = iter(EndlessBackoff())
        if event == "DELETED":
            self._tell(self._shelf.drop(manifest["metadata"]["uid"]))
        elif event != "BOOKMARK":
            self._tell(self._shelf.put(manifest))
        self._revision = manifest["metadata"]["resourceVersion"]

    def _tell(self, keys: frozenset[Key]) -> None:
        for key in keys:
            self._changed(key)
