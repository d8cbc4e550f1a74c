"""Observe, plan, apply, for one key: the only place where the three meet."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from structlog.contextvars import bound_contextvars

from metricwatch.store.errors import (
    SchemaMismatch,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
)
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.rows import ModelOverview
from metricwatch_operator.apply import Applier, digest_of
from metricwatch_operator.comparisons import Comparisons
from metricwatch_operator.errors import Forbidden, Retryable, Terminal
from metricwatch_operator.informers import InformerCache
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.actions import Plan
from metricwatch_operator.planning.comparing import wanted_comparison
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.plan import plan
from metricwatch_operator.planning.rest import AFTER_A_WRITE_SECONDS
from metricwatch_operator.records import Records, store_problem
from metricwatch_operator.remembered import Remembered
from metricwatch_operator.shelves import Key

_AFTER_A_REFUSAL_SECONDS = 30.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Reconciler:
    """Brings one model, and the watches that refer to it, closer to what they ask for.

    Args:
        cache: What the informers know.
        records: The database.
        applier: Carries out plans.
        remembered: What this process wrote.
        location: Where the database is.
        config: What an administrator decided.
        metrics: Counts outcomes.
        now: The time.
    """

    def __init__(
        self,
        *,
        cache: InformerCache,
        records: Records,
        applier: Applier,
        remembered: Remembered,
        location: DatabaseLocation,
        config: Config,
        metrics: Metrics,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._cache = cache
        self._records = records
        self._comparisons = Comparisons(records)
        self._applier = applier
        self._remembered = remembered
        self._location = location
        self._config = config
        self._metrics = metrics
        self._now = now
        self._uids: dict[Key, str] = {}
        self._counter = itertools.count(1)

    async def reconcile(self, key: Key) -> float | None:
        """One step; gives the seconds until the next look, None to wait for an event.

        Raises:
            Retryable: The step was not completed and should be tried again.
        """
        started = time.monotonic()
        try:
            with bound_contextvars(object="/".join(key), reconcile=next(self._counter)):
                wait, outcome = await self._step(key)
        finally:
            self._metrics.seconds.observe(time.monotonic() - started)
        self._metrics.reconciles.labels(outcome).inc()
        return wait

    async def _step(self, key: Key) -> tuple[float | None, str]:
        observed = await self._observe(key)
        steps = plan(observed, now=self._now(), config=self._config)
        try:
            await self._applier.apply(steps, observed.model)
        except StoreError as error:
            raise await self._report_store(observed, error) from error
        except (Terminal, Forbidden) as error:
            problem = Problem(error.reason, str(error))
            raise await self._report_refusal(observed, problem) from error
        self._metrics.count(steps.writes)
        if observed.memory.refusal is not None and observed.model is not None:
            self._remembered.refused(observed.model["metadata"]["uid"], None)
            return AFTER_A_WRITE_SECONDS, "changed"
        return steps.requeue_after, "unchanged" if steps.is_empty else "changed"

    async def _observe(self, key: Key) -> Observed:
        namespace, name = key
        cached = self._cache.model(key)
        self._forget_others(key, cached["metadata"]["uid"] if cached else "")
        watches = tuple(self._remembered.newest(watch) for watch in self._cache.watches(key))
        if cached is None:
            return Observed(namespace, name, watches=watches)
        model = self._remembered.newest(cached)
        children = {
            kind: tuple(
                self._remembered.newest(child) for child in self._cache.children(kind, key)
            )
            for kind in ("jobs", "deployments", "pods")
        }
        uid = model["metadata"]["uid"]
        overview, problem = await self._look_into_store(uid)
        observed = Observed(
            namespace,
            name,
            model=model,
            watches=watches,
            jobs=children["jobs"],
            deployments=children["deployments"],
            pods=children["pods"],
            overview=overview,
            store_problem=problem,
            memory=self._remembered.recall(uid, url_digest=self.credentials()),
        )
        return await self._compare(observed)

    async def _compare(self, observed: Observed) -> Observed:
        """The same look, with two versions compared when a decision hangs on it."""
        if observed.overview is None:
            return observed
        wanted = wanted_comparison(observed, now=self._now())
        found = await self._comparisons.read(observed.overview.id, wanted)
        return replace(observed, comparison=found)

    async def _look_into_store(self, uid: str) -> tuple[ModelOverview | None, Problem | None]:
        try:
            return await self._records.read(uid), None
        except StoreError as error:
            return None, store_problem(error)

    def credentials(self) -> str:
        """A digest of how the database is reached, which is copied beside each model."""
        try:
            return digest_of(self._location.content())
        except StoreMisconfigured:
            return ""

    def _forget_others(self, key: Key, uid: str) -> None:
        before = self._uids.get(key)
        if before and before != uid:
            self._remembered.forget(before)
        if uid:
            self._uids[key] = uid
        else:
            self._uids.pop(key, None)

    async def _report_store(self, observed: Observed, error: StoreError) -> Retryable:
        """Says that the database went away in the middle; the queue tries again."""
        if isinstance(error, StoreUnavailable | SchemaMismatch):
            blind = replace(observed, overview=None, store_problem=store_problem(error))
            await self._applier.tell(self._replan(blind))
        return Retryable(str(error), reason=error.reason)

    async def _report_refusal(self, observed: Observed, problem: Problem) -> Retryable:
        """Says why the API server refuses what was planned; asking again rarely helps."""
        if observed.model is not None:
            self._remembered.refused(observed.model["metadata"]["uid"], problem)
            refused = replace(observed, memory=replace(observed.memory, refusal=problem))
            await self._applier.tell(self._replan(refused))
        return Retryable(problem.message, reason=problem.reason, delay=_AFTER_A_REFUSAL_SECONDS)

    def _replan(self, observed: Observed) -> Plan:
        return plan(observed, now=self._now(), config=self._config)
