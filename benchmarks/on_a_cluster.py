"""What a user waits for on a cluster, and what a node pulls: demo, apply to Ready, image sizes.

Run with `PYTHONPATH=. python benchmarks/on_a_cluster.py`. It takes the release for itself, as
the cluster tests do, on the local cluster or the one in KUBECONFIG. Images and cluster are there
before the clock starts; the demo is run twice, on an empty release and over the one that it left.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import time

from tests.cluster.stack import Stack, anomaly_model, metric_watch

from metricwatch_dev import images
from metricwatch_dev.cluster import access
from metricwatch_dev.demo import installing
from metricwatch_dev.demo.kubectl import Kubectl
from metricwatch_dev.registry import MANIFEST_TYPES

NAMES = ("operator", "trainer", "detector", "dev-services")
READY_SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="*", default=[10, 1000])
    options = parser.parse_args()
    cluster = access.ensure()
    built = images.ensure(cluster, NAMES)
    if cluster.registry is not None:
        for name, reference in built.items():
            print(f"image {name}: {compressed_size(reference) / 1e6:.0f} MB compressed")
    kubectl = Kubectl(cluster.environment())
    with installing.exclusively():
        installing.remove(kubectl)
    for what in ("on an empty release", "over the one before"):
        print(f"demo {what}: {demo_seconds():.0f} s", flush=True)
    with installing.exclusively():
        try:
            for series in options.series:
                seconds = apply_to_ready(Stack(kubectl), series)
                print(f"apply to Ready, {series} series: {seconds:.1f} s", flush=True)
        finally:
            installing.remove(kubectl)


def compressed_size(reference: str) -> int:
    """Bytes of an image in the local registry: what a node without any of it pulls."""
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    connection = http.client.HTTPConnection(host, timeout=10)
    path = f"/v2/{repository}/manifests/{tag}"
    connection.request("GET", path, headers={"Accept": MANIFEST_TYPES})
    manifest = json.loads(connection.getresponse().read())
    connection.close()
    return int(manifest["config"]["size"]) + sum(layer["size"] for layer in manifest["layers"])


def demo_seconds() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "metricwatch_dev", "demo"], check=True)
    return time.monotonic() - began


def apply_to_ready(stack: Stack, series: int) -> float:
    """Seconds from `kubectl apply` of a model and its watch until both are Ready."""
    spec = {
        "source": {"type": "simulation"},
        "algorithm": {"type": "seasonal", "seasonal": {"periods": ["30m"]}},
        "training": {"window": "60m"},
    }
    name = f"ready-{series}"
    watched = {"interval": "5s", "maxSeries": series}
    query = f"simulation(series={series}, seed=1)"
    began = time.monotonic()
    stack.apply(anomaly_model(name, spec), metric_watch(name, name, query, watched))
    for kind in ("anomalymodel", "metricwatch"):
        stack.wait_for_condition(kind, name, "Ready", seconds=READY_SECONDS)
    seconds = time.monotonic() - began
    stack.delete("metricwatch", name)
    stack.delete("anomalymodel", name)
    return seconds


if __name__ == "__main__":
    main()
