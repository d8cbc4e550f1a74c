"""How long two versions take to compare by what they scored, by series and ticks.

Run against a database of its own, already migrated:
    METRICWATCH_DATABASE_URL=postgresql://… python benchmarks/version_comparison.py
It makes a model of its own, with scores that go back from now, and deletes it again.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time

import numpy as np

from metricwatch.assignments import WatchSettings
from metricwatch.store.comparison import MOST_ROWS, read_comparison
from metricwatch.store.connection import Connection
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.metrics import register_series
from metricwatch.store.models import upsert_model
from metricwatch.store.pool import Database, Timeouts
from metricwatch.store.retention import delete_model
from metricwatch.store.scores import Scores, write_scores
from metricwatch.store.watches import load_watches, upsert_watch

MODEL, WATCH = "benchmark-version-comparison", "benchmark-version-comparison-watch"
INTERVAL = 60
RUNS = 7
PATIENT = Timeouts(acquire=60.0, command=600.0)
# Series, ticks; the last ones have more scores than one comparison looks at.
SIZES = ((1_000, 10), (1_000, 360), (1_000, 1_440))


async def make_series(connection: Connection, count: int) -> tuple[int, list[int]]:
    """The model's row id, and ids of so many series of its one watch."""
    model_id = await upsert_model(
        connection, uid=MODEL, namespace="benchmark", name="comparison", generation=1
    )
    settings = WatchSettings.from_row(
        {
            "queries": [{"expr": "up"}],
            "source": {"url": "http://nowhere:9090"},
            "intervalSeconds": INTERVAL,
            "system": "",
        }
    )
    await upsert_watch(
        connection,
        model_id=model_id,
        uid=WATCH,
        namespace="benchmark",
        name="comparison",
        generation=1,
        settings=settings,
    )
    (watch,) = await load_watches(connection, model_uid=MODEL)
    labels = [(("pod", f"pod-{number}"),) for number in range(count)]
    return model_id, list(
        (await register_series(connection, watch_id=watch.id, labels=labels)).values()
    )


async def fill(database: Database, metrics: list[int], *, ticks: int, now: int) -> None:
    """Scores of both versions as detectors write them, a tick at a time."""
    random = np.random.default_rng(0)
    for tick in range(ticks):
        for version in (1, 2):
            loud = random.random(len(metrics)) < 0.002
            scores = Scores(metrics, now - INTERVAL * tick, 1, 1, 1, 1, 1, 1, loud)
            async with database.acquire() as connection:
                await write_scores(connection, version=version, scores=scores)
    async with database.acquire() as connection:
        await connection.execute("VACUUM ANALYZE prediction_errors")


async def measure(database: Database, *, series: int, ticks: int) -> str:
    now = int(time.time()) // INTERVAL * INTERVAL
    async with database.acquire() as connection:
        model_id, metrics = await make_series(connection, series)
    await fill(database, metrics, ticks=ticks, now=now)
    seconds = []
    for _ in range(RUNS):
        async with database.acquire() as connection:
            begun = time.perf_counter()
            found = await read_comparison(
                connection,
                model_id=model_id,
                version=2,
                against=1,
                since=now - INTERVAL * (ticks - 1),
            )
            seconds.append(time.perf_counter() - begun)
    await delete_model(database, uid=MODEL)
    median = statistics.median(seconds)
    rows = found.samples + found.samples_against
    return (
        f"{series:>6} series × {ticks:>5} ticks × 2 versions: {median * 1000:7.0f} ms "
        f"(first {seconds[0] * 1000:.0f}), {rows:>9,} scores of {found.series:>5} series, "
        f"{rows / median:>10,.0f} a second\n"
    )


async def main() -> None:
    location = DatabaseLocation.from_environment(os.environ)
    sys.stdout.write(f"at most about {MOST_ROWS:,} scores are looked at\n")
    async with Database(location, application_name="benchmark", timeouts=PATIENT) as database:
        try:
            for series, ticks in SIZES:
                sys.stdout.write(await measure(database, series=series, ticks=ticks))
                sys.stdout.flush()
        finally:
            await delete_model(database, uid=MODEL)


if __name__ == "__main__":
    asyncio.run(main())
