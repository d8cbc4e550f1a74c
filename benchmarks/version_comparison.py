"""How long two versions take to compare by what they scored, by series and ticks.

Once every score, and once as many as the operator looks at; seconds on the clock, and of processor
time in PostgreSQL where that runs on the same machine.

Run against a database of its own, already migrated:
    METRICWATCH_DATABASE_URL=postgresql://… python benchmarks/version_comparison.py
It makes a model of its own, with scores that go back from now, and deletes it again.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import sys
import time
from pathlib import Path

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
# Series, ticks.
SIZES = ((1_000, 10), (1_000, 360))


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


def processor_seconds(pid: int) -> float:
    """Processor time that a process has had; NaN when it runs elsewhere."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def compare(database: Database, model_id: int, *, since: int, most_rows: int) -> str:
    """One line: what was looked at, and the medians of several times."""
    seconds, processor = [], []
    for _ in range(RUNS):
        async with database.acquire() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            before, begun = processor_seconds(pid), time.perf_counter()
            found = await read_comparison(
                connection,
                model_id=model_id,
                version=2,
                against=1,
                since=since,
                most_rows=most_rows,
            )
            seconds.append(time.perf_counter() - begun)
            processor.append(processor_seconds(pid) - before)
    rows = found.samples + found.samples_against
    return (
        f"{rows:>9,} scores of {found.series:>5} series: "
        f"{statistics.median(seconds) * 1000:6.0f} ms, "
        f"{statistics.median(processor) * 1000:6.0f} ms of processor time\n"
    )


async def measure(database: Database, *, series: int, ticks: int) -> None:
    now = int(time.time()) // INTERVAL * INTERVAL
    async with database.acquire() as connection:
        model_id, metrics = await make_series(connection, series)
    await fill(database, metrics, ticks=ticks, now=now)
    sys.stdout.write(f"{series:,} series × {ticks:,} ticks × 2 versions\n")
    for most_rows in (10**12, MOST_ROWS):
        since = now - INTERVAL * (ticks - 1)
        line = await compare(database, model_id, since=since, most_rows=most_rows)
        sys.stdout.write(line)
        sys.stdout.flush()
    await delete_model(database, uid=MODEL)


async def main() -> None:
    location = DatabaseLocation.from_environment(os.environ)
    async with Database(location, application_name="benchmark", timeouts=PATIENT) as database:
        try:
            for series, ticks in SIZES:
                await measure(database, series=series, ticks=ticks)
        finally:
            await delete_model(database, uid=MODEL)


if __name__ == "__main__":
    asyncio.run(main())
