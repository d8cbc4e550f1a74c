"""What a detector does when something goes: itself, its version, PostgreSQL, its source."""

import asyncio
import signal
import time
from pathlib import Path

from tests.integration.detector_fixture import world
from tests.integration.detector_questions import missed, single_anomaly, state_of, ticks_of
from tests.integration.detector_world import (
    Feed,
    World,
    artifact_of,
    chunk_of,
    eventually,
    feeding,
    settings_of,
)
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.postgres_fixture import Postgres

__all__ = ["world"]


async def test_a_killed_detector_goes_on_with_the_same_anomaly_and_misses_no_tick(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_kill", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        first = world.start()
        await eventually(first.is_ready, what="ready")
        feed.raised.add("a")
        (before,) = await eventually(world.anomalies, what="an anomaly")
        first.kill()
        # Several ticks have to be caught up, however soon the next one is there.
        await asyncio.sleep(6)
        second = world.start()
        await eventually(second.is_ready, what="ready again")

        async def longer() -> bool:
            (now,) = await world.anomalies()
            return now.anomaly.samples > before.anomaly.samples + 6

        await eventually(longer, what="the anomaly going on")
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="its end")
        (after,) = await world.anomalies()
        assert (after.id, after.anomaly.started_at) == (before.id, before.anomaly.started_at)
        assert missed(feed, await ticks_of(world, 1, "a")) == []


