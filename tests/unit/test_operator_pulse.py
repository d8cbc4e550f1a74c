"""Which models the pulse has looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from metricwatch.store.errors import StoreUnavailable
from metricwatch_operator.pulse import Pulse

Answer = Mapping[str, str] | StoreUnavailable
AWAY = StoreUnavailable("refused")


class Heard:
    """A pulse that reads these answers one after another, and what it told of."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.uids: list[str | None] = []
        self.credentials = "secret-1"
        self.beats = 0
        self.third = asyncio.Event()
        self.pulse = Pulse(
            read=self._read,
            credentials=lambda: self.credentials,
            changed=self.uids.append,
            every=0.001,
        )

    async def _read(self) -> Mapping[str, str]:
        self.beats += 1
        if self.beats == 3:
            self.third.set()
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if isinstance(answer, StoreUnavailable):
            raise answer
        return answer

    async def beat(self) -> list[str | None]:
        """What one beat tells of."""
        self.uids.clear()
        await self.pulse.beat()
        return list(self.uids)


async def test_the_first_beat_looks_at_all_models_because_it_knows_no_stamp() -> None:
    assert await Heard({"a": "1"}).beat() == [None]


async def test_a_beat_looks_at_what_changed_came_or_went_and_at_nothing_else() -> None:
    heard = Heard({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    await heard.beat()
    assert await heard.beat() == ["b", "c", "d"]
    assert await heard.beat() == []


async def test_a_database_that_goes_is_told_once_and_looked_at_again_when_it_is_back() -> None:
    heard = Heard({"a": "1"}, AWAY, AWAY, AWAY, {"a": "1"}, {"a": "1"})
    assert await heard.beat() == [None]
    assert await heard.beat() == []
    assert await heard.beat() == [None]
    assert await heard.beat() == []
    # Every model said that the database is away.
    assert await heard.beat() == [None]
    assert await heard.beat() == []


async def test_a_beat_that_fails_alone_makes_no_work_and_loses_no_change() -> None:
    heard = Heard({"a": "1", "b": "1"}, AWAY, {"a": "1", "b": "2"})
    await heard.beat()
    assert await heard.beat() == []
    assert await heard.beat() == ["b"]


async def test_another_database_url_reaches_every_model() -> None:
    heard = Heard({"a": "1"})
    await heard.beat()
    heard.credentials = "secret-2"
    assert await heard.beat() == [None]
    assert await heard.beat() == []


async def test_a_pulse_goes_on_until_it_is_stopped() -> None:
    heard = Heard({"a": "1"})
    running = asyncio.create_task(heard.pulse.run())
    await heard.third.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert heard.uids == [None]
