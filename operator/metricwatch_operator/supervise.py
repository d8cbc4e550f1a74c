"""The process: signals, the Lease, the HTTP endpoints; whoever leads also reconciles.

```
main thread    signals ── Lease ── /healthz /readyz /metrics
                           │ while leading
leader thread              └── informers ─► queue ─► reconcile ─► API server, PostgreSQL
```

Losing the Lease ends the process at once: another replica may be reconciling already. Until it has
ended, each write asks the Lease first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack

import structlog

from metricwatch.store.location import DatabaseLocation
from metricwatch_operator.endpoints import serve_endpoints
from metricwatch_operator.gateway import Gateway, load_configuration
from metricwatch_operator.leader import Leader
from metricwatch_operator.lease import Election, LeaseLost
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.settings import Settings

log = structlog.get_logger(__name__)
_LEASE_REQUEST_SECONDS = 5.0
_STOP_SECONDS = 25.0
_SILENT_SECONDS = 30.0


async def supervise(settings: Settings, location: DatabaseLocation) -> int:
    """Runs the operator until SIGTERM or SIGINT; gives the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        gateway = Gateway(await load_configuration(), timeout_seconds=_LEASE_REQUEST_SECONDS)
        stack.push_async_callback(gateway.close)
        election = Election(
            gateway,
            namespace=settings.pod_namespace,
            name=settings.lease_name,
            identity=settings.pod_name,
        )
        leader = Leader(settings, location, metrics, fence=election.require)
        state = _State(election, leader)
        runner = await serve_endpoints(
            port=settings.port,
            registry=metrics.registry,
            healthy=state.health_problem,
            ready=state.readiness_problem,
        )
        stack.push_async_callback(runner.cleanup)
        log.info("started", identity=settings.pod_name, port=settings.port)
        if not await _until(stop, election.acquire()):
            return 0
        log.info("leading", lease=settings.lease_name)
        metrics.leader.set(1)
        state.is_leading = True
        return await _lead(stop, election, leader)


async def _lead(stop: asyncio.Event, election: Election, leader: Leader) -> int:
    holding = asyncio.create_task(election.hold())
    leader.start()
    ended = asyncio.create_task(leader.wait())
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({holding, ended, asked}, return_when=asyncio.FIRST_COMPLETED)
    leader.stop()
    # Renewed until the last reconcile is over: nobody else may start before.
    await asyncio.wait(
        {holding, ended}, timeout=_STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    if holding.done():
        _leave_at_once(holding)
    holding.cancel()
    asked.cancel()
    if not ended.done():
        log.error("the reconciling thread does not end; leaving it behind")
        os._exit(1)
    await election.release()
    log.info("stopped")
    return 1 if leader.failed else 0


def _leave_at_once(holding: asyncio.Task[None]) -> None:
    error = holding.exception()
    log.error("no longer leading", error=str(error), expected=isinstance(error, LeaseLost))
    # No clean-up: every further write could cross one of the new leader's.
    os._exit(1)


async def _until(stop: asyncio.Event, work: object) -> bool:
    """Whether the work came to its end before the process was asked to stop."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    task.result()
    return True


class _State:
    """What the probes ask for."""

    def __init__(self, election: Election, leader: Leader) -> None:
        self._election = election
        self._leader = leader
        self.is_leading = False

    def health_problem(self) -> str:
        """Only what a restart mends; a database or API server that is away is not of that kind."""
        return self._leader.problem() if self.is_leading else ""

    def readiness_problem(self) -> str:
        """A leader that watches is ready, and so is a standby that could take over."""
        if time.monotonic() - self._election.contacted_at > _SILENT_SECONDS:
            return "the API server does not answer, or does not let this replica see the lease"
        if self.is_leading and not self._leader.is_watching:
            return "the watches are not established yet"
        return ""
