"""The local cluster's own parts, and how they break: its API server, its node."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from dataclasses import dataclass

from tests.cluster.stack import Stack

from metricwatch_dev.cluster import cgroups, local, teardown
from metricwatch_dev.cluster.layout import BRIDGE, Layout
from metricwatch_dev.demo.installing import SHOP


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that is the cluster's one node."""

    layout: Layout

    def stop_api_server(self) -> None:
        """Kills it; what it holds is in etcd."""
        os.kill(self._pid("kube-apiserver"), signal.SIGKILL)

    def cut_power(self) -> None:
        """Everything ends at once: containers, components, the network of pods."""
        names = [file.stem for file in self.layout.processes.glob("*.json")]
        for pid in (*map(self._pid, names), *teardown.shims(self.layout.containerd_socket)):
            os.kill(pid, signal.SIGKILL)
        cgroups.stop_processes(self.layout.cgroup)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)

    def start(self) -> None:
        """Starts what does not run, as a boot does, and returns when the node is Ready."""
        local.up()

    def _pid(self, name: str) -> int:
        record = json.loads((self.layout.processes / f"{name}.json").read_text())
        return int(record["pid"])


@dataclass(frozen=True, slots=True)
class Psql:
    """PostgreSQL as the questions of the invariants know it, through kubectl."""

    stack: Stack

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, object]]:
        """Rows of a query; arguments are numbers."""
        for number, argument in reversed(list(enumerate(arguments, 1))):
            query = query.replace(f"${number}", repr(argument))
        return self.stack.rows(query)


def scored_ticks(address: str) -> float:
    """How many ticks a detector has scored, asked without the API server."""
    with urllib.request.urlopen(f"http://{address}:8080/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("metricwatch_detector_ticks_total{") and 'outcome="missed"' not in line
    )


def detector_addresses(stack: Stack, model: str) -> list[str]:
    """Where a model's detectors answer."""
    labels = f"metricwatch.io/model={model},app.kubernetes.io/component=detector"
    pods = stack.kubectl.get("pods", "-n", SHOP, "-l", labels)["items"]
    return [
        pod["status"]["podIP"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("podIP")
    ]
