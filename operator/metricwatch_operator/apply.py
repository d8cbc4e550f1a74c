"""Carrying out a plan, in a fixed order, status last.

Being interrupted anywhere is harmless: each step bears being done again, and what was not done is
planned again by the next look.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from metricwatch.store.location import DatabaseLocation
from metricwatch.words import cut, visible
from metricwatch_operator.errors import ApiError, Conflict, NotFound
from metricwatch_operator.gateway import Gateway
from metricwatch_operator.objects import Manifest, Ref
from metricwatch_operator.planning.actions import Assign, News, Plan
from metricwatch_operator.planning.children import Owner, build_database_secret
from metricwatch_operator.planning.names import FINALIZER
from metricwatch_operator.records import Records
from metricwatch_operator.remembered import Remembered

log = structlog.get_logger(__name__)
# Bytes, as the API server counts them.
_LONGEST_NOTE = 1024


class Applier:
    """Carries out plans.

    Args:
        gateway: The API server.
        records: The database.
        location: Where the database is, for the Secret beside each model.
        remembered: Told of what was written.
        identity: Of this process, for events.
    """

    def __init__(
        self,
        gateway: Gateway,
        records: Records,
        *,
        location: DatabaseLocation,
        remembered: Remembered,
        identity: str,
    ) -> None:
        self._gateway = gateway
        self._records = records
        self._location = location
        self._remembered = remembered
        self._identity = identity

    async def apply(self, plan: Plan, model: Manifest | None) -> None:
        """Carries out a plan about a model.

        Raises:
            ApiError: The API server did not do what it was asked to.
            metricwatch.store.errors.StoreError: Neither did PostgreSQL.
        """
        if plan.finalizer is True and model is not None:
            await self._set_finalizers(model, [FINALIZER])
        for step in plan.writes:
            await self._records.write(step)
            log.info("wrote", step=type(step).__name__, **_essence(step))
            if isinstance(step, Assign):
                self._remembered.assigned(step.uid, step.digest)
        if plan.database_secret is not None and model is not None:
            await self._apply_database_secret(model, plan.database_secret)
        await self._change_children(plan)
        if plan.finalizer is False and model is not None:
            await self._set_finalizers(model, [])
        await self.tell(plan)

    async def tell(self, plan: Plan) -> None:
        """Writes the statuses of a plan, then its events; nothing else."""
        for status in plan.statuses:
            try:
                written = await self._gateway.apply(status, subresource="status")
            except NotFound:
                continue  # It went: its own event is on the way.
            self._remembered.wrote(written)
        for news in plan.news:
            await self._post(news)

    async def _change_children(self, plan: Plan) -> None:
        for job in plan.creates:
            try:
                await self._gateway.create(job)
            except Conflict:
                continue  # The cache is behind: it was made before.
            log.info("created", kind=job["kind"], name=job["metadata"]["name"])
        for manifest in plan.applies:
            self._remembered.wrote(await self._gateway.apply(manifest))
            log.info("applied", kind=manifest["kind"], name=manifest["metadata"]["name"])
        for ref in plan.deletions:
            try:
                await self._gateway.delete(ref)
            except Conflict:
                continue  # Another object of this name by now.
            log.info("deleted", kind=ref.kind, name=ref.name)

    async def _set_finalizers(self, model: Manifest, finalizers: list[str]) -> None:
        metadata = model["metadata"]
        manifest = {
            "apiVersion": model["apiVersion"],
            "kind": model["kind"],
            "metadata": {
                **{name: metadata[name] for name in ("name", "namespace", "uid")},
                "finalizers": finalizers,
            },
        }
        try:
            self._remembered.wrote(await self._gateway.apply(manifest))
        except (NotFound, Conflict):
            if finalizers:
                raise

    async def _apply_database_secret(self, model: Manifest, pods: frozenset[str]) -> None:
        metadata = model["metadata"]
        owner = Owner(metadata["namespace"], metadata["name"], metadata["uid"])
        content = self._location.content()
        await self._gateway.apply(build_database_secret(owner, content=content))
        self._remembered.shared_database(metadata["uid"], digest_of(content), pods=pods)

    async def _post(self, news: News) -> None:
        subject = Ref.of(news.subject)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{subject.name[:200]}.{uuid.uuid4().hex[:16]}",
                "namespace": subject.namespace,
            },
            "eventTime": now,
            "reportingController": "metricwatch.io/operator",
            "reportingInstance": self._identity[:128],
            "action": "Reconcile",
            "reason": news.reason[:128],
            "type": news.type,
            "note": cut(visible(news.message), most=_LONGEST_NOTE),
            "regarding": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                "name": subject.name,
                "namespace": subject.namespace,
                "uid": subject.uid,
            },
        }
        log.info(news.message, reason=news.reason, kind=subject.kind, name=subject.name)
        try:
            await self._gateway.create(event)
        except ApiError as error:
            # Events are a courtesy; a namespace that is going away takes none.
            log.warning("cannot post an event", reason=news.reason, error=str(error))


def digest_of(content: Mapping[str, bytes]) -> str:
    """A digest to notice a change by, of something that is not to be kept itself."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(content.items()):
        found.update(f"{name} {len(value)}\n".encode() + value)
    return found.hexdigest()


def _essence(step: Any) -> Mapping[str, Any]:
    names = ("version", "state", "reason", "attempt", "keep")
    found = {name: getattr(step, name) for name in names if hasattr(step, name)}
    return {"uid": getattr(step, "uid", None) or step.model_uid} | found
