"""PostgreSQL in trouble, and detectors killed while they write: nothing is lost, nothing doubled.

One detector goes without its database for five minutes while the other tests run.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from tests.integration.detector_fixture import world
from tests.integration.detector_questions import (
    catches_up,
    single_anomaly,
    state_of,
)
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
from tests.integration.postgres_fixture import Postgres, run_apart
from tests.integration.small_disk import full_disk
from tests.integration.tcp_proxy import TcpProxy, proxied

from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database

__all__ = ["world"]

# What is started first goes on beside all tests, and the last one waits for it.
pytestmark = pytest.mark.timeout(900)

AWAY_SECONDS = 300
MOST_GROWTH_BYTES = 64 * 2**20


@pytest.fixture(autouse=True)
def beside(five_minutes: object) -> None:
    """Every test of this file runs while a detector goes without its database."""


@dataclass(slots=True)
class FiveMinutes:
    """A detector whose database is away, in a thread of its own.

    Attributes:
        is_away: other tests may begin.
        may_end: no other test runs any more, so the database may come back.
        is_over: nobody wants to know how it ends.
    """

    is_away: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)
    is_over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture(scope="module")
def five_minutes(
    postgres_server: Postgres,
    victoriametrics: VictoriaMetrics,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[FiveMinutes, Future[None]]]:
    """Begins with the first test; `may_end` lets the database come back."""
    name = run_apart(postgres_server.create_database(template="metricwatch_template"))
    signs, folder = FiveMinutes(), tmp_path_factory.mktemp("five-minutes")
    scenario = goes_without(signs, postgres_server, name, victoriametrics, folder)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(asyncio.run, scenario)
        while not signs.is_away.wait(0.2) and not ending.done():
            pass
        try:
            yield signs, ending
        finally:
            signs.is_over.set()
            signs.may_end.set()


async def goes_without(
    signs: FiveMinutes, postgres: Postgres, name: str, server: VictoriaMetrics, folder: Path
) -> None:
    """Five minutes without a database: metrics go on, and everything is there afterwards."""
    url = postgres.url(name)
    async with (
        Database(DatabaseLocation(url=url), application_name="tests") as database,
        proxied(postgres.port) as proxy,
        feeding(Feed(server, "five_minutes", ["a", "b"])) as feed,
    ):
        world = World(database, url, folder)
        detector = await scoring(world, feed, through=proxy)
        try:
            feed.raised.add("a")
            await eventually(world.anomalies, what="an anomaly")
            before = await single_anomaly(world, feed)
            proxy.cut()
            signs.is_away.set()
            memory = resident_bytes(detector)
            await asyncio.to_thread(signs.is_over.wait, AWAY_SECONDS / 2)
            feed.raised.add("b")
            await asyncio.to_thread(signs.is_over.wait, AWAY_SECONDS / 2)
            await asyncio.to_thread(signs.may_end.wait)
            if signs.is_over.is_set():
                return
            assert 'pod="b"} 1\n' in await detector.metrics()
            assert (await detector.get("/healthz")).status_code == 200
            assert resident_bytes(detector) - memory < MOST_GROWTH_BYTES
            proxy.mend()
            await catches_up(world, feed)
            both = await world.anomalies()
            assert len(both) == 2
            assert before[0] in {one.id for one in both}
            assert all(one.anomaly.state == "open" for one in both)
        finally:
            detector.kill()


def resident_bytes(detector: DetectorProcess) -> int:
    pages = Path(f"/proc/{detector.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


async def scoring(world: World, feed: Feed, *, through: TcpProxy | None = None) -> DetectorProcess:
    await world.set_watch(settings_of(feed))
    await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
    return await started(world, through)


async def started(world: World, through: TcpProxy | None = None) -> DetectorProcess:
    url = world.url
    if through is not None:
        url = url.replace(f":{through.target}/", f":{through.port}/")
    detector = world.start(METRICWATCH_DATABASE_URL=url)
    await eventually(detector.is_ready, what="ready")
    return detector


async def failures(detector: DetectorProcess) -> float:
    """Attempts to use the database that failed."""
    return sum(
        float(line.rsplit(" ", 1)[1])
        for line in (await detector.metrics()).splitlines()
        if line.startswith("metricwatch_detector_store_errors_total{")
    )


@dataclass(slots=True)
class Scene:
    """What a fault is made of."""

    world: World
    postgres: Postgres
    proxy: TcpProxy
    detector: DetectorProcess

    async def is_felt(self) -> None:
        before = await failures(self.detector)

        async def more() -> bool:
            return await failures(self.detector) > before

        await eventually(more, what="an attempt that failed")


Fault = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def restarted(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.postgres.restart)
    yield


@asynccontextmanager
async def cut_and_slow(scene: Scene) -> AsyncIterator[None]:
    """Connections end, and new ones are slow: a quarter of a second each way."""
    scene.proxy.cut()
    await scene.is_felt()
    scene.proxy.delay = 0.25
    scene.proxy.mend()
    yield
    await asyncio.sleep(5)
    scene.proxy.delay = 0.0


@asynccontextmanager
async def frozen(scene: Scene) -> AsyncIterator[None]:
    """Nothing is refused, nothing is answered."""
    scene.proxy.freeze()
    await scene.is_felt()
    yield
    scene.proxy.thaw()


@asynccontextmanager
async def without_free_connections(scene: Scene) -> AsyncIterator[None]:
    """Others have all there are."""
    scene.proxy.cut()
    async with AsyncExitStack() as taken:
        try:
            while True:
                other = await asyncpg.connect(scene.postgres.url())
                taken.push_async_callback(other.close)
        except asyncpg.TooManyConnectionsError:
            pass
        scene.proxy.mend()
        await scene.is_felt()
    yield


@asynccontextmanager
async def read_only(scene: Scene) -> AsyncIterator[None]:
    """The primary is a standby after a failover, until it is promoted again."""
    postgres = scene.postgres
    await asyncio.to_thread(postgres.stop)
    signal = postgres.folder / "data" / "standby.signal"
    signal.touch()
    await asyncio.to_thread(postgres.start)
    await scene.is_felt()
    yield
    await postgres.execute("SELECT pg_promote()")


@asynccontextmanager
async def locked(scene: Scene) -> AsyncIterator[None]:
    """Somebody holds the tables for longer than a lock is waited for."""
    async with scene.world.database.transaction() as connection:
        await connection.execute("LOCK TABLE prediction_errors, decisions IN EXCLUSIVE MODE")
        await scene.is_felt()
    yield


FAULTS: tuple[Fault, ...] = (
    restarted,
    cut_and_slow,
    frozen,
    without_free_connections,
    read_only,
    locked,
)


async def test_whatever_happens_to_postgresql_nothing_is_lost_and_nothing_is_doubled(
    world: World, victoriametrics: VictoriaMetrics, postgres: Postgres
) -> None:
    async with (
        proxied(postgres.port) as proxy,
        feeding(Feed(victoriametrics, "store_trouble", ["a"])) as feed,
    ):
        detector = await scoring(world, feed, through=proxy)
        feed.raised.add("a")
        await eventually(world.anomalies, what="an anomaly")
        before, memory = await single_anomaly(world, feed), resident_bytes(detector)
        scene = Scene(world, postgres, proxy, detector)
        for fault in FAULTS:
            async with fault(scene):
                assert (await detector.get("/healthz")).status_code == 200, fault
            await catches_up(world, feed)
            assert await single_anomaly(world, feed) == before, fault
        assert (await state_of(world)) == ("Scoring", "")
        assert resident_bytes(detector) - memory < MOST_GROWTH_BYTES
        assert "storing failed" not in detector.log.read_text()


async def test_a_disk_that_takes_no_scores_keeps_no_anomaly_from_being_recorded(
    world: World, victoriametrics: VictoriaMetrics, postgres: Postgres
) -> None:
    # So many rows a second that a page of the table is full soon.
    pods = ["a", *(f"pod-{number}" for number in range(40))]
    async with feeding(Feed(victoriametrics, "store_full", pods)) as feed:
        detector = await scoring(world, feed)
        scene = Scene(world, postgres, TcpProxy(postgres.port), detector)
        async with full_disk(postgres, world.database):
            await scene.is_felt()

            async def told() -> bool:
                return "scores wait to be stored" in (await state_of(world))[1]

            await eventually(told, what="the health of the watch")
            assert (await state_of(world))[0] == "Scoring"
            feed.raised.add("a")
            await eventually(world.anomalies, what="an anomaly without its scores")
        await catches_up(world, feed)
        assert await state_of(world) == ("Scoring", "")
        assert len(await world.anomalies()) == 1


@pytest.mark.parametrize("table", ["prediction_errors", "anomaly_points"])
async def test_a_detector_killed_in_the_middle_of_a_transaction_goes_on_as_if_it_had_not_begun(
    table: str, world: World, victoriametrics: VictoriaMetrics
) -> None:
    async with feeding(Feed(victoriametrics, f"store_kill_{table}", ["a"])) as feed:
        detector = await scoring(world, feed)
        feed.raised.add("a")
        await eventually(world.anomalies, what="an anomaly")
        before = await single_anomaly(world, feed)
        async with world.database.transaction() as connection:
            await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

            async def writing() -> list[object]:
                return await world.fetch(
                    """SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'
                    AND application_name LIKE 'metricwatch-detector%' AND query LIKE $1""",
                    f"%{table}%",
                )

            await eventually(writing, what="a statement under way")
            detector.kill()
        await started(world)
        await catches_up(world, feed)
        assert await single_anomaly(world, feed) == before
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="the end of the anomaly")
        assert await single_anomaly(world, feed) == before


async def test_five_minutes_without_a_database_are_caught_up(
    five_minutes: tuple[FiveMinutes, Future[None]],
) -> None:
    signs, ending = five_minutes
    signs.may_end.set()
    await asyncio.wrap_future(ending)
