"""What a detector has to write when the database is slow or was away for long."""

import asyncio
import time

import numpy as np
from tests.integration.postgres_fixture import Postgres
from tests.integration.store_rows import NOW, make_labels, make_world
from tests.integration.tcp_proxy import proxied

from metricwatch.anomalies import Policy, Verdicts
from metricwatch.store.errors import StoreError
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database, Timeouts
from metricwatch.store.rows import WHOLE
from metricwatch_detector.exposition import WatchLabels
from metricwatch_detector.ledger import Ledger
from metricwatch_detector.recording import Identity, Recorder
from metricwatch_detector.room import LEAST_TICKS, Room
from metricwatch_detector.schedule import Schedule
from metricwatch_detector.slots import SlotIndex
from metricwatch_detector.telemetry import Telemetry

SERIES, TICKS = 200, 150
POLICY = Policy(interval=60, threshold=4.0)
SETTINGS = (POLICY, Schedule(60), "checkout")


def quiet(tick: int, series: int) -> Verdicts:
    """Samples of nothing special."""
    ones = np.ones(series)
    return Verdicts(
        time=tick,
        value=ones,
        expected=ones,
        lower=0 * ones,
        upper=2 * ones,
        rarity=0.1 * ones,
        score=0.1 * ones,
        typical=ones,
        severity=0 * ones,
        side=np.zeros(series, np.int8),
        long=np.zeros(series, np.bool_),
    )


class Desk:
    """A recorder and what it works with."""

    def __init__(self, database: Database, *, model_id: int, watch_id: int, room: Room) -> None:
        labels = make_labels(*(f"pod-{number}" for number in range(SERIES)))
        self.room, self.ledger = room, Ledger()
        self.recorder = Recorder(
            database,
            Identity(
                watch_id, "watch-1", model_id, 1, WHOLE, WatchLabels("shop", "latency", "checkout")
            ),
            index=SlotIndex(labels),
            ledger=self.ledger,
            family_of=lambda slot: "zscore",
            telemetry=Telemetry(version=1, shard=0),
            room=room,
        )

    def put(self, ticks: int) -> None:
        for number in range(ticks):
            verdicts = quiet(NOW + 60 * number, SERIES)
            self.room.take(1, series=SERIES)
            self.ledger.add(POLICY, verdicts, most=self.room.ticks)
            self.recorder.put(verdicts)


async def test_what_a_slow_database_does_not_take_at_once_it_takes_in_parts(
    database: Database, database_url: str, postgres: Postgres
) -> None:
    async with database.acquire() as connection:
        rows = await make_world(connection)
    async with proxied(postgres.port) as proxy:
        # 3.6 MB wait, and a statement may take one second.
        proxy.bytes_per_second = 1_000_000.0
        location = DatabaseLocation(url=database_url.replace(str(postgres.port), str(proxy.port)))
        timeouts = Timeouts(connect=20.0, acquire=20.0, command=1.0)
        async with Database(location, application_name="slow", timeouts=timeouts) as slow:
            desk = Desk(slow, model_id=rows.model_id, watch_id=rows.watch_id, room=Room())
            desk.put(TICKS)
            attempts = await _until_written(desk.recorder)
        assert attempts > 1
    async with database.acquire() as connection:
        written = await connection.fetchrow(
            """SELECT count(*) AS rows, count(DISTINCT ts) AS ticks,
            (SELECT extract(epoch FROM decided_until)::bigint FROM decisions) AS until
            FROM prediction_errors"""
        )
    assert written is not None
    expected = {"rows": SERIES * TICKS, "ticks": TICKS, "until": NOW + 60 * (TICKS - 1)}
    assert dict(written) == expected


async def _until_written(recorder: Recorder) -> int:
    deadline = time.monotonic() + 120
    attempts = 0
    while time.monotonic() < deadline:
        attempts += 1
        try:
            await recorder.flush(*SETTINGS)
        except StoreError:
            await asyncio.sleep(0.1)
        else:
            return attempts
    raise AssertionError(f"not written in {attempts} attempts")


async def test_of_what_had_to_wait_for_too_long_the_newest_is_written_and_all_is_decided(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        rows = await make_world(connection)
    room = Room(most_values=1000)
    room.take(2, series=50_000)
    desk = Desk(database, model_id=rows.model_id, watch_id=rows.watch_id, room=room)
    desk.put(TICKS)
    assert desk.ledger.waiting == LEAST_TICKS
    await desk.recorder.flush(*SETTINGS)
    async with database.acquire() as connection:
        written = await connection.fetchrow(
            """SELECT extract(epoch FROM min(ts))::bigint AS oldest,
            (SELECT extract(epoch FROM decided_until)::bigint FROM decisions) AS until
            FROM prediction_errors"""
        )
    assert written is not None
    last = NOW + 60 * (TICKS - 1)
    assert dict(written) == {"oldest": last - 60 * (LEAST_TICKS - 1), "until": last}
