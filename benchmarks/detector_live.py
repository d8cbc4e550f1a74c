"""The detector itself on one core: HTTP in, PostgreSQL and `/metrics` out, every ten seconds.

    python benchmarks/detector_live.py [--series N ...] [--families F ...] [--ticks T] [--off X]

A PostgreSQL as the integration tests start it, and a server that answers as Prometheus does, run
beside it. `lag` is from the time of a tick until its verdicts are shown, `stored` until its scores
are in the database; both are wall time and mean little on a machine that others use. CPU is of the
detector's process, all threads, and of everything that PostgreSQL ran. `/metrics` is read, with
gzip, every 30 seconds. A negative `--nice` (root only) gives all of them the processor before
others. `--off` has all live samples so much too high (one usual deviation is 1.2).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from answering_server import answering
from detector_scale import apart
from tests.integration.detector_world import DetectorProcess, World, artifact_of
from tests.integration.postgres_fixture import Postgres, postgres_server
from tiled_models import STEP, learn, tiled

from metricwatch.assignments import WatchSettings
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database, Timeouts
from metricwatch.store.rows import Artifact

_CLOCK = os.sysconf("SC_CLK_TCK")
_PATIENT = Timeouts(connect=30, acquire=60, command=600, lock=60)
_HEALTH = """
SELECT extract(epoch FROM scored_at) AS tick, lag_seconds AS lag,
    extract(epoch FROM updated_at - scored_at) AS stored
FROM watch_health WHERE series > 0 AND scored_at IS NOT NULL
"""


@dataclass(slots=True)
class Seen:
    """What was seen of the ticks."""

    lag: dict[int, float] = field(default_factory=dict)
    stored: dict[int, float] = field(default_factory=dict)
    scrapes: list[float] = field(default_factory=list)
    size: int = 0


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15]) / _CLOCK


def gigabytes(pid: int, name: str) -> float:
    """Memory that a process holds (VmRSS), or has held at most (VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) / 1e6


def family_of_processes(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(int(child) for child in children)]


def artifacts(path: Path, series: int) -> Iterator[Artifact]:
    for number, chunk in enumerate(tiled(path, series)):
        yield artifact_of(chunk, number=number)


async def observe(world: World, process: DetectorProcess, ticks: int, seen: Seen) -> None:
    """Notes how ticks fare until so many were seen; the first ones are not counted."""
    begun, scraped = time.monotonic(), time.monotonic()
    while len(seen.lag) < ticks and time.monotonic() - begun < 3 * ticks * STEP:
        for row in await world.fetch(_HEALTH):
            seen.lag[int(row["tick"])] = row["lag"]
            seen.stored[int(row["tick"])] = float(row["stored"])
        if time.monotonic() - scraped >= 30:
            scraped = time.monotonic()
            seen.size = len((await process.get("/metrics")).content)
            seen.scrapes.append(time.monotonic() - scraped)
        await asyncio.sleep(1)


async def run(
    postgres: Postgres, path: Path, series: int, ticks: int, nice: int, off: float
) -> str:
    """Returns a line of figures for one family and size."""
    name = await postgres.create_database(template="metricwatch_template")
    location = DatabaseLocation(url=postgres.url(name))
    database = Database(location, application_name="benchmark", timeouts=_PATIENT)
    with answering(series, nice=nice, off=off) as url, tempfile.TemporaryDirectory() as folder:
        async with database:
            world = World(database, postgres.url(name), Path(folder))
            settings = {
                "queries": [{"expr": "up"}],
                "source": {"type": "prometheus", "url": url},
                "intervalSeconds": STEP,
                "system": "checkout",
                "maxSeries": series,
            }
            await world.set_watch(WatchSettings.from_row(settings))
            await world.add_version(1, artifacts(path, series))  # type: ignore[arg-type]
            # As the image has it.
            process = world.start(
                OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MALLOC_ARENA_MAX="1"
            )
            try:
                line = await _watched(world, process, postgres, ticks, nice)
            finally:
                process.terminate()
        await postgres.drop_database(name)
    return line


async def _watched(
    world: World, process: DetectorProcess, postgres: Postgres, ticks: int, nice: int
) -> str:
    pid = process.process.pid
    assert postgres.process is not None
    server = postgres.process.pid
    for one in [pid, *family_of_processes(server)]:
        os.setpriority(os.PRIO_PROCESS, one, nice)
    os.sched_setaffinity(pid, {max(os.sched_getaffinity(0))})
    begun = time.monotonic()
    warming = Seen()
    await observe(world, process, 4, warming)
    started = time.monotonic() - begun
    seen = Seen()
    spent, theirs = cpu_seconds(pid), sum(map(cpu_seconds, family_of_processes(server)))
    begun = time.monotonic()
    await observe(world, process, ticks, seen)
    passed = (time.monotonic() - begun) / STEP
    spent = cpu_seconds(pid) - spent
    theirs = sum(map(cpu_seconds, family_of_processes(server))) - theirs
    (row,) = await world.fetch("SELECT count(*) FROM anomaly_points WHERE ended_at IS NULL")
    lag, stored = np.array([*seen.lag.values()]), np.array([*seen.stored.values()])
    return (
        f"{len(lag)} ticks: lag p50 {np.median(lag):.2f}, p99 {np.quantile(lag, 0.99):.2f} s; "
        f"stored p50 {np.median(stored):.2f}, p99 {np.quantile(stored, 0.99):.2f} s; a tick takes "
        f"{spent / passed:.3f} s CPU, PostgreSQL {theirs / passed:.3f}; "
        f"{gigabytes(pid, 'VmRSS'):.2f} GB, most {gigabytes(pid, 'VmHWM'):.2f}; "
        f"start {started:.0f} s; "
        f"{len(seen.scrapes)} scrapes of {seen.size / 1e6:.0f} MB, "
        f"{np.median(seen.scrapes or [np.nan]):.2f} s; {row['count']} anomalies open"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, nargs="*", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--families", nargs="*", default=["lstm"])
    parser.add_argument("--ticks", type=int, default=60)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--off", type=float, default=0.0)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = postgres_server.__wrapped__()  # type: ignore[attr-defined]
        postgres = next(running)
        stack.callback(running.close)
        for family in chosen.families:
            path = folder / family
            apart(learn, family, path, until=int(time.time()) // STEP * STEP)
            for series in chosen.series:
                line = asyncio.run(
                    run(postgres, path, series, chosen.ticks, chosen.nice, chosen.off)
                )
                print(f"{family} S={series}: {line}; load {os.getloadavg()[0]:.0f}", flush=True)


if __name__ == "__main__":
    main()
