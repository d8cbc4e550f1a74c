"""What breaks on a real node, and what is true afterwards: API server, pods, power, deletion.

The tests of this module follow one another on one set of models, so that they wait for the same
things. An incident lasts while most of it breaks; its anomaly is one from beginning to end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.cluster.conftest import ROW_SECONDS
from tests.cluster.machine import Machine, Psql, detector_addresses, scored_ticks
from tests.cluster.stack import Stack, anomaly_model, metric_watch
from tests.integration.invariants import (
    Cluster,
    leaked_sessions,
    missed_ticks,
    undecided,
    wrong_objects,
    wrong_rows,
)

from metricwatch_dev.cluster.local import local_layout
from metricwatch_dev.demo.installing import RELEASE, SHOP, SYSTEM
from metricwatch_dev.demo.waiting import wait_until
from metricwatch_dev.demo.watching import SIMULATOR

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

MODEL, WATCH, HUNGRY = "faults", "faults", "hungry"
SERIES = "kpi-a"
AWAY_SECONDS = 60.0
BACK_SECONDS = 60.0
SPEC = {
    "algorithm": {"type": "zscore"},
    "training": {"window": "2h"},
    "qualityGate": {"maxAnomalyRate": 0.5},
    "rollout": {"rollbackWindow": "1s"},
}
# Half an interpreter's worth of memory: the kernel ends the trainer while it starts.
TIGHT = {"resources": {"requests": {"memory": "16Mi"}, "limits": {"memory": "16Mi"}}}
QUERY = 'replay{series=~"kpi-a|requests"}'
LIVE = {
    "interval": f"{ROW_SECONDS}s",
    "delay": "2s",
    "detection": {"falseAlarmsPerWeek": 5, "cooldown": "20s"},
}
SESSIONS = {"metricwatch-operator": 9, "metricwatch-detector": 9}


@dataclass(slots=True)
class Trial:
    """One model and its watch while the cluster breaks.

    Attributes:
        stack: The cluster from outside.
        machine: The cluster's node.
        since: Of each stretch in which the source had every sample, unix seconds.
    """

    stack: Stack
    machine: Machine
    since: int = 0
    incident: int = 0
    seen: dict[str, Any] = field(default_factory=dict)

    def begin_incident(self) -> None:
        """Raises one series far above what it ever was."""
        where = {"series": SERIES}
        body = {"kind": "shift", "magnitude": 50, "where": where}
        self.stack.kubectl.post(SIMULATOR, "/incident", body)
        self.incident = int(time.time())

    def anomalies(self) -> list[Any]:
        """The anomalies of the incident's series since it began, oldest first."""
        return [
            one
            for one in self.stack.anomalies(WATCH, since=self.incident - 2 * ROW_SECONDS)
            if one["labels"]["series"] == SERIES
        ]

    def wait_for_anomaly(self, state: str) -> dict[str, Any]:
        """Waits until the anomaly is there, in a state."""

        def look() -> tuple[bool, str]:
            states = [one["state"] for one in self.anomalies()]
            return states[:1] == [state], f"{states}"

        wait_until(f"an anomaly that is {state}", look, seconds=120, pause=1.0)
        first: dict[str, Any] = self.anomalies()[0]
        return first

    def wait_until_true(self, *, seconds: float = BACK_SECONDS) -> None:
        """Waits until the status is of the present generation, and Ready."""
        for kind, name in (("anomalymodel", MODEL), ("metricwatch", WATCH)):
            self.stack.wait_for_condition(kind, name, "Ready", seconds=seconds)

    def change(self) -> None:
        """Changes a policy, so that a status of before is one of an older generation."""
        budget = 5 + self.seen.setdefault("changes", 0) + 1
        self.seen["changes"] += 1
        self.stack.patch("metricwatch", WATCH, {"detection": {"falseAlarmsPerWeek": budget}})

    def force(self, namespace: str, *what: str) -> None:
        """Deletes pods at once: the kernel kills what runs in them."""
        now = ("--grace-period=0", "--force", "--wait=false")
        self.stack.kubectl.run("delete", "pod", "-n", namespace, *what, *now)

    def ask(self) -> None:
        """Asks what must be true after every fault, once all due ticks are decided."""
        until = int(time.time()) - 3 * ROW_SECONDS
        rows = Psql(self.stack)

        def rest() -> tuple[bool, str]:
            async def questions() -> list[str]:
                return [
                    *await undecided(rows, until=until),
                    *await wrong_objects(rows, _held(self.stack)),
                    *await leaked_sessions(rows, most=SESSIONS),
                ]

            found = asyncio.run(questions())
            return not found, "; ".join(found)

        wait_until("rest", rest, seconds=120, pause=1.0)

        async def questions() -> list[str]:
            return [
                *await wrong_rows(rows),
                *await missed_ticks(rows, since=self.since, until=until),
            ]

        assert asyncio.run(questions()) == []


