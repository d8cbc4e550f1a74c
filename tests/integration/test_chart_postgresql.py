"""The embedded PostgreSQL's script with a real server: what a pod of it goes through."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.chart_rendering import CHART

from metricwatch_dev.paths import cache_directory

# PostgreSQL refuses to run as root, as does the pod.
RUNNER = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


class Pod:
    """One volume, on which the script is run again and again."""

    def __init__(self, directory: Path, *, port: int) -> None:
        self.directory = directory
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        shutil.copy(CHART / "files" / "postgresql.sh", directory / "postgresql.sh")
        (directory / "volume").mkdir()
        for path in (directory, *directory.iterdir()):
            os.chown(path, RUNNER.pw_uid, RUNNER.pw_gid)

    def call(self, *arguments: str) -> "subprocess.Popen[bytes]":
        services = cache_directory() / "services" / "bin"
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                ["/bin/sh", str(self.directory / "postgresql.sh"), *arguments],
                env={
                    "PATH": f"{services}:/usr/bin:/bin",
                    "PGDATA": str(self.directory / "volume" / "pgdata"),
                    "PASSWORD_FILE": str(self.directory / "password"),
                    "PGPORT": str(self.port),
                    "LC_ALL": "C.UTF-8",
                },
                user=RUNNER.pw_uid if os.geteuid() == 0 else None,
                group=RUNNER.pw_gid if os.geteuid() == 0 else None,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start(self, *, password: str) -> None:
        (self.directory / "password").write_text(password)
        self.process = self.call("run")
        deadline = time.monotonic() + 180
        while self.call("ready").wait() != 0:
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> int:
        assert self.process is not None
        assert self.call("stop").wait(120) == 0
        return self.process.wait(120)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)  # PostgreSQL's word for an immediate end
        self.process.wait(120)

    async def connect(self, password: str, *, database: str = "metricwatch") -> asyncpg.Connection:
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user="metricwatch",
            password=password,
            database=database,
        )


@pytest.fixture
def pod() -> Iterator[Pod]:
    # Not under pytest's own directory, which only its owner may enter.
    directory = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    directory.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pod = Pod(directory, port=port)
    yield pod
    if pod.process is not None and pod.process.poll() is None:
        pod.kill()
    shutil.rmtree(directory)


async def test_an_empty_volume_becomes_a_database_that_only_the_password_opens(pod: Pod) -> None:
    await asyncio.to_thread(pod.start, password="first-password")
    connection = await pod.connect("first-password")
    assert await connection.fetchval("SELECT current_user") == "metricwatch"
    assert not await connection.fetchval(
        "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    )
    await connection.execute("CREATE TABLE notes (text text)")
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await pod.connect("wrong-password")


async def test_data_outlive_a_stop_with_clients_and_a_secret_made_anew(pod: Pod) -> None:
    await asyncio.to_thread(pod.start, password="first-password")
    connection = await pod.connect("first-password")
    await connection.execute("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('kept')")
    # The client stays connected: a plain SIGTERM would wait for it for ever.
    assert await asyncio.to_thread(pod.stop) == 0
    connection.terminate()

    await asyncio.to_thread(pod.start, password="second-password")
    connection = await pod.connect("second-password")
    assert await connection.fetchval("SELECT text FROM notes") == "kept"
    await connection.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await pod.connect("first-password")


async def test_a_killed_server_starts_again(pod: Pod) -> None:
    await asyncio.to_thread(pod.start, password="first-password")
    await asyncio.to_thread(pod.kill)
    # What SIGKILL would leave: a file with a process id that is another process by now.
    (pod.directory / "volume" / "pgdata" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    await asyncio.to_thread(pod.start, password="first-password")
    connection = await pod.connect("first-password")
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_an_interrupted_first_start_is_begun_again(pod: Pod) -> None:
    unfinished = pod.directory / "volume" / "pgdata.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("15\n")
    os.chown(unfinished, RUNNER.pw_uid, RUNNER.pw_gid)
    await asyncio.to_thread(pod.start, password="first-password")
    connection = await pod.connect("first-password")
    await connection.close()
    assert not unfinished.exists()