async def test_a_detector_killed_before_anything_was_decided_goes_on_where_scoring_began(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_undecided", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        # Nobody decides while no version serves.
        content = [artifact_of(chunk_of(feed, feed.pods))]
        await world.add_version(1, content, serving=False)
        first = world.start()

        async def scored() -> set[int]:
            return set(await ticks_of(world, 1, "a"))

        before = await eventually(scored, what="scores of the first")
        first.kill()
        await asyncio.sleep(6)
        await world.serve(1)
        world.start()

        async def goes_on() -> bool:
            return max(await scored()) > max(before) + 6

        await eventually(goes_on, what="scores of the second")
        assert missed(feed, await ticks_of(world, 1, "a")) == []


async def test_a_change_of_version_decides_every_tick_once_and_hands_anomalies_over(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_switch", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        first = world.start(version=1)
        await eventually(first.is_ready, what="version 1")
        await world.add_version(2, [artifact_of(chunk_of(feed, feed.pods))], serving=False)
        second = world.start(version=2)
        await eventually(second.is_ready, what="version 2")
        feed.raised.add("a")
        (before,) = await eventually(world.anomalies, what="an anomaly")
        assert "metricwatch_value{" in await first.metrics()
        assert "metricwatch_value{" not in await second.metrics()
        await world.serve(2)

        async def shown_by_second() -> bool:
            return "metricwatch_value{" in await second.metrics()

        async def hidden_by_first() -> bool:
            return "metricwatch_value{" not in await first.metrics()

        await eventually(shown_by_second, what="gauges of version 2")
        await eventually(hidden_by_first, what="version 1 quiet")
        assert first.terminate() == 0
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="its end, said by version 2")
        (after,) = await world.anomalies()
        assert (after.id, after.version) == (before.id, 1)
        # One sample for each tick from the first to the last: none missed, none counted twice.
        await single_anomaly(world, feed)
        assert missed(feed, await ticks_of(world, 1, "a")) == []
        assert missed(feed, await ticks_of(world, 2, "a")) == []


async def test_while_postgresql_is_away_metrics_go_on_and_nothing_is_lost(
    world: World, victoriametrics: VictoriaMetrics, postgres: Postgres
) -> None:
    async with feeding(Feed(victoriametrics, "fault_store", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")

        async def shown() -> bool:
            return 'pod="a"} 0\n' in await detector.metrics()

        await eventually(shown, what="gauges")
        await asyncio.to_thread(postgres.stop)
        feed.raised.add("a")

        async def anomalous() -> bool:
            return 'pod="a"} 1\n' in await detector.metrics()

        await eventually(anomalous, what="the anomaly in the metrics without a database")
        assert (await detector.get("/healthz")).status_code == 200

        async def waits() -> bool:
            return (await detector.sample("metricwatch_detector_store_waiting_seconds") or 0) > 3

        await eventually(waits, what="that ticks wait to be stored")
        await asyncio.to_thread(postgres.start)
        (anomaly,) = await eventually(world.anomalies, what="the anomaly in the database")
        assert anomaly.anomaly.state == "open"

        now = time.time()

        async def caught_up() -> bool:
            return (await ticks_of(world, 1, "a"))[-1] > now

        await eventually(caught_up, what="scores up to now")
        assert missed(feed, await ticks_of(world, 1, "a")) == []

        async def nothing_waits() -> bool:
            return (await detector.sample("metricwatch_detector_store_waiting_seconds") or 0) < 3

        await eventually(nothing_waits, what="that nothing waits any more")


async def test_a_source_that_goes_takes_no_other_watch_along_and_is_picked_up_again(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    other = VictoriaMetrics(tmp_path / "other")
    other.start()
    try:
        async with (
            feeding(Feed(other, "fault_source", ["a"])) as feed,
            feeding(Feed(victoriametrics, "fault_stays", ["b"])) as stays,
        ):
            await world.set_watch(settings_of(feed))
            await world.set_watch(settings_of(stays), uid="watch-2")
            await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
            detector = world.start()
            await eventually(detector.is_ready, what="ready")
            await asyncio.to_thread(other.stop)

            async def away() -> bool:
                return (await state_of(world))[0] == "SourceUnavailable"

            await eventually(away, what="the state of the watch")
            assert (await detector.get("/healthz")).status_code == 200
            before = len(await ticks_of(world, 1, "b"))

            async def goes_on() -> bool:
                return len(await ticks_of(world, 1, "b")) >= before + 3

            await eventually(goes_on, what="scores of the other watch")

            async def behind() -> bool:
                name = "metricwatch_scoring_behind_seconds"
                mine = await detector.sample(name, watch="name-of-watch-1") or 0.0
                other = await detector.sample(name, watch="name-of-watch-2")
                return other is not None and mine > other + 3

            await eventually(behind, what="how far this watch alone is behind")
            await asyncio.to_thread(other.start)

            async def back() -> bool:
                return (await state_of(world))[0] == "Scoring"

            await eventually(back, what="the watch scoring again")
    finally:
        other.stop()


async def test_a_query_that_is_refused_says_so_and_does_not_hold_up_the_version(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    feed = Feed(victoriametrics, "fault_query", ["a"])
    await world.set_watch(settings_of(feed, queries=[{"expr": "sum(("}]))
    await world.add_version(1, [])
    detector = world.start()
    await eventually(detector.is_ready, what="ready in spite of it")

    async def refused() -> bool:
        return (await state_of(world))[0] == "QueryRefused"

    await eventually(refused, what="the state of the watch")
    assert "sum((" in (await state_of(world))[1]


async def test_a_missing_secret_says_which_and_waits_for_it(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    async with feeding(Feed(victoriametrics, "fault_secret", ["a"])) as feed:
        folder = tmp_path / "vm-credentials"
        source = {
            "type": "victoriametrics",
            "url": victoriametrics.url,
            "authDirectory": str(folder),
            "authSecret": "vm-credentials",
        }
        await world.set_watch(settings_of(feed, source=source))
        await world.add_version(1, [])
        detector = world.start()

        async def missing() -> bool:
            return (await state_of(world))[0] == "SecretMissing"

        await eventually(missing, what="the state of the watch")
        assert "vm-credentials" in (await state_of(world))[1]
        assert not await detector.is_ready()
        folder.mkdir()
        (folder / "token").write_text("secret")
        await eventually(detector.is_ready, what="ready once the Secret is there")


async def test_a_broken_chunk_takes_only_its_own_series_to_the_online_family(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_chunk", ["a", "b"])) as feed:
        await world.set_watch(settings_of(feed))
        good = artifact_of(chunk_of(feed, ["a"]))
        bad = artifact_of(chunk_of(feed, ["b"]), number=1, content=b"\0" * 64)
        await world.add_version(1, [good, bad])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")

        async def told() -> bool:
            return "chunk 1" in (await state_of(world))[1]

        await eventually(told, what="the health of the watch")
        assert (await state_of(world))[0] == "ArtifactDamaged"
        assert await ticks_of(world, 1, "a")
        assert await ticks_of(world, 1, "b")
        assert "metricwatch_detector_artifact_errors_total 1.0" in await detector.metrics()


async def test_asked_to_end_it_writes_what_it_has_and_ends_well(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_end", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        name, scored = "metricwatch_detector_ticks_total", 0.0

        async def some() -> bool:
            nonlocal scored
            scored = await detector.sample(name, outcome="scored") or 0.0
            return len(await ticks_of(world, 1, "a")) > 2

        await eventually(some, what="ticks that are scored")
        assert detector.terminate() == 0
        ticks = await ticks_of(world, 1, "a")
        assert len(ticks) >= scored - len(feed.late)
        assert missed(feed, ticks) == []


async def test_asked_to_end_while_the_source_hangs_it_ends_well(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_hang", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        assert victoriametrics.process is not None
        victoriametrics.process.send_signal(signal.SIGSTOP)
        try:

            async def hangs() -> bool:
                behind = await detector.sample("metricwatch_scoring_behind_seconds")
                return (behind or 0) > 2

            await eventually(hangs, what="an answer that does not come")
            assert (await detector.get("/healthz")).status_code == 200
            assert await asyncio.to_thread(detector.terminate) == 0
        finally:
            victoriametrics.process.send_signal(signal.SIGCONT)


async def test_series_that_come_and_go_do_not_fill_the_process(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "fault_churn", ["a"])) as feed:
        await world.set_watch(settings_of(feed, maxSeries=2))
        await world.add_version(1, [artifact_of(chunk_of(feed, ["a"]))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        generation = 0

        async def started_again() -> bool:
            nonlocal generation
            generation += 1
            feed.pods[1:] = [f"pod-{generation // 8}"]
            return detector.log.read_text().count('"message": "warm"') > 1

        await eventually(started_again, what="a fresh start with the series there are")
        assert missed(feed, await ticks_of(world, 1, "a")) == []
        assert (await detector.get("/healthz")).status_code == 200


async def test_without_a_database_it_waits_and_starts_when_there_is_one(
    world: World, victoriametrics: VictoriaMetrics, postgres: Postgres
) -> None:
    async with feeding(Feed(victoriametrics, "fault_start", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        await asyncio.to_thread(postgres.stop)
        detector = world.start()

        async def waiting() -> bool:
            text = "" if not detector.log.exists() else detector.log.read_text()
            return "cannot start yet" in text

        await eventually(waiting, what="a word about the database")
        assert (await detector.get("/healthz")).status_code == 200
        assert not await detector.is_ready()
        await asyncio.to_thread(postgres.start)
        await eventually(detector.is_ready, what="ready")