def _held(stack: Stack) -> Cluster:
    def held(kind: str) -> list[Any]:
        found: list[Any] = stack.kubectl.get(kind, "-n", SHOP)["items"]
        return found

    return Cluster(
        models=held("anomalymodels"),
        watches=held("metricwatches"),
        jobs=held("jobs"),
        deployments=held("deployments"),
        pods=held("pods"),
        secrets=held("secrets"),
    )


@pytest.fixture(scope="module")
def trial(stack: Stack) -> Iterator[Trial]:
    hungry = anomaly_model(HUNGRY, {**SPEC, "training": {"window": "2h", **TIGHT}})
    stack.apply(
        anomaly_model(MODEL, SPEC),
        metric_watch(WATCH, MODEL, QUERY, LIVE),
        hungry,
        metric_watch(HUNGRY, HUNGRY, QUERY, LIVE),
    )
    made = Trial(stack, Machine(local_layout()))
    made.wait_until_true(seconds=600)
    made.since = int(time.time())
    yield made
    made.machine.start()
    stack.delete("metricwatch", WATCH, HUNGRY)
    stack.delete("anomalymodel", MODEL, HUNGRY)


def test_a_trainer_without_memory_says_so_and_its_model_can_be_deleted(trial: Trial) -> None:
    def said() -> tuple[bool, str]:
        found = trial.stack.condition("anomalymodel", HUNGRY, "Trained")["message"]
        return "raise training.resources.limits.memory" in found, found

    wait_until("a word about memory", said, seconds=120)
    trial.stack.kubectl.run("delete", "am,mw", HUNGRY, "-n", SHOP, "--wait=false")
    trial.force(SYSTEM, "-l", "app.kubernetes.io/component=operator")
    wait_until(
        "the end of the model and all that was its own",
        lambda: (not trial.stack.children(HUNGRY) and _is_gone(trial.stack, HUNGRY), ""),
        seconds=90,
        pause=1.0,
    )
    assert trial.stack.rows(f"SELECT 1 FROM models_info WHERE name = '{HUNGRY}'") == []


def test_detectors_go_on_while_the_api_server_is_away_for_a_minute(trial: Trial) -> None:
    (address,) = detector_addresses(trial.stack, MODEL)
    before = scored_ticks(address)
    trial.begin_incident()
    trial.machine.stop_api_server()
    try:
        ends = time.time() + AWAY_SECONDS
        wait_until("the end of a minute", lambda: (time.time() > ends, ""), seconds=90, pause=1)
        assert scored_ticks(address) >= before + AWAY_SECONDS / ROW_SECONDS * 2 // 3
    finally:
        trial.machine.start()
    trial.change()
    trial.wait_until_true()
    trial.seen["anomaly"] = trial.wait_for_anomaly("open")["id"]
    trial.ask()


def test_pods_deleted_with_an_anomaly_open_are_replaced_and_it_goes_on(trial: Trial) -> None:
    labels = f"metricwatch.io/model={MODEL},app.kubernetes.io/component=detector"
    trial.force(SHOP, "-l", labels)
    trial.force(SYSTEM, "-l", "app.kubernetes.io/component=operator")
    # The container of PostgreSQL ends as in a crash, and the kubelet starts it again.
    pod = f"{RELEASE}-postgresql-0"
    trial.stack.kubectl.run("exec", "-n", SYSTEM, pod, "--", "sh", "-c", "kill -QUIT 1")
    trial.change()
    trial.wait_until_true()
    trial.ask()
    assert trial.wait_for_anomaly("open")["id"] == trial.seen["anomaly"]


def test_a_node_that_loses_power_comes_back_with_everything(trial: Trial) -> None:
    serving = trial.stack.read("anomalymodel", MODEL)["status"]["servingVersion"]
    assert [one["id"] for one in trial.anomalies()] == [trial.seen["anomaly"]]
    trial.machine.cut_power()
    trial.machine.start()
    trial.change()
    # Pods, PostgreSQL and the source start one after another on one node.
    trial.wait_until_true(seconds=180)
    # What the source had not written down yet, and what it missed meanwhile, nobody can score.
    trial.since = int(time.time())
    trial.ask()
    assert trial.stack.read("anomalymodel", MODEL)["status"]["servingVersion"] == serving


def test_the_anomaly_ends_although_nobody_saw_the_end_of_the_incident(trial: Trial) -> None:
    # The simulator has forgotten the incident with the power.
    assert trial.wait_for_anomaly("resolved")["id"] == trial.seen["anomaly"]


def _is_gone(stack: Stack, model: str) -> bool:
    models = stack.kubectl.get("anomalymodels", "-n", SHOP)["items"]
    return all(one["metadata"]["name"] != model for one in models)
