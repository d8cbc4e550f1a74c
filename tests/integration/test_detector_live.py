"""A detector process against a real PostgreSQL and a real VictoriaMetrics, live."""

import re

from prometheus_client.parser import text_string_to_metric_families
from tests.integration.detector_fixture import world
from tests.integration.detector_world import (
    DetectorProcess,
    Feed,
    World,
    artifact_of,
    chunk_of,
    eventually,
    feeding,
    settings_of,
)
from tests.integration.metrics_servers import VictoriaMetrics

from metricwatch.store.watches import remove_watches

__all__ = ["world"]


async def test_a_spike_opens_an_anomaly_that_ends_with_it(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "live_spike", ["a", "b"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised.add("b")
        (anomaly,) = await eventually(world.anomalies, what="an anomaly")
        assert dict(anomaly.labels) == {"__name__": "live_spike", "pod": "b"}
        assert (anomaly.anomaly.kind, anomaly.anomaly.state) == ("point", "open")
        assert anomaly.anomaly.explanation["family"] == "zscore"

        async def shown() -> bool:
            return 'metric="live_spike",pod="b"} 1\n' in await detector.metrics()

        await eventually(shown, what="the anomaly in the metrics")
        feed.raised.clear()

        async def resolved() -> bool:
            return (await world.anomalies())[0].anomaly.state == "resolved"

        await eventually(resolved, what="the end of the anomaly")
        (ended,) = await world.anomalies()
        assert ended.anomaly.ended_at is not None
        assert ended.anomaly.ended_at > ended.anomaly.last_anomalous_at
        names = {
            family.name for family in text_string_to_metric_families(await detector.metrics())
        }
        assert {"metricwatch_value", "metricwatch_anomalies_open"} <= names


async def test_an_anomaly_ends_at_the_first_sample_that_is_back(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "live_end", ["a"])) as feed:
        # No least deviation: whatever windows still hold of the incident may keep it open. With
        # fewer alarms, some of the histories are too short for anything to be one.
        detection = {"cooldown": "3s", "falseAlarmsPerWeek": 20}
        await world.set_watch(settings_of(feed, detection=detection))
        chunk = chunk_of(feed, feed.pods, family_name="seasonal")
        await world.add_version(1, [artifact_of(chunk)])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised.add("a")

        async def high() -> bool:
            rows = await world.fetch("SELECT 1 FROM prediction_errors WHERE value > 150")
            return len(rows) >= 3

        await eventually(high, what="high samples")
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="the end of the anomaly")
        ((first,),) = await world.fetch(
            """SELECT extract(epoch FROM min(ts))::bigint FROM prediction_errors WHERE value < 150
            AND ts > (SELECT max(ts) FROM prediction_errors WHERE value > 150)"""
        )
        (ended,) = await world.anomalies()
        assert ended.anomaly.ended_at == first


async def test_a_new_series_is_scored_by_the_online_family(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "live_new", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, ["a"]))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.pods.append("late")

        async def scored() -> list[object]:
            return await world.fetch(
                """SELECT score FROM prediction_errors p JOIN metrics m ON m.id = p.metric_id
                WHERE m.labels ->> 'pod' = 'late' AND score IS NOT NULL"""
            )

        await eventually(scored, what="a score of the new series")
        assert await world.anomalies() == ()


async def test_a_policy_takes_effect_while_it_runs_and_trains_nothing(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "live_policy", ["a"])) as feed:
        strict = {"cooldown": "2s", "falseAlarmsPerWeek": 5000, "minDeviation": {"absolute": 200}}
        await world.set_watch(settings_of(feed, detection=strict))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised.add("a")

        async def high() -> bool:
            rows = await world.fetch("SELECT 1 FROM prediction_errors WHERE value > 150")
            return len(rows) >= 3

        await eventually(high, what="high samples")
        assert await world.anomalies() == ()
        lenient = strict | {"minDeviation": {"absolute": 20}}
        await world.set_watch(settings_of(feed, detection=lenient))
        await eventually(world.anomalies, what="an anomaly under the new policy")
        assert "detection settings changed" in detector.log.read_text()
        assert detector.log.read_text().count('"message": "warm"') == 1


async def test_watches_come_and_go_while_it_runs(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with (
        feeding(Feed(victoriametrics, "live_first", ["a"])) as first,
        feeding(Feed(victoriametrics, "live_second", ["b"])) as second,
    ):
        await world.set_watch(settings_of(first))
        await world.add_version(1, [artifact_of(chunk_of(first, ["a"]))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        await world.set_watch(settings_of(second), uid="watch-2")

        async def added() -> bool:
            return 'metric="live_second",pod="b"' in await detector.metrics()

        await eventually(added, what="the second watch")
        async with world.database.transaction() as connection:
            await remove_watches(connection, model_id=world.model_id, keep=["watch-2"])

        async def removed() -> bool:
            return "name-of-watch-1" not in await detector.metrics()

        await eventually(removed, what="the end of the first watch")
        assert await added()
        assert (await detector.get("/healthz")).status_code == 200


async def test_several_series_of_a_system_make_a_system_anomaly(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, "live_system", ["a", "b", "c", "d"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised |= {"a", "b", "c"}

        async def together() -> list[object]:
            return await world.fetch("SELECT * FROM anomaly_system WHERE members = 3")

        await eventually(together, what="a system anomaly of three")

        async def gauge(process: DetectorProcess) -> float | None:
            return await process.sample("metricwatch_system_anomaly_series", system="checkout")

        async def shown() -> bool:
            return await gauge(detector) == 3

        await eventually(shown, what="its gauge")
        detector.kill()
        again = world.start()
        await eventually(again.is_ready, what="ready again")

        async def still_shown() -> bool:
            return await gauge(again) == 3

        await eventually(still_shown, what="its gauge after a start")
        feed.raised.clear()

        async def over() -> list[object]:
            return await world.fetch("SELECT * FROM anomaly_system WHERE state = 'resolved'")

        await eventually(over, what="its end")

        async def gone() -> bool:
            return await gauge(again) == 0

        await eventually(gone, what="the end of its gauge")


async def test_two_shards_share_the_series_and_leave_none_out(
    world: World, victoriametrics: VictoriaMetrics
) -> None:
    pods = [f"pod-{number}" for number in range(8)]
    async with feeding(Feed(victoriametrics, "live_shards", pods)) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, pods))])
        shards = [
            world.start(METRICWATCH_SHARD=str(shard), METRICWATCH_SHARDS="2") for shard in (0, 1)
        ]
        shown = []
        for shard in shards:
            await eventually(shard.is_ready, what="ready")

            async def shows(shard: DetectorProcess = shard) -> set[str]:
                return set(re.findall(r'metricwatch_value{.*pod="([^"]*)"', await shard.metrics()))

            shown.append(await eventually(shows, what="series"))
        assert shown[0] | shown[1] == set(pods)
        assert shown[0] & shown[1] == set()
        assert all(shown)
