"""`python -m metricwatch_dev demo`: from an empty cluster to a firing and a resolved alert."""

import argparse
import json
import string
import time
from pathlib import Path
from typing import TYPE_CHECKING

from metricwatch_dev import images
from metricwatch_dev.cluster import access
from metricwatch_dev.demo import installing, scenario
from metricwatch_dev.demo.installing import NAMESPACES, SHOP
from metricwatch_dev.demo.kubectl import CommandFailedError, Kubectl
from metricwatch_dev.demo.scenario import Scenario
from metricwatch_dev.demo.waiting import TooLateError, diagnose, wait_until
from metricwatch_dev.demo.watching import SIMULATOR, Watching, alert_lines
from metricwatch_dev.progress import elapsed, say, step

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

IMAGES = ("operator", "trainer", "detector", "dev-services")
_NEXT = Path(__file__).with_name("next_steps.txt")
_SHOP_VARIANTS = """\
  # learn it another way: version 2 takes over without a missed interval:
  kubectl apply -n shop -f examples/shop/variants/lstm.yaml
  # more sensitive from the next sample on, without training:
  kubectl patch mw latency -n shop --type=merge -p 'spec: {detection: {falseAlarmsPerWeek: 5}}'
"""


def add_parser(subcommands: "Subcommands") -> None:
    """Register the subcommand."""
    parser = subcommands.add_parser(
        "demo",
        help="the main job on a real cluster: learn, detect, alert, resolve",
        description=__doc__,
    )
    parser.add_argument("--csv", type=Path, nargs="+", help="replay timestamp,<series>… files")
    parser.add_argument("--algorithm", help="the family that learns, in the place of seasonal")
    parser.add_argument("--context", help="a context of your kubeconfig: use that cluster")
    parser.add_argument("--down", action="store_true", help="remove what the demo made")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo, or remove it; 1 when something did not come."""
    began = time.monotonic()
    # First: a file that cannot be replayed should not cost a cluster.
    chosen = _scenario(options)
    with step("cluster"):
        cluster = access.ensure(options.context)
    kubectl = Kubectl(cluster.environment())
    try:
        with installing.exclusively():
            if options.down:
                with step("removing the demo"):
                    installing.remove(kubectl)
                return 0
            _install(kubectl, chosen, images=_images(cluster))
            _learn(kubectl, chosen)
            _show_an_incident(kubectl, chosen)
    except (TooLateError, CommandFailedError) as problem:
        say(f"error: {problem}")
        say(diagnose(kubectl, NAMESPACES))
        return 1
    say(f"the whole demo took {elapsed(time.monotonic() - began)}")
    path = "" if cluster.tools is None else f" PATH={cluster.tools}:$PATH"
    print(_next(chosen, kubeconfig=str(cluster.kubeconfig), path=path))
    return 0


def _scenario(options: argparse.Namespace) -> Scenario:
    if options.csv:
        now = int(time.time())
        return scenario.replay(options.csv, algorithm=options.algorithm, now=now)
    return scenario.shop(algorithm=options.algorithm)


def _images(cluster: access.Cluster) -> dict[str, str]:
    with step("images"):
        return images.ensure(cluster, IMAGES)


def _install(kubectl: Kubectl, chosen: Scenario, *, images: dict[str, str]) -> None:
    watching = Watching(kubectl)
    with step("VictoriaMetrics and the simulator"):
        installing.create_namespaces(kubectl)
        installing.install_metrics(kubectl, chosen, images=images)
    with step("helm install: operator, PostgreSQL, migration"):
        installing.install_release(kubectl, images=images)
    with step("Prometheus with the chart's alert rules"):
        installing.install_prometheus(kubectl, images=images)
    with step("history in VictoriaMetrics"):
        wait_until("history", watching.backfilled, seconds=300)


def _learn(kubectl: Kubectl, chosen: Scenario) -> None:
    watching = Watching(kubectl)
    with step("the model learns"):
        kubectl.apply(chosen.resources, namespace=SHOP, server_side=False)
        wait_until("a Ready model", watching.models_ready, seconds=1200)
    with step("the detector scores every watch"):
        wait_until("Ready watches", watching.watches_ready, seconds=300)
        wait_until("scores in Prometheus", watching.detectors_scraped, seconds=120)
    _print(watching.table())


def _show_an_incident(kubectl: Kubectl, chosen: Scenario) -> None:
    watching = Watching(kubectl)
    with step("no anomaly while all is well"):
        # A false alarm of the first minutes must not be taken for the incident.
        wait_until("quiet", watching.all_resolved, seconds=600)
    since = int(time.time())
    with step(f"incident: {chosen.incident_words}"):
        kubectl.post(SIMULATOR, "/incident", chosen.incident)
        wait_until(
            "an open anomaly and a firing alert",
            watching.anomaly_open_and_alert_firing,
            seconds=180,
        )
    _print(watching.table())
    _print(watching.anomalies(since=since - 60))
    _print(alert_lines(watching.firing()))
    with step("the incident ends: anomalies and alerts are resolved"):
        kubectl.delete(SIMULATOR, "/incident")
        wait_until("the end", watching.all_resolved, seconds=600)
    _print(watching.anomalies(since=since - 60))
    _print(watching.table())


def _next(chosen: Scenario, *, kubeconfig: str, path: str) -> str:
    return string.Template(_NEXT.read_text()).substitute(
        kubeconfig=kubeconfig,
        path=path,
        simulator=SIMULATOR.path("/incident"),
        incident=json.dumps(chosen.incident),
        variants=_SHOP_VARIANTS if chosen.model == "shop" else "",
    )


def _print(text: str) -> None:
    indented = "\n".join(f"    {line}" for line in text.rstrip().splitlines())
    print(f"\n{indented}\n", flush=True)
