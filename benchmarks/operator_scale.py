"""How many models one operator carries: adoption, rest, changes, take-over, memory.

Run with `PYTHONPATH=. python benchmarks/operator_scale.py --models 2500`. API server, etcd and
PostgreSQL are real; nothing runs in the pods. Each model serves a version and has a watch, a
detector and its pod; every 15 s all watches are written as detectors write a tick. With
`--without-watches` models have nothing, as right after somebody applied thousands of them.
CPU times are the operator's own, whatever else the machine does; seconds of waiting are not.
Writes are what the API server wrote to etcd, by its own count, without Leases.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

import asyncpg
from benchmarks.serving_models import Fleet
from tests.integration.control_plane import ControlPlane, run_control_plane
from tests.integration.free_ports import free_port
from tests.integration.operator_fixture import OperatorProcess
from tests.integration.postgres_fixture import Postgres, find_binaries

from metricwatch_migrations.apply import migrate

TICK_SECONDS = 15.0
SETTLE_SECONDS = 120.0
"""Statuses that the adoption has left behind are written meanwhile."""
CHANGES = 25
_WRITTEN = re.compile(
    r'^etcd_requests_total\{group="[^"]*",operation="(?:create|update|delete)",'
    r'resource="(anomalymodels|metricwatches|deployments|jobs|pods|secrets|events)"\} (\S+)$',
    re.MULTILINE,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--without-watches", action="store_true")
    parser.add_argument("--rest", type=float, default=120.0, help="seconds of rest to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metricwatch-scale-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        (directory / "postgres").mkdir()
        server = Postgres(directory / "postgres", find_binaries(), free_port())
        server.initialise()
        server.start()
        try:
            asyncio.run(migrate(lambda: asyncpg.connect(server.url())))
            (directory / "plane").mkdir()
            with run_control_plane(directory / "plane") as plane:
                plane.install_crds()
                stand = Stand(plane, server, directory, arguments.models, arguments.rest)
                stand.measure(with_watches=not arguments.without_watches)
        finally:
            server.stop()


class Stand:
    """What is measured, and with what."""

    def __init__(
        self, plane: ControlPlane, server: Postgres, directory: Path, count: int, rest: float
    ) -> None:
        self.fleet = Fleet(plane, server.url(), count)
        self._plane, self._server, self._directory = plane, server, directory
        self._count, self._rest = count, rest
        self._operators: list[OperatorProcess] = []

    def measure(self, *, with_watches: bool) -> None:
        """Everything, in the order of an operator's life."""
        try:
            if with_watches:
                self.fleet.create()
            else:
                self.fleet.create_models()
            with self._ticks() if with_watches else nullcontext():
                self._adopt(with_watches=with_watches)
                leader = self._operators[0]
                time.sleep(SETTLE_SECONDS)
                self._be_at_rest(leader)
                if with_watches:
                    self._change(leader)
                for how in (signal.SIGTERM, signal.SIGKILL):
                    self._hand_over(how)
        finally:
            for operator in self._operators:
                if operator.process is not None and operator.process.poll() is None:
                    operator.process.kill()

    def _operator(self) -> OperatorProcess:
        """Another replica, started."""
        number, port = len(self._operators), free_port()
        operator = OperatorProcess(
            self._environment(f"operator-{number}", port), self._directory / f"log-{number}", port
        )
        self._operators.append(operator)
        return operator.start()

    def _environment(self, name: str, port: int) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            # As the image has it.
            "MALLOC_ARENA_MAX": "1",
            "KUBECONFIG": str(self._plane.kubeconfig),
            "METRICWATCH_DATABASE_URL": self._server.url(),
            "METRICWATCH_TRAINER_IMAGE": "trainer:1",
            "METRICWATCH_DETECTOR_IMAGE": "detector:1",
            "METRICWATCH_NAMESPACES": "default",
            "METRICWATCH_POD_NAME": name,
            "METRICWATCH_PORT": str(port),
            "METRICWATCH_LOG_LEVEL": "warning",
        }

    def _adopt(self, *, with_watches: bool) -> None:
        operator = self._operator()
        if with_watches:
            # Each model gets its detector first, and is ready when that is.
            wait(lambda: looks(operator) >= self._count and backlog(operator) == 0)
            self.fleet.start_detectors()
            ready = 'metricwatch_condition{kind="AnomalyModel",status="True",type="Ready"}'
            wait(lambda: operator.metric(ready) == self._count)
        else:
            wait(lambda: looks(operator) >= self._count)
        wait(lambda: backlog(operator) == 0)
        report(f"adopting {self._count} models", operator)

    def _be_at_rest(self, operator: OperatorProcess) -> None:
        written, before, seen = self._writes(), cpu_seconds(operator), looks(operator)
        postgres = self._postgres_seconds()
        started = time.monotonic()
        time.sleep(self._rest)
        took = time.monotonic() - started
        share = (cpu_seconds(operator) - before) / took
        writes, database = self._writes() - written, (self._postgres_seconds() - postgres) / took
        print(
            f"at rest for {took:.0f} s: {share:.1%} of a core, "
            f"{looks(operator) - seen:.0f} looks, {dict(writes) or 'no'} writes; "
            f"PostgreSQL {database:.1%} of a core, with the ticks",
            flush=True,
        )
        report("then", operator)

    @contextmanager
    def _ticks(self) -> Iterator[None]:
        """Detectors write their ticks meanwhile."""
        over = threading.Event()

        def tick() -> None:
            while not over.is_set():
                self.fleet.score()
                over.wait(TICK_SECONDS)

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _change(self, operator: OperatorProcess) -> None:
        """How long a change takes from where it happens to the status of its model."""
        told = []
        for number in range(CHANGES):
            name = f"model-{number}-detector-v1-0"
            self.fleet.set_available(name, 0)
            told.append(stopwatch(lambda n=number: not self.fleet.is_ready(n)))
            self.fleet.set_available(name, 1)
            told.append(stopwatch(lambda n=number: self.fleet.is_ready(n)))
        for number in range(CHANGES):
            self.fleet.find_series(number, 60)
        found = [
            stopwatch(lambda n=number: self.fleet.model(n)["status"].get("series") == 60)
            for number in range(CHANGES)
        ]
        print(
            f"a detector that is gone or back, to status: median {median(told) * 1e3:.0f} ms, "
            f"longest {max(told) * 1e3:.0f} ms; {CHANGES} counts that nobody is notified of: "
            f"{sum(found):.1f} s",
            flush=True,
        )
        report("then", operator)

    def _hand_over(self, how: signal.Signals) -> None:
        """The leader ends; a replica that stands by leads, and looks at everything once."""
        leader, standby = self._operators[-1], self._operator()
        wait(lambda: standby.is_ready())
        written = self._writes()
        os.kill(leader.process.pid, how)  # type: ignore[union-attr]
        leads = stopwatch(lambda: standby.metric("metricwatch_leader") == 1.0)
        seen = stopwatch(lambda: looks(standby) >= self._count and backlog(standby) == 0)
        print(
            f"{how.name}: another replica leads after {leads:.1f} s, has looked at all after "
            f"{seen:.1f} s more, {dict(self._writes() - written) or 'no'} writes",
            flush=True,
        )
        report("then", standby)

    def _writes(self) -> Counter[str]:
        """What was written since the API server started, by resource."""
        text = self.fleet.client.get("/metrics").text
        counts = Counter[str]()
        for resource, count in _WRITTEN.findall(text):
            counts[resource] += round(float(count))
        return counts

    def _postgres_seconds(self) -> float:
        """Of the server and all its connections, as far as they still are there."""
        lines = (self._directory / "postgres").rglob("postmaster.pid")
        parent = int(next(lines).read_text().split()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return sum(process_seconds(int(one), with_ended=True) for one in (parent, *children))


def backlog(operator: OperatorProcess) -> float:
    """Keys that wait."""
    waiting = operator.metric("metricwatch_reconcile_backlog")
    return float("inf") if waiting is None else waiting


def looks(operator: OperatorProcess) -> float:
    """Looks at models so far."""
    outcomes = ("changed", "unchanged", "failed")
    return sum(
        operator.metric(f'metricwatch_reconcile_total{{outcome="{one}"}}') or 0 for one in outcomes
    )


def wait(done: Callable[[], bool], *, limit: float = 3600) -> None:
    """Looks every few seconds; for what takes minutes."""
    stopwatch(done, limit=limit, every=3.0)


def stopwatch(done: Callable[[], bool], *, limit: float = 900, every: float = 0.005) -> float:
    """Seconds until something is done."""
    started = time.monotonic()
    while not done():
        if time.monotonic() - started > limit:
            sys.exit("did not come to an end")
        time.sleep(every)
    return time.monotonic() - started


def process_seconds(pid: int, *, with_ended: bool = False) -> float:
    """CPU seconds of a process, and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(operator: OperatorProcess) -> float:
    """Of the operator."""
    assert operator.process is not None
    return process_seconds(operator.process.pid)


def report(what: str, operator: OperatorProcess) -> None:
    """CPU and memory of the operator since it started."""
    mebibytes = operator.resident_bytes() / 2**20
    peak = _peak(operator) / 2**20
    print(
        f"{what}: {cpu_seconds(operator):.1f} s CPU since its start, {mebibytes:.0f} MiB, "
        f"{peak:.0f} MiB at most",
        flush=True,
    )


def _peak(operator: OperatorProcess) -> int:
    assert operator.process is not None
    status = Path(f"/proc/{operator.process.pid}/status").read_text()
    (line,) = [one for one in status.splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
