"""Leader election against a Lease that two replicas write, in virtual time.

The Lease lives in memory here because what matters is time: a real API server is in the
integration tests.
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from metricwatch_operator.errors import Away, Conflict, Fenced, NotFound
from metricwatch_operator.gateway import Gateway
from metricwatch_operator.lease import Election, LeaseLost, LeaseTiming

pytestmark = pytest.mark.looptime


@dataclass
class LeaseServer:
    """Keeps one Lease with optimistic locking, and may be away."""

    lease: dict[str, Any] | None = None
    away: bool = False
    hangs: bool = False
    writes: list[str] = field(default_factory=list)

    async def read(self, ref: object) -> dict[str, Any]:
        await self._answer()
        if self.lease is None:
            raise NotFound("no lease", reason="NotFound")
        return copy.deepcopy(self.lease)

    async def create(self, lease: dict[str, Any]) -> dict[str, Any]:
        await self._answer()
        if self.lease is not None:
            raise Conflict("exists", reason="AlreadyExists")
        return self._write(lease, 1)

    async def replace(self, lease: dict[str, Any]) -> dict[str, Any]:
        await self._answer()
        assert self.lease is not None
        if lease["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed", reason="Conflict")
        return self._write(lease, int(lease["metadata"]["resourceVersion"]) + 1)

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.away:
            raise Away("no answer", reason="ApiAway")

    def _write(self, lease: dict[str, Any], version: int) -> dict[str, Any]:
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(version)
        self.writes.append(lease["spec"]["holderIdentity"])
        return copy.deepcopy(self.lease)


def _election(server: LeaseServer, identity: str) -> Election:
    return Election(
        cast(Gateway, server),
        namespace="system",
        name="metricwatch-operator",
        identity=identity,
        now=lambda: asyncio.get_running_loop().time(),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_first_replica_leads_at_once() -> None:
    server = LeaseServer()
    await _election(server, "one").acquire()
    assert server.writes == ["one"]


async def test_a_second_replica_waits_while_the_first_renews() -> None:
    server = LeaseServer()
    first, second = _election(server, "one"), _election(server, "two")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(300)
    assert not waiting.done()
    assert set(server.writes) == {"one"}
    holding.cancel()
    waiting.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)


async def test_a_lease_that_is_handed_back_is_taken_within_a_retry() -> None:
    server = LeaseServer()
    first, second = _election(server, "one"), _election(server, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(10)
    released = _now()
    await first.release()
    await waiting
    assert _now() - released <= LeaseTiming().retry + 0.1
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


async def test_a_replica_that_died_is_replaced_after_the_lease_duration_and_not_before() -> None:
    server = LeaseServer()
    first, second = _election(server, "one"), _election(server, "two")
    await first.acquire()
    died = _now()
    await second.acquire()
    timing = LeaseTiming()
    assert timing.duration < _now() - died <= timing.duration + 2 * timing.retry


async def test_a_leader_that_cannot_renew_gives_up_before_another_may_take_over() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    await first.acquire()
    started = _now()
    server.away = True
    with pytest.raises(LeaseLost):
        await first.hold()
    timing = LeaseTiming()
    assert _now() - started < timing.duration


async def test_a_leader_may_write_until_it_gives_up_and_a_standby_never() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    with pytest.raises(Fenced):
        first.require()
    await first.acquire()
    first.require()
    await asyncio.sleep(LeaseTiming().deadline - 0.1)
    first.require()
    await asyncio.sleep(0.2)
    with pytest.raises(Fenced, match="10 s ago"):
        first.require()


async def test_a_renewed_lease_lets_the_leader_write_on() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    for _ in range(60):
        await asyncio.sleep(1)
        first.require()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_a_request_that_hangs_does_not_hold_up_the_giving_up() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    await first.acquire()
    started = _now()
    server.hangs = True
    with pytest.raises(LeaseLost):
        await first.hold()
    assert _now() - started < LeaseTiming().duration


async def test_a_short_absence_of_the_api_server_is_survived() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    server.away = True
    await asyncio.sleep(7)
    server.away = False
    await asyncio.sleep(60)
    assert not holding.done()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_a_lease_taken_by_somebody_else_ends_the_leadership() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    await first.acquire()
    assert server.lease is not None
    server.lease["spec"] |= {"holderIdentity": "thief", "leaseDurationSeconds": 60}
    with pytest.raises(LeaseLost, match="another replica"):
        await first.hold()


async def test_handing_back_when_the_api_server_is_away_ends_quietly() -> None:
    server = LeaseServer()
    first = _election(server, "one")
    await first.acquire()
    server.hangs = True
    await first.release()
    assert server.writes == ["one"]


def test_timing_that_would_allow_two_leaders_is_refused() -> None:
    with pytest.raises(ValueError, match="duration > deadline > retry"):
        LeaseTiming(duration=10, deadline=10, retry=2)


async def test_a_replica_was_in_contact_only_when_it_saw_the_lease() -> None:
    server = LeaseServer(away=True)
    first, second = _election(server, "one"), _election(server, "two")
    waiting = [asyncio.create_task(one.acquire()) for one in (first, second)]
    await asyncio.sleep(100)
    assert first.contacted_at == second.contacted_at == float("-inf")
    server.away = False
    await asyncio.sleep(LeaseTiming().retry + 0.1)
    for one in (first, second):
        assert _now() - one.contacted_at <= LeaseTiming().retry + 0.1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
