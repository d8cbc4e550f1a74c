"""How fast scores go into PostgreSQL: rows a second by size of a tick, first time and repeated.

It starts a PostgreSQL as the integration tests do, which does not wait for the disk. To measure
one that does, name a database that is already migrated:
    METRICWATCH_DATABASE_URL=postgresql://… python benchmarks/store_copy.py
It writes scores under version 2147483647 of metrics that do not exist, and deletes them.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from tests.integration.postgres_fixture import postgres_server

from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database
from metricwatch.store.scores import Scores, write_scores

VERSION = 2**31 - 1
FIRST_METRIC = 2**40
TICKS = 20
SIZES = (10, 1_000, 10_000, 50_000)


def make_scores(series: int, ts: int) -> Scores:
    values = np.random.default_rng(ts).normal(size=(6, series))
    metrics = np.arange(FIRST_METRIC, FIRST_METRIC + series)
    value, expected, lower, upper, rarity, score = values
    return Scores(
        metric_id=metrics,
        ts=ts,
        value=value,
        expected=expected,
        lower=lower,
        upper=upper,
        rarity=rarity,
        score=score,
        anomalous=np.zeros(series, np.bool_),
    )


async def measure(database: Database, series: int, start: int) -> tuple[float, float, float]:
    """Seconds for one tick: laying it out, writing it, writing it again; medians."""
    encoding: list[float] = []
    first: list[float] = []
    repeated: list[float] = []
    for tick in range(TICKS):
        scores = make_scores(series, start + tick)
        begun = time.perf_counter()
        scores.encode()
        encoding.append(time.perf_counter() - begun)
        for durations in (first, repeated):
            begun = time.perf_counter()
            async with database.acquire() as connection:
                await write_scores(connection, version=VERSION, scores=scores)
            durations.append(time.perf_counter() - begun)
    return statistics.median(encoding), statistics.median(first), statistics.median(repeated)


@contextmanager
def somewhere() -> Iterator[DatabaseLocation]:
    """The database that the environment names, or one of a server that ends with us."""
    if "METRICWATCH_DATABASE_URL" in os.environ:
        yield DatabaseLocation.from_environment(os.environ)
        return
    running = postgres_server.__wrapped__()  # type: ignore[attr-defined]
    try:
        yield DatabaseLocation(url=next(running).url("metricwatch_template"))
    finally:
        running.close()


async def volume(database: Database) -> str:
    """Disk that a stored score takes, with the index."""
    async with database.acquire() as connection:
        rows = await connection.fetchval("SELECT count(*) FROM prediction_errors")
        heap, indexes = await connection.fetchrow(
            "SELECT sum(pg_table_size(relid)), sum(pg_indexes_size(relid)) "
            "FROM pg_partition_tree('prediction_errors') WHERE isleaf"
        )
    each = (float(heap) + float(indexes)) / rows
    return (
        f"{rows:,} rows: {each:.0f} bytes each, of which indexes {float(indexes) / rows:.0f}; "
        f"a series every minute for 14 days: {each * 14 * 1440 / 1e6:.2f} MB\n"
    )


async def main(location: DatabaseLocation) -> None:
    async with Database(location, application_name="benchmark") as database:
        now = int(time.time())
        try:
            for index, series in enumerate(SIZES):
                encode, first, repeated = await measure(database, series, now + index * TICKS)
                sys.stdout.write(
                    f"{series:>6} series a tick: {first * 1000:8.1f} ms, "
                    f"{series / first:>9,.0f} rows/s (layout {encode * 1000:.2f} ms); "
                    f"repeated, nothing new: {repeated * 1000:.1f} ms\n"
                )
            sys.stdout.write(await volume(database))
        finally:
            async with database.acquire() as connection:
                await connection.execute(
                    "DELETE FROM prediction_errors WHERE version = $1", VERSION
                )


if __name__ == "__main__":
    with somewhere() as chosen:
        asyncio.run(main(chosen))
