"""Several queries of one watch at the same time, and one of them fails."""

import asyncio

import pytest

from metricwatch_detector.reading import _together


async def answer(value: int, *, after: float = 0.0) -> int:
    await asyncio.sleep(after)
    return value


async def refuse() -> int:
    await asyncio.sleep(0)
    raise ValueError("refused")


async def test_answers_come_in_the_order_of_the_queries() -> None:
    assert await _together([answer(1, after=0.01), answer(2)]) == [1, 2]


async def test_the_first_error_comes_out_as_it_is_and_ends_the_others() -> None:
    ended = asyncio.Event()

    async def slow() -> int:
        try:
            return await answer(1, after=60)
        finally:
            ended.set()

    with pytest.raises(ValueError, match="refused"):
        await _together([slow(), refuse()])
    assert ended.is_set()


async def test_an_error_does_not_leave_the_caller_counted_as_cancelled() -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(ValueError, match="refused"):
        await _together([answer(1, after=60), refuse()])
    # Before Python 3.11.4 a timeout believes this count.
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
