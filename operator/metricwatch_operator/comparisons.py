"""Comparisons of two versions, read from the database no more often than they are worth.

A comparison counts scores, which is more work than the rest of a look at a model. It is kept for a
while, and for longer the longer it took: so of many models no one takes the database from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from metricwatch.store.errors import StoreError
from metricwatch.store.rows import Comparison
from metricwatch_operator.planning.comparing import WantedComparison
from metricwatch_operator.records import Records

LEAST_AGE_SECONDS = 10.0
_SHARE_OF_TIME = 1 / 20
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    of: tuple[int, int]
    found: Comparison
    until: float


class Comparisons:
    """What was compared lately, by model.

    Args:
        records: The database.
        now: A monotonic clock in seconds.
    """

    def __init__(self, records: Records, *, now: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._now = now
        self._kept: dict[int, _Kept] = {}

    async def read(self, model_id: int, wanted: WantedComparison | None) -> Comparison | None:
        """What is wanted, a few seconds old at most; None when nothing is, or it cannot be had.

        A decision that needs a comparison waits for one; everything else about the model goes on.
        """
        if wanted is None:
            self._kept.pop(model_id, None)
            return None
        kept, of = self._kept.get(model_id), (wanted.version, wanted.against)
        if kept is not None and kept.of == of and self._now() < kept.until:
            return kept.found
        started = self._now()
        try:
            found = await self._records.compare(
                model_id, version=wanted.version, against=wanted.against, since=wanted.since
            )
        except StoreError as error:
            log.warning("cannot compare versions", model=model_id, error=str(error))
            return None
        ended = self._now()
        age = max(LEAST_AGE_SECONDS, (ended - started) / _SHARE_OF_TIME)
        self._kept[model_id] = _Kept(of, found, ended + age)
        return found
