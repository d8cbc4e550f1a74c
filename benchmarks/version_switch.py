"""What a change of version costs on a cluster: time, ticks missed, and what a shadow adds.

Run with `PYTHONPATH=. python benchmarks/version_switch.py --series 1000 --interval 5`. It takes
the release for itself, as the cluster tests do, on the local cluster or the one in KUBECONFIG.
Series come from the simulation, so nothing but Metricwatch is at work. Ticks are counted in the
database: what should have been scored between the first version and the end, and what was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from tests.cluster.stack import Stack, anomaly_model, metric_watch

from metricwatch_dev import images
from metricwatch_dev.cluster import access
from metricwatch_dev.demo import installing
from metricwatch_dev.demo.installing import SHOP
from metricwatch_dev.demo.kubectl import Kubectl
from metricwatch_dev.demo.waiting import wait_until

MODEL = "switch"
WINDOW_MINUTES = 60
SHADOW_SECONDS = 60
LONG = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=5, help="seconds")
    parser.add_argument("--rounds", type=int, default=3, help="changes of version")
    options = parser.parse_args()
    built = images.ensure(access.ensure(), ("operator", "trainer", "detector", "dev-services"))
    kubectl = Kubectl(access.ensure().environment())
    with installing.exclusively():
        installing.remove(kubectl)
        installing.create_namespaces(kubectl)
        installing.install_release(kubectl, images=built)
        try:
            measure(Stack(kubectl), options.series, options.interval, options.rounds)
        finally:
            installing.remove(kubectl)


def measure(stack: Stack, series: int, interval: int, rounds: int) -> None:
    spec = {
        "source": {"type": "simulation"},
        "algorithm": {"type": "seasonal", "seasonal": {"periods": ["30m"]}},
        "training": {"window": f"{WINDOW_MINUTES}m"},
        "qualityGate": {"enabled": False},
        "rollout": {"rollbackWindow": "0s"},
    }
    query = f"simulation(series={series}, seed=1)"
    settings = {"interval": f"{interval}s", "maxSeries": series}
    stack.apply(anomaly_model(MODEL, spec), metric_watch(MODEL, MODEL, query, settings))
    report("apply to the first version serving", until_serving(stack, 1))
    wait_until("scores", lambda: (scored(stack) > 0, ""), seconds=LONG, pause=1.0)
    began = int(time.time())
    for number in range(2, rounds + 2):
        window = {"window": f"{WINDOW_MINUTES - number}m"}
        stack.patch("anomalymodel", MODEL, {"training": window})
        report(f"spec change to version {number} serving", until_serving(stack, number))
        time.sleep(4 * interval)
    before = usage(stack)
    time.sleep(SHADOW_SECONDS)
    alone = spent(before, usage(stack))
    shadow = {"strategy": "Shadow", "shadow": {"duration": f"{2 * SHADOW_SECONDS}s"}}
    window = {"window": f"{WINDOW_MINUTES // 2}m"}
    stack.patch("anomalymodel", MODEL, {"rollout": shadow, "training": window})
    candidate = rounds + 2
    wait_until("a candidate", lambda: (is_compared(stack, candidate), ""), seconds=LONG)
    time.sleep(2 * interval)
    before = usage(stack)
    time.sleep(SHADOW_SECONDS)
    beside = spent(before, usage(stack))
    print(f"detectors, cores: one version {alone:.3f}, with a shadow {beside:.3f}")
    report("end of the shadow to its version serving", until_serving(stack, candidate))
    time.sleep(4 * interval)
    count_ticks(stack, series, interval, began)


def count_ticks(stack: Stack, series: int, interval: int, began: int) -> None:
    until = int(time.time()) - 4 * interval
    between = f"ts BETWEEN to_timestamp({began}) AND to_timestamp({until})"
    found = stack.rows(
        "SELECT count(*) AS scored, count(*) FILTER (WHERE versions > 1) AS beside FROM (SELECT "
        f"count(*) AS versions FROM prediction_errors WHERE {between} GROUP BY metric_id, ts) q"
    )[0]
    ticks = until // interval - (began - 1) // interval
    print(
        f"ticks of {series} series: due {ticks * series}, scored {found['scored']}, missed "
        f"{ticks * series - found['scored']}; scored by two versions {found['beside']}"
    )
    doubled = stack.rows(
        "SELECT count(*) FROM anomaly_points a JOIN anomaly_points b ON a.metric_id = b.metric_id "
        "AND a.id < b.id AND a.started_at < coalesce(b.ended_at, 'infinity') "
        "AND b.started_at < coalesce(a.ended_at, 'infinity')"
    )[0]["count"]
    print(f"anomalies that overlap another of their series: {doubled}")


def until_serving(stack: Stack, number: int) -> float:
    def serves() -> bool:
        status = stack.read("anomalymodel", MODEL).get("status", {})
        return bool(status.get("servingVersion") == number)

    return stopwatch(serves, f"version {number}")


def stopwatch(holds: Callable[[], bool], what: str) -> float:
    began = time.monotonic()
    wait_until(what, lambda: (holds(), ""), seconds=LONG, pause=0.2)
    return time.monotonic() - began


def is_compared(stack: Stack, number: int) -> bool:
    versions = stack.read("anomalymodel", MODEL)["status"]["versions"]
    ready = stack.rows(f"SELECT 1 FROM models WHERE version = {number} AND ready_at IS NOT NULL")
    return versions[0]["version"] == number and bool(ready)


def scored(stack: Stack) -> int:
    return int(stack.rows("SELECT count(*) FROM prediction_errors")[0]["count"])


def usage(stack: Stack) -> dict[str, tuple[float, float]]:
    """CPU seconds of each detector container so far, and when they were read, by pod."""
    nodes = stack.kubectl.get("nodes")["items"]
    found = {}
    for node in nodes:
        path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
        for pod in json.loads(stack.kubectl.run("get", "--raw", path))["pods"]:
            name = pod["podRef"]["name"]
            if pod["podRef"]["namespace"] == SHOP and "-detector-" in name:
                cpu: dict[str, Any] = pod["containers"][0]["cpu"]
                found[name] = (cpu["usageCoreNanoSeconds"] / 1e9, parse(cpu["time"]))
    return found


def parse(text: str) -> float:
    return time.mktime(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def spent(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float:
    """Cores that the pods of both readings used in between."""
    return sum(
        (after[name][0] - before[name][0]) / max(after[name][1] - before[name][1], 1.0)
        for name in before.keys() & after.keys()
    )


def report(what: str, seconds: float) -> None:
    print(f"{what}: {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
