"""A disk that is full, for one table of a real PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.integration.postgres_fixture import Postgres

from metricwatch.store.partitions import DAY_SECONDS, partition_name
from metricwatch.store.pool import Database

_DISK_BYTES = 8 * 2**20
_PADDING_ROWS = 25_000


@asynccontextmanager
async def full_disk(postgres: Postgres, database: Database) -> AsyncIterator[None]:
    """Today's scores have no room to grow for the length of the block.

    Root mounts a small file system and fills it. Anybody else gives the server's processes a limit
    of the size of files, as a quota does.
    """
    partition = partition_name(int(time.time()) // DAY_SECONDS)
    disk = _full_file_system if os.geteuid() == 0 else _largest_file
    async with disk(postgres, database, partition):
        yield


@asynccontextmanager
async def _full_file_system(
    postgres: Postgres, database: Database, partition: str
) -> AsyncIterator[None]:
    with _mounted() as folder:
        shutil.chown(folder, postgres.account["user"], postgres.account["group"])
        async with database.acquire() as connection:
            await connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            await connection.execute(f"ALTER TABLE {partition} SET TABLESPACE small")
        filler = folder / "filler"
        _fill(filler)
        yield
        filler.unlink()
        async with database.acquire() as connection:
            await connection.execute(f"ALTER TABLE {partition} SET TABLESPACE pg_default")
            await connection.execute("DROP TABLESPACE small")


@contextmanager
def _mounted() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="metricwatch-disk-"))
    size = f"size={_DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        while True:
            opened.write(b"\0" * 4096)


@asynccontextmanager
async def _largest_file(
    postgres: Postgres, database: Database, partition: str
) -> AsyncIterator[None]:
    async with database.acquire() as connection:
        # Segments of the log are of 16 MiB and must stay writable, so the table has to be larger:
        # with a tenth of its pages in use, soon.
        await connection.execute(f"ALTER TABLE {partition} SET (fillfactor = 10)")
        await connection.execute(
            f"INSERT INTO {partition} (metric_id, version, ts, value, expected, lower, upper, "
            "rarity, score, anomalous) SELECT -1, n, now(), 0, 0, 0, 0, 0, 0, false "
            f"FROM generate_series(1, {_PADDING_ROWS}) n"
        )
        size = await connection.fetchval(f"SELECT pg_relation_size('{partition}')")
    _limit(postgres, size)
    try:
        yield
    finally:
        _limit(postgres, "unlimited")
        async with database.acquire() as connection:
            await connection.execute(f"DELETE FROM {partition} WHERE metric_id = -1")
            await connection.execute(f"ALTER TABLE {partition} RESET (fillfactor)")


def _limit(postgres: Postgres, size: int | str) -> None:
    for pid in postgres.processes():
        # As the server's own user: not every root may do it to others. Some end meanwhile.
        command = ["prlimit", f"--fsize={size}:unlimited", "--pid", str(pid)]
        subprocess.run(command, check=False, **postgres.account)
