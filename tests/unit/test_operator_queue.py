"""The work queue, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from metricwatch_operator.errors import Retryable
from metricwatch_operator.queue import Backoff, WorkQueue

pytestmark = pytest.mark.looptime

Reconcile = Callable[[str], Awaitable[float | None]]


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _run_for(queue: WorkQueue[str], seconds: float) -> None:
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_added_twice_while_it_waits_is_reconciled_once() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)

    queue: WorkQueue[str] = WorkQueue(reconcile)
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert queue.depth == 2
    await _run_for(queue, 1)
    assert seen == ["a", "b"]


async def test_a_key_added_while_it_is_reconciled_is_reconciled_once_more() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> None:
        seen.append(_now())
        if len(seen) == 1:
            for _ in range(3):
                queue.add(key)
        await asyncio.sleep(5)

    queue: WorkQueue[str] = WorkQueue(reconcile)
    queue.add("a")
    start = _now()
    await _run_for(queue, 60)
    assert [at - start for at in seen] == pytest.approx([0, 5], abs=0.1)


async def test_no_key_is_ever_reconciled_twice_at_a_time_and_no_more_than_the_workers() -> None:
    running: list[str] = []
    most = 0

    async def reconcile(key: str) -> None:
        nonlocal most
        assert key not in running
        running.append(key)
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.remove(key)

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=4)
    task = asyncio.create_task(queue.run())
    for round_ in range(20):
        for number in range(10):
            queue.add(f"key-{(number * 7 + round_) % 12}")
        await asyncio.sleep(0.3)
    await asyncio.sleep(30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert most == 4


async def test_the_answer_says_when_to_look_again() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> float | None:
        seen.append(_now())
        return 15.0 if len(seen) < 3 else None

    queue: WorkQueue[str] = WorkQueue(reconcile)
    start = _now()
    queue.add("a")
    await _run_for(queue, 100)
    assert [at - start for at in seen] == pytest.approx([0, 15, 30], abs=0.1)


async def test_failures_come_back_after_a_doubling_delay_that_success_resets() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> float | None:
        seen.append(_now())
        if len(seen) in (1, 2, 3, 5):
            raise Retryable("away", reason="Away")
        return 100.0 if len(seen) == 4 else None

    queue: WorkQueue[str] = WorkQueue(reconcile, backoff=Backoff(jitter=0))
    start = _now()
    queue.add("a")
    await _run_for(queue, 300)
    assert [at - start for at in seen] == pytest.approx([0, 0.5, 1.5, 3.5, 103.5, 104], abs=0.1)


async def test_an_event_does_not_wait_for_the_delay_of_a_failure() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> None:
        seen.append(_now())
        if len(seen) == 1:
            raise Retryable("refused", reason="Invalid", delay=60)

    queue: WorkQueue[str] = WorkQueue(reconcile)
    start = _now()
    queue.add("a")
    asyncio.get_running_loop().call_later(3, queue.add, "a")
    await _run_for(queue, 200)
    assert [at - start for at in seen] == pytest.approx([0, 3], abs=0.1)


async def test_an_error_that_names_a_delay_is_waited_for() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> None:
        seen.append(_now())
        if len(seen) == 1:
            raise Retryable("slow down", reason="TooManyRequests", delay=30)

    queue: WorkQueue[str] = WorkQueue(reconcile)
    start = _now()
    queue.add("a")
    await _run_for(queue, 200)
    assert [at - start for at in seen] == pytest.approx([0, 30], abs=0.1)


async def test_a_bug_in_one_key_stops_no_other_and_is_counted() -> None:
    seen: list[str] = []
    failures: list[tuple[str, str]] = []

    async def reconcile(key: str) -> None:
        if key == "bad":
            raise ZeroDivisionError("oops")
        seen.append(key)

    queue: WorkQueue[str] = WorkQueue(
        reconcile,
        workers=1,
        on_failure=lambda key, error: failures.append((key, type(error).__name__)),
    )
    queue.add("bad")
    queue.add("good")
    await _run_for(queue, 0.2)
    assert seen == ["good"]
    assert failures == [("bad", "ZeroDivisionError")]


async def test_of_two_wishes_for_later_the_earlier_counts_and_only_once() -> None:
    seen: list[float] = []

    async def reconcile(key: str) -> None:
        seen.append(_now())

    queue: WorkQueue[str] = WorkQueue(reconcile)
    start = _now()
    for seconds in (50, 10, 30):
        queue.add_after("a", seconds)
    await _run_for(queue, 200)
    assert [at - start for at in seen] == pytest.approx([10], abs=0.1)


async def test_the_age_of_the_backlog_grows_while_nobody_works() -> None:
    async def reconcile(key: str) -> None: ...

    queue: WorkQueue[str] = WorkQueue(reconcile)
    assert queue.oldest_age(_now()) == 0
    queue.add("a")
    await asyncio.sleep(7)
    assert queue.oldest_age(_now()) == pytest.approx(7, abs=0.1)
