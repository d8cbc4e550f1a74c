"""Series of a watch as systems, from the trainer's request to the anomaly in the database."""

from pathlib import Path

import pytest
from tests.integration.detector_fixture import world
from tests.integration.detector_world import WATCH, Feed, World, eventually, feeding, settings_of
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.test_detector_trained import train

from metricwatch.store.rows import StoredAnomaly

__all__ = ["world"]

PODS = ["a", "b", "c", "d", "e"]
ODD = {"b", "c", "d"}
# Of five channels that are watched every second some are a little odd most of the time.
DETECTION = {"cooldown": "3s", "falseAlarmsPerWeek": 500}


def blamed(anomaly: StoredAnomaly) -> list[str]:
    components = anomaly.anomaly.explanation["components"]
    assert isinstance(components, list)
    return [one["labels"]["pod"] for one in components]


async def test_an_incident_in_three_channels_is_one_anomaly_of_their_system(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    async with feeding(Feed(victoriametrics, "of_system", PODS)) as feed:
        await world.set_watch(settings_of(feed, detection=DETECTION))
        await train(world, feed, {"type": "auto"}, tmp_path, scope="multivariate")
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised |= ODD

        async def blames_all() -> StoredAnomaly | None:
            found = await world.anomalies()
            assert len(found) <= 1
            return found[0] if found and set(blamed(found[0])[:3]) == ODD else None

        anomaly = await eventually(blames_all, what="an anomaly that blames the three")
        assert anomaly.labels == (("system", f"name-of-{WATCH}"),)
        assert anomaly.anomaly.explanation["family"] == "system"
        assert "most to blame" in str(anomaly.anomaly.explanation["summary"])
        lines = (await detector.metrics()).splitlines()
        open_now = [line for line in lines if line.startswith("metricwatch_anomalous{")]
        assert len(open_now) == len(PODS) + 1
        assert [line for line in open_now if line.endswith(" 1")] == [
            line for line in open_now if f'system="name-of-{WATCH}"' in line
        ]
        stored = await world.fetch(
            "SELECT count(*) AS scored FROM prediction_errors WHERE anomalous AND metric_id NOT IN"
            " (SELECT metric_id FROM anomaly_points)"
        )
        assert stored[0]["scored"] == 0
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="the end of the anomaly")


async def test_each_group_of_series_is_a_system_of_its_own(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    pods = [*PODS, "other"]
    async with feeding(Feed(victoriametrics, "by_group", pods)) as feed:
        expr = 'label_replace(by_group, "host", "$1", "pod", "(.)$")'
        grouped = settings_of(
            feed, queries=[{"expr": expr}], groupBy=["host"], detection=DETECTION
        )
        await world.set_watch(grouped)
        await train(
            world, feed, {"type": "auto"}, tmp_path, scope="multivariate", settings=grouped
        )
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised.add("c")
        (anomaly,) = await eventually(world.anomalies, what="an anomaly")
        assert dict(anomaly.labels)["host"] == "c"
        assert blamed(anomaly) == ["c"]


async def test_a_detector_that_starts_again_keeps_the_channels_to_blame(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    async with feeding(Feed(victoriametrics, "again_system", PODS)) as feed:
        await world.set_watch(settings_of(feed, detection=DETECTION))
        await train(world, feed, {"type": "auto"}, tmp_path, scope="multivariate")
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        feed.raised |= ODD
        (before,) = await eventually(world.anomalies, what="an anomaly")
        detector.kill()
        again = world.start()
        await eventually(again.is_ready, what="ready again")
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="the end of the anomaly")
        (after,) = await world.anomalies()
        assert after.anomaly.started_at == before.anomaly.started_at
        assert set(blamed(after)) == set(PODS)


@pytest.mark.parametrize("family", ["zscore", "lstm"])
async def test_a_family_for_single_series_is_refused_with_what_to_use(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path, family: str
) -> None:
    async with feeding(Feed(victoriametrics, f"refused_{family}", ["a"])) as feed:
        await world.set_watch(settings_of(feed, detection=DETECTION))
        with pytest.raises(AssertionError, match="use type auto"):
            await train(world, feed, {"type": family}, tmp_path, scope="multivariate")
