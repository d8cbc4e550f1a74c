"""A real PostgreSQL for the tests: one server in each test process, a fresh database in each test.

The server runs on a port of its own with its files in a temporary folder, without fsync. It can
be stopped, started and restarted, for tests of what happens then. PostgreSQL refuses to run as
root, so root runs it as the user `postgres` or `nobody`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database, Timeouts
from metricwatch_migrations.apply import migrate

_TEMPLATE = "metricwatch_template"
_PATIENT = Timeouts(connect=15.0, acquire=20.0, command=30.0, lock=15.0)
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum_naptime": "1h",
    "listen_addresses": "127.0.0.1",
}


def find_binaries() -> Path:
    """The folder of `postgres` and `initdb`: Debian's, or the cache of the local cluster."""
    cache = Path(os.environ.get("METRICWATCH_CACHE", "~/.cache/metricwatch")).expanduser()
    folders = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        cache / "services/bin",
    ]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise FileNotFoundError(
        "no PostgreSQL server: apt-get install postgresql, "
        "or `python -m metricwatch_dev binaries --only services`"
    )


def _account() -> dict[str, Any]:
    """Arguments for `subprocess` that give up root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_apart(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in a loop of its own, outside any test."""
    with asyncio.Runner() as runner:
        return runner.run(coroutine)


@dataclass(slots=True)
class Postgres:
    """A server: `start`, `stop`, `restart`, `pause`, and databases on it."""

    folder: Path
    binaries: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    account: dict[str, Any] = field(default_factory=_account)
    made: int = 0

    def url(self, database: str = "postgres") -> str:
        """URL of a database of this server."""
        return f"postgresql://tester:secret@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Make the server's files; its one user has a password, as in real life."""
        if self.account:
            os.chown(self.folder, self.account["user"], self.account["group"])
        password = self.folder / "password"
        password.write_text("secret", encoding="ascii")
        password.chmod(0o644)
        subprocess.run(
            [
                self.binaries / "initdb", "--pgdata", self.folder / "data", "--username", "tester",
                "--auth", "scram-sha-256", "--pwfile", password, "--no-sync", "--encoding", "UTF8",
                "--locale", "C.UTF-8",
            ],
            check=True, capture_output=True, cwd=self.folder, **self.account,
        )  # fmt: skip

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        settings = [
            part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port),
                    "-k", self.folder, *settings,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self.account,
            )  # fmt: skip
        self.wait_until_accepting()

    def wait_until_accepting(self) -> None:
        """Wait until it accepts connections, after a start or a crash of one of its processes."""
        deadline = time.monotonic() + 180
        while not self._accepts():
            if (
                self.process is None
                or self.process.poll() is not None
                or time.monotonic() > deadline
            ):
                log_text = (self.folder / "log").read_text(errors="replace")
                raise RuntimeError(f"PostgreSQL did not start:\n{log_text[-2000:]}")
            time.sleep(0.05)

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Stop; SIGINT cuts all connections in an orderly way, SIGQUIT is a crash."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(180)
        self.process = None

    def restart(self) -> None:
        """Stop and start again, on the same port."""
        self.stop()
        self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let every process of the server hang, as a network that swallows packets does."""
        pids = self.processes()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    async def create_database(self, *, template: str = "template0") -> str:
        """Make a database and return its name."""
        self.made += 1
        name = f"test_{self.made}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    async def drop_database(self, name: str) -> None:
        """Drop a database, whoever still uses it."""
        await self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Execute a statement over a connection of its own; `database` is a name or a URL."""
        url = database if database.startswith("postgresql://") else self.url(database)
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def processes(self) -> list[int]:
        """Every process of the server."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid, *(int(pid) for pid in children.split())]

    def _accepts(self) -> bool:
        ready = subprocess.run(
            [self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
        )
        return ready.returncode == 0


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A running server with a migrated template database."""
    # Not pytest's folder: a socket's path may have 107 bytes, and another user must get there.
    folder = Path(tempfile.mkdtemp(prefix="metricwatch-postgres-"))
    server = Postgres(folder=folder, binaries=find_binaries(), port=_free_port())
    try:
        server.initialise()
        server.start()
        run_apart(_make_template(server))
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """The server, for a test that stops it: running again when the test ends."""
    yield postgres_server
    if postgres_server.process is None:
        postgres_server.start()


@pytest.fixture
async def database_url(postgres: Postgres) -> AsyncIterator[str]:
    """URL of a fresh, migrated database."""
    name = await postgres.create_database(template=_TEMPLATE)
    yield postgres.url(name)
    if postgres.process is None:
        postgres.start()
    await postgres.drop_database(name)


@pytest.fixture
async def empty_database_url(postgres: Postgres) -> AsyncIterator[str]:
    """URL of a fresh database without any table."""
    name = await postgres.create_database()
    yield postgres.url(name)
    await postgres.drop_database(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database, open in the test's event loop."""
    location = DatabaseLocation(url=database_url)
    async with Database(location, application_name="tests", timeouts=_PATIENT) as opened:
        yield opened


async def _make_template(server: Postgres) -> None:
    await server.execute(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
    await migrate(lambda: asyncpg.connect(server.url(_TEMPLATE)))
