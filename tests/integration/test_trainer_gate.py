"""A version is measured in its training run, beside the one that serves, on real PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.integration.store_rows import add_watch, make_anomaly

from metricwatch.artifact import unpack
from metricwatch.assignments import TrainingRequest
from metricwatch.gate import Found, GateMeasurement
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.series import labels_from
from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.feedback import judge_anomalies
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.metrics import register_series
from metricwatch.store.models import create_version, read_version, set_state, upsert_model
from metricwatch.store.pool import Database
from metricwatch.store.rows import Feedback, Version
from metricwatch.store.serving import set_serving
from metricwatch_trainer.gate import gatekeeping, measuring
from metricwatch_trainer.settings import Settings
from metricwatch_trainer.training_run import TrainingRun

NOW = 1_760_000_400
STEP = 300
DAY = 86_400
TICKS = 4 * DAY // STEP
TAIL = round(0.15 * TICKS)


@dataclass
class World:
    """A model with one watch of simulated series, in a database."""

    database: Database
    url: str
    model_id: int = 0
    watch_id: int = 0

    async def train(
        self, version: int, *, now: int = NOW, query: str = "simulation(series=3)", **training: Any
    ) -> Version:
        """Trains a version in this process."""
        request = TrainingRequest.from_row(
            {
                "algorithm": {"type": "autoregressive"},
                "training": {"window": "4d"} | training,
                "watches": [
                    {
                        "uid": "watch-1",
                        "namespace": "shop",
                        "name": "requests",
                        "queries": [{"expr": query}],
                        "source": {"type": "simulation"},
                        "intervalSeconds": STEP,
                    }
                ],
            }
        )
        async with self.database.acquire() as connection:
            await create_version(
                connection,
                model_id=self.model_id,
                version=version,
                request=request.to_row(),
                request_hash=request.fingerprint(),
            )
        settings = Settings(
            database=DatabaseLocation(url=self.url),
            model_uid="model-1",
            version=version,
            shard=0,
            shards=1,
        )
        run = TrainingRun(settings, self.database, now=now, should_stop=lambda: False)
        await run.run()
        return await self.version(version)

    async def version(self, version: int) -> Version:
        async with self.database.acquire() as connection:
            return await read_version(connection, model_uid="model-1", version=version)

    async def serve(self, version: int) -> None:
        async with self.database.acquire() as connection:
            await set_state(
                connection,
                model_id=self.model_id,
                version=version,
                state=VersionState.CANDIDATE,
            )
            await set_serving(connection, model_id=self.model_id, version=version)


@pytest.fixture
async def world(database: Database, database_url: str) -> World:
    made = World(database, database_url)
    async with database.acquire() as connection:
        made.model_id = await upsert_model(
            connection, uid="model-1", namespace="shop", name="checkout", generation=1
        )
        made.watch_id = await add_watch(
            connection, made.model_id, detection={"falseAlarmsPerWeek": 2}
        )
    return made


def measured(version: Version) -> GateMeasurement:
    gate = GateMeasurement.from_report(version.report)
    assert gate is not None
    return gate


async def test_a_first_version_is_measured_after_the_policy_of_its_watch(world: World) -> None:
    version = await world.train(1)
    gate = measured(version)
    assert (gate.serving, gate.inconclusive, gate.error) == (None, "", "")
    (row,) = gate.watches
    assert (row.uid, row.name, row.note) == ("watch-1", "requests", "")
    assert row.end - row.start == (TAIL - 1) * STEP
    assert row.serving is None
    assert (row.candidate.series, row.candidate.samples) == (3, 3 * TAIL)
    # The watch allows two false alarms a week; the request says nothing of that.
    assert row.candidate.promised == pytest.approx(2 * 3 * TAIL * STEP / (7 * DAY))
    assert row.candidate.injected["spike"].share == 1.0
    assert version.report is not None
    assert version.report["seconds"]["gate"] > 0
    assert {one["samples"] for one in version.report["series"]} == {TICKS - TAIL}


async def test_what_is_stored_has_learned_from_the_tail(world: World) -> None:
    version = await world.train(1)
    async with world.database.acquire() as connection:
        (artifact,) = [one async for one in read_artifacts(connection, version_id=version.id)]
    chunk = unpack(artifact.content, checksum=artifact.sha256.hex())
    # Calibrated on four folds of the head, and then on every sample of the tail.
    ticks = chunk.scoring.tensors()["ticks"]
    assert (ticks > TICKS - TAIL).all()
    assert (ticks <= TICKS).all()


async def test_the_next_version_is_measured_beside_the_serving_one(world: World) -> None:
    await world.train(1)
    await world.serve(1)
    gate = measured(await world.train(2, now=NOW + DAY))
    assert gate.serving == 1
    whole = gate.total()
    assert whole.serving is not None
    assert whole.serving.samples == whole.common.samples == whole.candidate.samples
    assert whole.error_series == 3
    assert abs(whole.log_error_ratio / whole.error_series) < 0.05
    assert gate.watches[0].note == ""


async def test_errors_are_not_compared_on_what_the_serving_version_knows(world: World) -> None:
    # Too short a history: the first version learns from all of it, the second has a longer one.
    short = await world.train(1, window="1d", minSamples=50)
    assert measured(short).watches == ()
    assert measured(short).inconclusive == (
        "watch requests: of 288 samples 43 would be held back, and fewer than 96 show nothing"
    )
    assert short.report is not None
    assert {one["samples"] for one in short.report["series"]} == {288}
    await world.serve(1)
    (row,) = measured(await world.train(2, now=NOW + 3600)).watches
    assert row.serving is not None
    assert row.error_series == 0
    assert "learned from the tail" in row.note


async def test_a_series_that_serving_does_not_know_is_compared_with_nothing(world: World) -> None:
    await world.train(1, query="simulation(series=2)")
    await world.serve(1)
    whole = measured(await world.train(2, now=NOW + DAY)).total()
    assert whole.serving is not None
    assert (whole.candidate.series, whole.common.series, whole.serving.series) == (3, 2, 2)


async def test_recorded_anomalies_of_the_tail_are_looked_for(world: World) -> None:
    # Nothing happened to any of the series, so nothing is found; one is older than the tail.
    labels = labels_from({"__name__": "simulated_requests", "instance": "shop-00001"})
    async with world.database.acquire() as connection:
        numbers = await register_series(connection, watch_id=world.watch_id, labels=[labels])
        metric = numbers[labels]
        anomalies = [
            make_anomaly(metric, started_at=at, last_anomalous_at=at + 600, ended_at=at + 900,
                         state="resolved")
            for at in (NOW - 3 * DAY, NOW - 60 * STEP)
        ]  # fmt: skip
        await write_anomalies(connection, watch_id=world.watch_id, version=1, anomalies=anomalies)
    whole = measured(await world.train(1)).total()
    assert whole.candidate.recorded == Found(found=0, of=1), whole.candidate


async def test_what_people_dismissed_is_no_recorded_anomaly_but_an_alarm_not_to_repeat(
    world: World,
) -> None:
    labels = labels_from({"__name__": "simulated_requests", "instance": "shop-00001"})
    begin = NOW - 60 * STEP
    async with world.database.acquire() as connection:
        numbers = await register_series(connection, watch_id=world.watch_id, labels=[labels])
        last = {"last_anomalous_at": begin + 600, "ended_at": begin + 900, "state": "resolved"}
        one = make_anomaly(numbers[labels], started_at=begin, **last)
        found = await write_anomalies(
            connection, watch_id=world.watch_id, version=1, anomalies=[one]
        )
        await judge_anomalies(
            connection,
            model_id=world.model_id,
            ids=list(found.values()),
            feedback=Feedback.DISMISSED,
            reason="the nightly backup",
            by="ada",
        )
    version = await world.train(1)
    whole = measured(version).total()
    assert whole.candidate.recorded == Found()
    assert whole.candidate.dismissed == Found(found=0, of=1)
    # Nothing is left out of what the series learns from.
    assert version.report is not None
    learned = {row["labels"]["instance"]: row["samples"] for row in version.report["series"]}
    assert learned["shop-00001"] == learned["shop-00000"] == TICKS - TAIL
    (row,) = version.report["watches"]
    assert "1 recorded anomalies lie in the window, of which people dismissed 1" in row["notes"]


async def test_a_confirmed_anomaly_is_left_out_however_long_it_lasted(world: World) -> None:
    labels = labels_from({"__name__": "simulated_requests", "instance": "shop-00001"})
    begin, end = NOW - 3 * DAY, NOW - 3 * DAY + 30 * 3600
    async with world.database.acquire() as connection:
        numbers = await register_series(connection, watch_id=world.watch_id, labels=[labels])
        last = {"last_anomalous_at": end, "ended_at": end, "state": "resolved"}
        one = make_anomaly(numbers[labels], started_at=begin, **last)
        found = await write_anomalies(
            connection, watch_id=world.watch_id, version=1, anomalies=[one]
        )
    learned = [await _samples_of(world, 1)]
    async with world.database.acquire() as connection:
        await judge_anomalies(
            connection,
            model_id=world.model_id,
            ids=list(found.values()),
            feedback=Feedback.CONFIRMED,
            reason="INC-204",
            by="ada",
        )
    learned.append(await _samples_of(world, 2))
    # A day and more is how things are now, unless somebody says that it was none of that.
    assert learned[0] == TICKS - TAIL
    assert learned[0] - 30 * 3600 // STEP - 4 <= learned[1] <= learned[0] - 30 * 3600 // STEP


async def _samples_of(world: World, version: int) -> int:
    report = (await world.train(version)).report
    assert report is not None
    by_instance = {row["labels"]["instance"]: row["samples"] for row in report["series"]}
    return int(by_instance["shop-00001"])


async def test_a_version_that_cannot_be_measured_is_trained_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such weights")

    monkeypatch.setattr(gatekeeping, "measure", broken)
    version = await world.train(1)
    assert version.trained_at is not None
    gate = measured(version)
    assert gate.error == "watch requests: RuntimeError: no such weights"
    assert (gate.watches, gate.inconclusive) == ((), "")


async def test_serving_artifacts_that_are_broken_are_said_so(world: World) -> None:
    first = await world.train(1)
    await world.serve(1)
    async with world.database.acquire() as connection:
        await connection.execute(
            "UPDATE model_artifacts SET content = '\\x00' WHERE models_row = $1", first.id
        )
    (row,) = measured(await world.train(2, now=NOW + DAY)).watches
    assert row.serving is None
    assert row.note == "1 chunks of the serving version cannot be read"
    assert row.candidate.samples > 0


async def test_what_is_excluded_from_training_is_not_judged_either(world: World) -> None:
    excluded = [{"from": "2025-10-09T08:00:00Z", "to": "2025-10-09T09:00:00Z", "reason": "outage"}]
    row = measured(await world.train(1, exclude=excluded)).total()
    assert row.candidate.samples < 3 * (TAIL - 10)


async def test_a_run_that_is_stopped_while_measuring_stores_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metricwatch.algorithms import FitStopped

    def stopped(*_: Any, **__: Any) -> Any:
        raise FitStopped("stopped while measuring")

    monkeypatch.setattr(measuring, "walk_tail", stopped)
    with pytest.raises(FitStopped):
        await world.train(1)
    assert (await world.version(1)).trained_at is None
