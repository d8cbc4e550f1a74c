"""Which replica reconciles: one Lease, after client-go's leader election.

Time is the local monotonic clock only: another holder's record counts as alive for its duration
after *we* saw it change, so clocks of two nodes never need to agree. A holder that cannot renew
gives up before anybody else may take over, writes nothing from then on, and one that stops in good
order hands the Lease back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from metricwatch_operator.errors import ApiError, Fenced, NotFound
from metricwatch_operator.gateway import Gateway
from metricwatch_operator.objects import Ref

log = structlog.get_logger(__name__)


class LeaseLost(Exception):
    """The Lease could not be renewed in time, or somebody else holds it."""


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds; `duration > deadline > retry`, or two replicas may both believe that they lead."""

    duration: int = 15
    deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not self.duration > self.deadline > self.retry > 0:
            raise ValueError("lease timing must satisfy duration > deadline > retry > 0")


class Election:
    """One replica's part in the election.

    Args:
        gateway: The API server.
        namespace: Of the Lease.
        name: Of the Lease.
        identity: Of this replica, unique among them.
        timing: How long is how long.
        now: A monotonic clock in seconds.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        namespace: str,
        name: str,
        identity: str,
        timing: LeaseTiming | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._ref = Ref("coordination.k8s.io/v1", "Lease", namespace, name)
        self._identity = identity
        self._timing = timing or LeaseTiming()
        self._now = now
        self._seen: tuple[Any, ...] = ()
        self._seen_at = float("-inf")
        # When the request that last succeeded was *sent*: others count from its arrival, which is
        # later.
        self._renewed_at = float("-inf")
        self._held: dict[str, Any] | None = None
        self.contacted_at = float("-inf")
        """When the API server last let us see the Lease, by the clock given."""

    async def acquire(self) -> None:
        """Returns as soon as this replica leads."""
        while True:
            asked_at = self._now()
            try:
                if await self._try():
                    self._renewed_at = asked_at
                    return
            except ApiError as error:
                log.warning("cannot take the lease", error=str(error))
            await asyncio.sleep(self._timing.retry)

    async def hold(self) -> None:
        """Renews for as long as this replica leads.

        Raises:
            LeaseLost: The Lease went to somebody else, or was not renewed within the deadline.
        """
        while True:
            await asyncio.sleep(self._timing.retry)
            left = self._timing.deadline - (self._now() - self._renewed_at)
            asked_at = self._now()
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    if not await self._try():
                        raise LeaseLost("another replica holds the lease")
                self._renewed_at = asked_at
            except (ApiError, TimeoutError) as error:
                if self._now() - self._renewed_at >= self._timing.deadline:
                    raise LeaseLost(f"the lease was not renewed in time: {error}") from error
                log.warning("cannot renew the lease", error=str(error))

    def require(self) -> None:
        """Returns while this replica leads for certain; asked before each write, by any thread.

        A process that was frozen finds out here before it finds out in `hold`: what it was about
        to write when time stopped is not written when time goes on.

        Raises:
            Fenced: The Lease was not renewed in time, so another replica may lead.
        """
        silent = self._now() - self._renewed_at
        if silent >= self._timing.deadline:
            message = f"the lease was renewed {silent:.0f} s ago: another replica may lead"
            raise Fenced(message, reason="NotLeading")

    async def release(self) -> None:
        """Hands the Lease back, so that the next replica need not wait for it to expire."""
        if self._held is None:
            return
        spec = {**self._held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        lease = {**self._held, "spec": {**spec, "renewTime": _micro_time()}}
        self._held = None
        try:
            async with asyncio.timeout(self._timing.retry):
                await self._gateway.replace(lease)
        except (ApiError, TimeoutError) as error:
            log.warning("cannot hand the lease back", error=str(error))

    async def _try(self) -> bool:
        try:
            lease = await self._gateway.read(self._ref)
        except NotFound:
            self._held = await self._gateway.create(self._lease({}, transitions=0, fresh=True))
            self.contacted_at = self._now()
            return True
        self.contacted_at = self._now()
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._is_expired(spec):
            self._held = None
            return False
        taken_over = holder != self._identity
        transitions = int(spec.get("leaseTransitions") or 0) + int(taken_over)
        renewed = self._lease(lease, transitions=transitions, fresh=taken_over)
        self._held = await self._gateway.replace(renewed)
        return True

    def _is_expired(self, spec: dict[str, Any]) -> bool:
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen:
            self._seen, self._seen_at = record, self._now()
        duration = float(spec.get("leaseDurationSeconds") or self._timing.duration)
        return self._now() - self._seen_at > duration

    def _lease(self, lease: dict[str, Any], *, transitions: int, fresh: bool) -> dict[str, Any]:
        now = _micro_time()
        spec = {
            **(lease.get("spec") or {}),
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._timing.duration,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        if fresh:
            spec["acquireTime"] = now
        metadata = lease.get("metadata") or {
            "name": self._ref.name,
            "namespace": self._ref.namespace,
        }
        kind = {"apiVersion": self._ref.api_version, "kind": self._ref.kind}
        return {**kind, "metadata": metadata, "spec": spec}


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
