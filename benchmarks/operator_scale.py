"""How many models one operator carries: adoption, restart, idle, memory, on a real API server.

Run with `PYTHONPATH=. python benchmarks/operator_scale.py --models 1000`. Models have no watches,
so nothing is trained: what is measured is informers, queue, one database look and one status for
each model.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
from tests.integration.control_plane import ControlPlane, require_success, run_control_plane
from tests.integration.free_ports import free_port
from tests.integration.operator_fixture import OperatorProcess
from tests.integration.postgres_fixture import Postgres, find_binaries

from metricwatch_migrations.apply import migrate

MODELS = "/apis/metricwatch.io/v1alpha1/namespaces/default/anomalymodels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    count: int = parser.parse_args().models
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
                measure(plane, server.url(), directory, count)
        finally:
            server.stop()


def measure(plane: ControlPlane, url: str, directory: Path, count: int) -> None:
    client = plane.client()

    def create(number: int) -> None:
        manifest = {
            "apiVersion": "metricwatch.io/v1alpha1",
            "kind": "AnomalyModel",
            "metadata": {"name": f"model-{number}"},
            "spec": {"source": {"url": "http://vm.example:8428"}},
        }
        require_success(client.post(MODELS, json=manifest))

    def observed() -> int:
        models = require_success(client.get(MODELS)).json()["items"]
        return sum(one["status"]["observedGeneration"] > 0 for one in models)

    def revisions() -> list[str]:
        models = require_success(client.get(MODELS)).json()["items"]
        return [one["metadata"]["resourceVersion"] for one in models]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, range(count)))
    operator = OperatorProcess(environment(plane, url, free_port()), directory / "log", 0)
    operator.port = int(operator.environment["METRICWATCH_PORT"])
    operator.start()
    seconds = stopwatch(lambda: observed() == count)
    report(f"adoption of {count} models", seconds, operator)
    before, started = cpu_seconds(operator), time.monotonic()
    known = revisions()
    time.sleep(20)
    share = (cpu_seconds(operator) - before) / (time.monotonic() - started)
    print(f"idle: {100 * share:.1f} % of one core, {writes(known, revisions())} writes in 20 s")
    operator.stop()
    operator.start()
    total = 'metricwatch_reconcile_total{outcome="changed"}'
    seconds = stopwatch(lambda: reconciles(operator, total) >= count)
    report(f"restart with {count} models", seconds, operator)
    print(f"restart: {writes(known, revisions())} writes")
    operator.stop()


def environment(plane: ControlPlane, url: str, port: int) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "KUBECONFIG": str(plane.kubeconfig),
        "METRICWATCH_DATABASE_URL": url,
        "METRICWATCH_TRAINER_IMAGE": "trainer:1",
        "METRICWATCH_DETECTOR_IMAGE": "detector:1",
        "METRICWATCH_NAMESPACES": "default",
        "METRICWATCH_PORT": str(port),
        "METRICWATCH_LOG_LEVEL": "warning",
    }


def reconciles(operator: OperatorProcess, changed: str) -> float:
    unchanged = changed.replace("changed", "unchanged")
    return (operator.metric(changed) or 0) + (operator.metric(unchanged) or 0)


def stopwatch(done: Callable[[], bool], *, limit: float = 600) -> float:
    started = time.monotonic()
    while not done():
        if time.monotonic() - started > limit:
            sys.exit("did not come to an end")
        time.sleep(1.0)
    return time.monotonic() - started


def writes(before: list[str], after: list[str]) -> int:
    return sum(one != other for one, other in zip(before, after, strict=True))


def _proc(operator: OperatorProcess, file: str) -> str:
    process: Any = operator.process
    return Path(f"/proc/{process.pid}/{file}").read_text()


def cpu_seconds(operator: OperatorProcess) -> float:
    fields = _proc(operator, "stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def report(what: str, seconds: float, operator: OperatorProcess) -> None:
    (line,) = [one for one in _proc(operator, "status").splitlines() if one.startswith("VmRSS")]
    mebibytes = int(line.split()[1]) / 1024
    cpu = cpu_seconds(operator)
    print(f"{what}: {seconds:.1f} s, {cpu:.1f} s CPU, {mebibytes:.0f} MiB RSS")


if __name__ == "__main__":
    main()
