"""A source that answers nonsense, refuses, waits, or whose samples are odd: what detectors make of
it."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.integration.detector_fixture import world
from tests.integration.detector_questions import (
    catches_up,
    missed,
    single_anomaly,
    state_of,
    ticks_of,
)
from tests.integration.detector_world import (
    DELAY_SECONDS,
    DetectorProcess,
    Feed,
    World,
    artifact_of,
    chunk_of,
    eventually,
    feeding,
    normal,
    settings_of,
)
from tests.integration.invariants import wrong_rows
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.scripted_server import Answer
from tests.integration.source_front import SourceFront, fronted

from metricwatch.series import labels_from

__all__ = ["world"]

SAME_TWICE = (
    b'{"status":"success","data":{"resultType":"RESULT","result":['
    b'{"metric":{"pod":"a"},"VALUE":[1,"1"]},{"metric":{"pod":"a"},"VALUE":[1,"1"]}]}}'
)


def success(result: bytes) -> Answer:
    return Answer(body=b'{"status":"success","data":{"resultType":"vector","result":%s}}' % result)


# What is answered, the state of the watch, and words of its message.
ANSWERS = (
    (
        Answer(body=b"<html><body>Please log in</body></html>"),
        "SourceUnavailable",
        "check the url",
    ),
    (Answer(body=b'{"status":"success","data":{"resul'), "SourceUnavailable", "check the url"),
    (success(b'[{"metric":{"pod":7},"value":[1,"2"]}]'), "SourceUnavailable", "malformed labels"),
    (success(b'{"pod":"a"}'), "SourceUnavailable", "malformed series"),
    (Answer(body=b'{"status":"error","error":"no shard"}'), "QueryRefused", "no shard"),
    (Answer(announced=900), "SourceUnavailable", "cannot be reached"),
    (Answer(body=b" " * 200_000), "QueryRefused", "is larger than"),
    (Answer(302, headers={"Location": "/api/v1/query"}), "SourceUnavailable", "redirects"),
    (Answer(422, b'{"status":"error","error":"bad match"}'), "QueryRefused", "bad match"),
    (Answer(503, b"upstream is away"), "SourceUnavailable", "upstream is away"),
    (Answer(403), "SourceUnauthorized", "HTTP 403"),
)


async def is_said(world: World, state: str, words: str) -> None:
    async def said() -> bool:
        now = await state_of(world)
        return now[0] == state and words in now[1]

    await eventually(said, what=f"{state}: {words}")


@contextmanager
def hanging(front: SourceFront) -> Iterator[None]:
    front.hang()
    try:
        yield
    finally:
        front.go_on()


async def test_whatever_a_source_answers_is_said_and_nothing_is_missed_in_the_end(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    with fronted(victoriametrics.url) as front:
        async with feeding(Feed(victoriametrics, "odd_answers", ["a", "b"])) as feed:
            source = {
                "type": "victoriametrics",
                "url": front.url,
                "timeoutSeconds": 1,
                "maxResponseBytes": 100_000,
            }
            await world.set_watch(settings_of(feed, source=source))
            await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
            detector = world.start()
            await eventually(detector.is_ready, what="ready")
            feed.raised.add("a")
            await eventually(world.anomalies, what="an anomaly")
            before = await single_anomaly(world, feed)
            for answer, state, words in ANSWERS:
                front.fault = answer
                await is_said(world, state, words)
            await two_series_with_the_same_labels(world, front, feed)
            await asks_to_be_left_alone(world, front)
            front.fault = None
            await is_said(world, "Scoring", "")
            with hanging(front):
                await is_said(world, "SourceUnavailable", "did not answer")
                assert (await detector.get("/healthz")).status_code == 200
            await is_said(world, "Scoring", "")
            await catches_up(world, feed)
            assert await single_anomaly(world, feed) == before
            feed.raised.clear()
            await resolved(world)
            assert await single_anomaly(world, feed) == before
            assert "a tick failed" not in detector.log.read_text()


async def two_series_with_the_same_labels(world: World, front: SourceFront, feed: Feed) -> None:
    # What is a minute late is read as a range, newer ticks one by one.
    front.fault = None
    await catches_up(world, feed)
    front.fault = Answer(body=SAME_TWICE.replace(b"RESULT", b"vector").replace(b"VALUE", b"value"))
    await is_said(world, "QueryRefused", "two series with the same labels")


async def asks_to_be_left_alone(world: World, front: SourceFront) -> None:
    """Nothing is asked before the time is over that the source asked for."""
    front.fault = Answer(429, b"slow down", headers={"Retry-After": "8"})
    await is_said(world, "SourceUnavailable", "HTTP 429")
    asked = len(front.asked)
    front.fault = None

    async def again() -> bool:
        return len(front.asked) > asked

    await eventually(again, what="the next question")
    assert front.asked[asked] - front.asked[asked - 1] >= 8.0


async def resolved(world: World) -> None:
    async def ended() -> bool:
        return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

    await eventually(ended, what="the end of the anomaly")


# Samples of these pods come so many seconds too late.
HELD = {"late": 2, "old": 9}


@dataclass(slots=True)
class OddFeed(Feed):
    """Pods whose samples are odd in one way each; odd from `since` on, when it is set."""

    since: float = math.inf
    until: float = math.inf
    counted: float = 0.0

    def lines(self, second: int) -> list[str]:
        if not self.since <= second < self.until:
            return [*Feed.lines(self, second), self._counter(second)]
        whole = {pod: line for pod, line in zip(self.pods, Feed.lines(self, second), strict=True)}
        for pod, word in (("nan", "NaN"), ("inf", "+Inf"), ("below", "-Inf")):
            whole[pod] = self._sample(pod, word, second)
        del whole["gone"]
        whole["new"] = self._sample("new", repr(normal("new", second)), second)
        whole["twice"] += f"\n{self._sample('twice', repr(normal('twice', second) + 1), second)}"
        # Pushed again and out of order, within the delay; and long after it.
        for pod, behind in HELD.items():
            whole[pod] = self._sample(pod, repr(normal(pod, second - behind)), second - behind)
        return [*whole.values(), self._counter(second)]

    def _sample(self, pod: str, value: str, second: int) -> str:
        return f'{self.metric}{{pod="{pod}"}} {value} {second * 1000}'

    def _counter(self, second: int) -> str:
        """A counter that begins again every seven seconds while things are odd."""
        if self.since <= second < self.until and second % 7 == 0:
            self.counted = 0.0
        self.counted += 100.0
        return f'{self.metric}_total{{pod="counter"}} {self.counted} {second * 1000}'


ODD = ["nan", "inf", "below", "gone", "twice", "late", "old"]


async def odd_world(world: World, feed: OddFeed) -> DetectorProcess:
    await world.set_watch(settings_of(feed))
    rate = [{"expr": f"rate({feed.metric}_total[5s])"}]
    await world.set_watch(settings_of(feed, queries=rate), uid="watch-2")
    counter = chunk_of(feed, ["counter"], watch_uid="watch-2")
    rates = replace(counter, labels=(labels_from({"pod": "counter"}),))
    chunks = [chunk_of(feed, ODD), rates]
    artifacts = [artifact_of(chunk, number=number) for number, chunk in enumerate(chunks)]
    await world.add_version(1, artifacts)
    detector = world.start()
    await eventually(detector.is_ready, what="ready")
    return detector


async def test_odd_samples_are_no_anomalies_and_take_no_other_series_along(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(OddFeed(victoriametrics, "odd_samples", list(ODD))) as feed:
        detector = await odd_world(world, feed)
        feed.since = float(int(time.time()) + 2)
        feed.until = feed.since + 16

        async def over() -> bool:
            watches = [await ticks_of(world, 1, pod) for pod in ("old", "counter")]
            return all(ticks and ticks[-1] > feed.until + 3 for ticks in watches)

        await eventually(over, what="scores of a time when nothing is odd any more")
        assert await world.anomalies() == ()
        assert (await state_of(world))[0] == "Scoring"
        assert (await state_of(world, "watch-2"))[0] == "Scoring"
        # The server repeats a sample for some seconds where there is none; an infinity is one.
        for pod, behind in (("nan", 6), ("gone", 6), ("inf", 0), ("below", 0)):
            scored = set(await ticks_of(world, 1, pod))
            odd = set(range(int(feed.since) + behind, int(feed.until)))
            assert not scored & odd - feed.late, pod
            assert max(scored) >= feed.until
        for pod in ("twice", "counter"):
            assert missed(feed, await ticks_of(world, 1, pod)) == [], pod
        held = {second - HELD["late"] for second in feed.slower_than(DELAY_SECONDS - 3)}
        assert set(missed(feed, await ticks_of(world, 1, "late"))) <= held
        # What comes after the delay is not waited for, and later ticks are as good as any.
        assert max(await ticks_of(world, 1, "old")) >= feed.until
        async with world.database.acquire() as connection:
            assert await wrong_rows(connection) == []
        feed.raised |= {"nan", "gone", "old"}

        async def found() -> bool:
            return len(await world.anomalies()) == 3

        await eventually(found, what="anomalies of series that were odd before")
        assert "a tick failed" not in detector.log.read_text()
