"""The life of versions on a cluster: scheduled, refused, compared, broken, rolled back, pinned.

The tests of this module follow one another and share one model, as its versions do in a user's
year. At its end every tick since the first version served has been scored, and decided once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.conftest import ROW_SECONDS
from tests.cluster.stack import Stack, anomaly_model, metric_watch

from metricwatch_dev.demo.installing import RELEASE, SHOP, SYSTEM
from metricwatch_dev.demo.kubectl import Manifest
from metricwatch_dev.demo.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

MODEL = "life"
LIMIT = 12
SPEC: Manifest = {
    "algorithm": {"type": "autoregressive"},
    "training": {"window": "8h"},
    # The recorded incident lies in the tail, and nobody has excluded it.
    "qualityGate": {"maxAnomalyRate": 0.2},
    "rollout": {"rollbackWindow": "15s"},
    "versionHistoryLimit": LIMIT,
}
WATCH = {"interval": f"{ROW_SECONDS}s", "delay": "2s", "detection": {"falseAlarmsPerWeek": 50}}
COMPARED_SECONDS = 40
LONG = 300


@dataclass(slots=True)
class Life:
    """One model and its versions."""

    stack: Stack
    began: int = 0

    def status(self) -> dict[str, Any]:
        """Returns the model's status."""
        status: dict[str, Any] = self.stack.read("anomalymodel", MODEL).get("status", {})
        return status

    def version(self, number: int) -> dict[str, Any]:
        """Returns what the status says of a version."""
        return next((one for one in self.status()["versions"] if one["version"] == number), {})

    def newest(self) -> int:
        """Returns the number of the newest version."""
        return int(self.status()["versions"][0]["version"])

    def serving(self) -> int:
        """Returns the number of the version that serves."""
        return int(self.status()["servingVersion"])

    def wait(self, what: str, look: Callable[[dict[str, Any]], bool]) -> None:
        """Waits until the status looks as it should."""

        def seen() -> tuple[bool, str]:
            status = self.status()
            shown = [(v["version"], v["state"], v.get("reason")) for v in status["versions"][:3]]
            return look(status), f"{status.get('servingVersion')} serves; {shown}"

        wait_until(what, seen, seconds=LONG, pause=1.0)

    def wait_for(self, number: int, state: str, reason: str | None = None) -> None:
        """Waits until a version is in a state, for a reason."""

        def look(_: dict[str, Any]) -> bool:
            found = self.version(number)
            return found.get("state") == state and reason in (None, found.get("reason"))

        self.wait(f"version {number}: {state} {reason or ''}", look)

    def patch(self, **spec: Any) -> None:
        """Merges into the spec."""
        self.stack.patch("anomalymodel", MODEL, spec)

    def annotate(self, name: str, value: str) -> None:
        """Sets an annotation of the model."""
        text = f"metricwatch.io/{name}={value}"
        self.stack.kubectl.run("annotate", "am", MODEL, "-n", SHOP, "--overwrite", text)

    def retrain(self) -> int:
        """Asks for a training run, and returns the number its version will have."""
        number = self.newest() + 1
        self.annotate("retrain-requested-at", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        return number

    def pods(self, component: str, number: int) -> list[str]:
        """Returns the names of a version's pods that have not ended."""
        labels = f"metricwatch.io/model={MODEL},metricwatch.io/version={number}"
        found = self.stack.kubectl.get(
            "pods", "-n", SHOP, "-l", f"{labels},app.kubernetes.io/component={component}"
        )
        ended = ("Succeeded", "Failed")
        return [
            pod["metadata"]["name"]
            for pod in found["items"]
            if pod["status"].get("phase") not in ended
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def kill(self, namespace: str, *what: str) -> None:
        """Kills pods at once."""
        now = ("--grace-period=0", "--force", "--wait=false")
        self.stack.kubectl.run("delete", "pod", "-n", namespace, *what, *now)

    def break_artifact(self, number: int) -> None:
        """Damages what a version is made of, and restarts its detectors."""
        self.stack.execute(
            "UPDATE model_artifacts SET content = substr(content, 1, 64) WHERE models_row = "
            "(SELECT v.id FROM models v JOIN models_info i ON i.id = v.model_id "
            f"WHERE i.name = '{MODEL}' AND v.version = {number})"
        )
        self.kill(SHOP, *self.pods("detector", number))

    def told(self, reason: str) -> list[str]:
        """Returns what events with a reason say."""
        events = self.stack.kubectl.get("events", "-n", SHOP)["items"]
        return [
            event["message"]
            for event in events
            if event["involvedObject"]["name"] == MODEL and event["reason"] == reason
        ]


@pytest.fixture(scope="module")
def life(stack: Stack) -> Iterator[Life]:
    stack.apply(
        anomaly_model(MODEL, SPEC), metric_watch(MODEL, MODEL, 'replay{series!="network"}', WATCH)
    )
    stack.wait_for_condition("anomalymodel", MODEL, "Ready", seconds=LONG)
    stack.wait_for_condition("metricwatch", MODEL, "Ready", seconds=60)
    yield Life(stack, began=int(time.time()))
    stack.delete("metricwatch", MODEL)
    stack.delete("anomalymodel", MODEL)


def test_a_schedule_brings_the_next_version(life: Life) -> None:
    life.patch(training={"schedule": "* * * * *"})
    life.wait("the next run on the status", lambda status: "nextTrainingTime" in status)
    life.wait("a scheduled version", lambda status: status["versions"][0]["version"] > 1)
    life.patch(training={"schedule": ""})
    life.wait_for(life.newest(), "Serving")
    assert any("schedule * * * * * UTC, due at" in text for text in life.told("TrainingStarted"))


def test_a_worse_version_is_refused_and_says_why(life: Life) -> None:
    serving, number = life.serving(), life.newest() + 1
    life.patch(algorithm={"type": "seasonal", "seasonal": {"periods": ["37m"]}})
    life.wait_for(number, "Rejected")
    refused = life.version(number)
    assert refused["verdict"] == "Failed"
    assert refused["quality"], "the numbers of both sides are kept"
    assert life.serving() == serving
    assert life.stack.condition("anomalymodel", MODEL, "Ready")["status"] == "True"
    life.patch(algorithm={"type": "autoregressive", "seasonal": None})


def test_a_good_version_is_compared_in_the_shadow_and_then_serves(life: Life) -> None:
    before, number = life.serving(), life.newest() + 1
    shadow = {"strategy": "Shadow", "shadow": {"duration": f"{COMPARED_SECONDS}s"}}
    life.patch(rollout=shadow, training={"window": "7h50m"})
    life.wait_for(number, "Candidate")
    assert life.serving() == before
    life.wait_for(number, "Serving")
    rows = life.stack.rows(
        "SELECT extract(epoch FROM v.served_at - v.ready_at) AS compared, v.replaced "
        "FROM models v JOIN models_info i ON i.id = v.model_id "
        f"WHERE i.name = '{MODEL}' AND v.version = {number}"
    )
    assert rows[0]["compared"] >= COMPARED_SECONDS - 1
    assert rows[0]["replaced"] == before


def test_a_candidate_with_a_broken_artifact_fails_beside_the_serving_one(life: Life) -> None:
    before, number = life.serving(), life.newest() + 1
    life.patch(
        rollout={"strategy": "Immediate", "autoPromote": False}, training={"window": "7h40m"}
    )
    life.wait(
        "a candidate that waits for a person",
        lambda status: (
            status.get("candidateVersion") == number and bool(life.told("VersionReady"))
        ),
    )
    serving_pods = life.pods("detector", before)
    life.break_artifact(number)
    life.wait_for(number, "Failed", "ArtifactDamaged")
    assert life.serving() == before
    assert life.pods("detector", before) == serving_pods


def test_a_person_lets_a_version_serve(life: Life) -> None:
    number = life.retrain()
    life.wait("a candidate", lambda status: status.get("candidateVersion") == number)
    life.annotate("promote-version", str(number))
    life.wait_for(number, "Serving")


def test_a_version_that_breaks_after_it_took_over_is_rolled_back_once(life: Life) -> None:
    before, number = life.serving(), life.newest() + 1
    life.patch(
        rollout={"autoPromote": True, "rollbackWindow": "10m"}, training={"window": "7h30m"}
    )
    life.wait_for(number, "Serving")
    assert life.pods("detector", before), "the version before runs on"
    life.break_artifact(number)
    life.wait_for(number, "Rejected", "ArtifactDamaged")
    life.wait_for(before, "Serving")
    assert life.told("RolledBack")
    life.patch(rollout={"rollbackWindow": "15s"})
    assert life.newest() == number, "a version that was rolled back is not trained once more"


def test_a_pinned_version_serves_until_it_is_unpinned(life: Life) -> None:
    best = life.serving()
    life.patch(version=1)
    life.wait_for(1, "Serving")
    life.patch(version=9999)
    found = life.stack.wait_for_reason(
        "anomalymodel", MODEL, "Stalled", "VersionNotFound", seconds=60
    )
    assert "9999" in found["message"]
    assert life.serving() == 1
    life.patch(version=best)
    life.wait_for(best, "Serving")
    number = life.newest() + 1
    life.patch(version=None, training={"window": "7h20m"})
    life.wait_for(number, "Serving")


def test_an_evicted_trainer_trains_all_the_same(life: Life) -> None:
    number = life.retrain()
    life.wait("a trainer pod", lambda _: bool(life.pods("trainer", number)))
    pod = life.pods("trainer", number)[0]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": SHOP},
    }
    path = f"/api/v1/namespaces/{SHOP}/pods/{pod}/eviction"
    life.stack.kubectl.run("create", "--raw", path, "-f", "-", text=json.dumps(eviction))
    life.wait_for(number, "Serving")
    assert life.newest() == number, "eviction is no failure: it brings no other attempt"


def test_an_operator_killed_in_every_state_repeats_and_loses_nothing(life: Life) -> None:
    shadow = {"strategy": "Shadow", "shadow": {"duration": "20s"}}
    life.patch(rollout=shadow)
    number = life.retrain()
    for state in ("Training", "Candidate", "Serving"):
        life.wait_for(number, state)
        life.kill(SYSTEM, "-l", "app.kubernetes.io/component=operator")
    life.stack.wait_for_condition("anomalymodel", MODEL, "Ready", seconds=LONG)
    life.wait("rest", lambda status: status["versions"][0]["state"] == "Serving")
    assert (life.newest(), life.serving()) == (number, number)
    jobs = life.stack.children(MODEL)["Job"]
    assert len([name for name in jobs if name.endswith(f"-train-v{number}")]) == 1


def test_a_database_that_is_away_during_promotion_only_delays_it(life: Life) -> None:
    number = life.retrain()
    life.wait_for(number, "Candidate")
    reach = ("patch", "service", f"{RELEASE}-postgresql", "-n", SYSTEM, "--type=merge", "-p")
    selector = '{"spec": {"selector": {"app.kubernetes.io/component": "%s"}}}'
    life.stack.kubectl.run(*reach, selector % "nobody")
    try:
        life.stack.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        life.stack.wait_for_condition(
            "anomalymodel", MODEL, "StoreAvailable", status="False", seconds=120
        )
        # Beyond the end of the comparison: what was due is done when the database is back.
        ends = time.time() + 25
        wait_until("the end of the comparison", lambda: (time.time() > ends, ""), seconds=60)
    finally:
        life.stack.kubectl.run(*reach, selector % "postgresql")
    life.wait_for(number, "Serving")


def test_two_models_change_their_versions_at_once(life: Life) -> None:
    life.patch(rollout={"strategy": "Immediate"})
    other = anomaly_model("other", {**SPEC, "rollout": {"rollbackWindow": "0s"}})
    life.stack.apply(other, metric_watch("other", "other", 'replay{series="network"}', WATCH))
    number = life.retrain()
    life.wait_for(number, "Serving")
    life.stack.wait_for_version("other", 1, seconds=LONG)
    life.stack.delete("metricwatch", "other")
    life.stack.delete("anomalymodel", "other")


def test_no_tick_of_all_this_time_was_missed_and_none_decided_twice(life: Life) -> None:
    until = int(time.time()) - 4 * ROW_SECONDS
    rows = life.stack.rows(
        "SELECT m.labels->>'series' AS series, "
        "array_agg(DISTINCT extract(epoch FROM p.ts)::bigint) AS ticks FROM prediction_errors p "
        "JOIN metrics m ON m.id = p.metric_id JOIN watches w ON w.id = m.watch_id "
        f"WHERE w.name = '{MODEL}' "
        f"AND p.ts BETWEEN to_timestamp({life.began}) AND to_timestamp({until}) GROUP BY 1"
    )
    expected = set(range(-(-life.began // ROW_SECONDS) * ROW_SECONDS, until + 1, ROW_SECONDS))
    assert {row["series"] for row in rows} == {"kpi-a", "kpi-b", "requests"}
    for row in rows:
        assert expected - set(row["ticks"]) == set(), row["series"]
    serving = life.stack.rows(
        "SELECT count(*) FROM models v JOIN models_info i ON i.id = v.model_id "
        f"WHERE i.name = '{MODEL}' AND v.state = 'Serving'"
    )
    assert serving == [{"count": 1}]
    overlapping = life.stack.rows(
        "SELECT a.id FROM anomaly_points a JOIN anomaly_points b ON a.metric_id = b.metric_id "
        "AND a.id < b.id AND a.started_at < coalesce(b.ended_at, 'infinity') "
        "AND b.started_at < coalesce(a.ended_at, 'infinity') "
        f"WHERE a.watch_name = '{MODEL}'"
    )
    assert overlapping == [], "an anomaly that goes on is one, whichever version sees it"
