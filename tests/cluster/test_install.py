"""A release's life on a cluster: installed, upgraded, rolled back, removed and installed again.

The tests follow one another and share a model that serves all along, on a PostgreSQL of the user's
own. Through all of it the model's detectors are the same pods and score every interval.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster import own_database
from tests.cluster.own_database import AUTHORITY, CERTIFIED, CLIENT, PLAIN
from tests.cluster.stack import API

from metricwatch_dev import images
from metricwatch_dev.cluster import access
from metricwatch_dev.demo.installing import CHART, INSTALLATION, release_values
from metricwatch_dev.demo.installing import CRDS as CRD_FILES
from metricwatch_dev.demo.kubectl import CommandFailedError, Kubectl, Manifest
from metricwatch_dev.demo.waiting import condition_words, diagnose, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RELEASE = "metricwatch"
SYSTEM, WATCHED = "metricwatch-install", "watched-install"
PREVIOUS = Path(__file__).parent / "data" / "metricwatch-0.1.0.tgz"
CRDS = ("anomalymodels.metricwatch.io", "metricwatches.metricwatch.io")
MODEL = "kept"
INTERVAL = 10
LONG = 500
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
MANIFESTS: list[Manifest] = [
    {
        "apiVersion": API,
        "kind": "AnomalyModel",
        "metadata": {"name": MODEL},
        "spec": {"algorithm": {"type": "seasonal"}, "training": {"window": "6h"}},
    },
    {
        "apiVersion": API,
        "kind": "MetricWatch",
        "metadata": {"name": MODEL},
        "spec": {
            "modelRef": {"name": MODEL},
            "query": "simulation(series=3, seed=5)",
            "interval": f"{INTERVAL}s",
        },
    },
]


@dataclass(slots=True)
class Release:
    """The release of these tests, and the questions they ask."""

    kubectl: Kubectl
    values: Manifest
    began: int = 0

    def helm(self, *arguments: str, values: Manifest | None = None) -> str:
        """Runs helm for the release's namespace."""
        return self.kubectl.helm(*arguments, "--namespace", SYSTEM, values=values)

    def operators(self) -> list[Manifest]:
        """Returns the operator's pods that are not on their way out."""
        selector = "app.kubernetes.io/component=operator"
        pods = self.kubectl.get("pods", "-n", SYSTEM, "-l", selector)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def leader(self) -> str:
        """Returns the name of the pod that leads."""
        lease = self.kubectl.get("lease", f"{RELEASE}-operator", "-n", SYSTEM)
        return str(lease["spec"]["holderIdentity"])

    def wait_for_leader(self) -> str:
        """Returns the operator that leads; until one of those that run does, nobody leads."""

        def looks() -> tuple[bool, str]:
            names = [pod["metadata"]["name"] for pod in self.operators()]
            return self.leader() in names, f"{self.leader() or 'nobody'} leads, {names} run"

        wait_until("an operator to lead", looks, seconds=60, pause=0.5)
        return self.leader()

    def detectors(self) -> dict[str, int]:
        """Returns how often each container of the detectors was restarted, by the pods' uids."""
        selector = "app.kubernetes.io/component=detector"
        pods = self.kubectl.get("pods", "-n", WATCHED, "-l", selector)["items"]
        return {
            pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in pods
        }

    def status(self) -> dict[str, Any]:
        """Returns the model's status."""
        status: dict[str, Any] = self.kubectl.get("am", MODEL, "-n", WATCHED)["status"]
        return status

    def wait_until_ready(self) -> None:
        """Waits until model and watch are Ready and the operator that says so has looked."""
        for kind in ("anomalymodel", "metricwatch"):

            def look(kind: str = kind) -> tuple[bool, str]:
                return condition_words(self.kubectl.get(kind, MODEL, "-n", WATCHED))

            wait_until(f"{kind} Ready", look, seconds=LONG)

    def ask(self, query: str) -> list[str]:
        """Returns what the database answers."""
        return own_database.ask(self.kubectl, SYSTEM, query)


def namespace(name: str) -> Manifest:
    metadata = {"name": name, "labels": RESTRICTED}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def remove(kubectl: Kubectl) -> None:
    for kind in ("metricwatch", "anomalymodel"):
        if kubectl.run("get", "crd", "--ignore-not-found", CRDS[0]):
            gone = ("--all", "-n", WATCHED, "--ignore-not-found", "--timeout=90s")
            kubectl.run("delete", kind, *gone)
    kubectl.helm("uninstall", RELEASE, "-n", SYSTEM, "--ignore-not-found", "--wait")
    kubectl.run("delete", "namespace", SYSTEM, WATCHED, "--ignore-not-found", "--timeout=2m")


@pytest.fixture(scope="module")
def release(kubectl: Kubectl) -> Iterator[Release]:
    built = images.ensure(access.ensure(), ("operator", "trainer", "detector", "dev-services"))
    bindings = kubectl.get("clusterrolebinding", "-l", "app.kubernetes.io/part-of=metricwatch")
    assert not bindings["items"], "an operator that watches all namespaces would act here too"
    # Beside another installation the CRDs are not this one's to make older, or to delete.
    shared = bool(INSTALLATION or kubectl.run("get", "crd", "--ignore-not-found", *CRDS))
    if shared:
        kubectl.apply(
            "\n---\n".join(path.read_text() for path in sorted(CRD_FILES.glob("*.yaml")))
        )
    remove(kubectl)
    kubectl.apply([namespace(name) for name in (SYSTEM, WATCHED)])
    own_database.install(kubectl, SYSTEM, image=built["dev-services"])
    values = {
        "images": release_values(built)["images"],
        "watchNamespaces": [WATCHED],
        "defaultSource": {"type": "simulation"},
        "database": {"urlSecret": {"name": PLAIN}},
        "crds": {"enabled": not shared},
    }
    yield Release(kubectl, values)
    print(diagnose(kubectl, (SYSTEM, WATCHED)))
    remove(kubectl)
    if not shared:
        kubectl.run("delete", "crd", *CRDS, "--timeout=60s")


@pytest.fixture
def undisturbed(release: Release) -> Iterator[None]:
    """Fails where a detector was replaced or restarted, or another version was trained."""
    before = release.detectors()
    yield
    assert release.detectors() == before
    assert release.status()["servingVersion"] == release.status()["versions"][0]["version"] == 1


def test_the_previous_chart_installs_and_a_model_serves(release: Release) -> None:
    release.helm("install", RELEASE, str(PREVIOUS), "--wait", values=release.values)
    release.kubectl.apply(MANIFESTS, namespace=WATCHED)
    release.wait_until_ready()
    release.began = int(time.time())
    assert len(release.operators()) == 1


@pytest.mark.usefixtures("undisturbed")
def test_an_upgrade_from_the_previous_chart_brings_a_second_operator(release: Release) -> None:
    release.helm("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", "--wait")
    assert len(release.operators()) == 2
    release.wait_for_leader()
    release.wait_until_ready()


@pytest.mark.usefixtures("undisturbed")
def test_the_standby_takes_over_when_the_leader_is_drained(release: Release) -> None:
    leader = release.wait_for_leader()
    (standby,) = {pod["metadata"]["name"] for pod in release.operators()} - {leader}
    # Only an operator that has just begun to lead brings it back at once: this one made it.
    release.kubectl.run("delete", "secret", f"{MODEL}-database", "-n", WATCHED)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": leader, "namespace": SYSTEM},
    }
    path = f"/api/v1/namespaces/{SYSTEM}/pods/%s/eviction"
    release.kubectl.run("create", "--raw", path % leader, "-f", "-", text=json.dumps(eviction))
    # One at a time: until there are two again, the budget holds the other one back.
    eviction["metadata"] = {"name": standby, "namespace": SYSTEM}
    with pytest.raises(CommandFailedError, match="disruption budget"):
        release.kubectl.run(
            "create", "--raw", path % standby, "-f", "-", text=json.dumps(eviction)
        )

    def looks() -> tuple[bool, str]:
        return release.leader() == standby, f"{release.leader()} leads"

    wait_until("the standby to lead", looks, seconds=60, pause=0.5)
    # The one that leads now does the work.
    wait_until("the Secret", lambda: (bool(secret(release)), ""), seconds=60, pause=0.5)


def secret(release: Release) -> str:
    found = ("get", "secret", f"{MODEL}-database", "-n", WATCHED, "--ignore-not-found")
    return release.kubectl.run(*found, "-o", "name")


@pytest.mark.usefixtures("undisturbed")
def test_a_rollback_brings_the_previous_chart_back(release: Release) -> None:
    release.helm("rollback", RELEASE, "1", "--wait")
    history = json.loads(release.helm("history", RELEASE, "-o", "json"))
    assert [entry["chart"] for entry in history] == [
        "metricwatch-0.1.0",
        f"metricwatch-{version(CHART)}",
        "metricwatch-0.1.0",
    ]
    wait_until("one operator", lambda: (len(release.operators()) == 1, ""), seconds=60)
    release.wait_until_ready()


def version(chart: Path) -> str:
    return str(yaml.safe_load((chart / "Chart.yaml").read_text())["version"])


@pytest.mark.usefixtures("undisturbed")
def test_removing_the_release_keeps_data_resources_and_detection(release: Release) -> None:
    release.helm("uninstall", RELEASE, "--wait")
    assert release.kubectl.get("deployments", "-n", SYSTEM)["items"][0]["metadata"]["name"] == (
        "postgresql"
    )
    for name in CRDS:
        release.kubectl.run("get", "crd", name)
    removed = int(time.time())
    assert release.ask("SELECT name FROM models_info") == [MODEL]
    wait_until(
        "scores without an operator",
        lambda: (newest_score(release) > removed, ""),
        seconds=60,
    )


def newest_score(release: Release) -> int:
    (newest,) = release.ask("SELECT extract(epoch FROM max(ts))::bigint FROM prediction_errors")
    return int(newest)


@pytest.mark.usefixtures("undisturbed")
def test_another_installation_by_tls_picks_everything_up(release: Release) -> None:
    certified = {
        "urlSecret": {"name": CERTIFIED},
        "caSecret": {"name": AUTHORITY},
        "clientCertificateSecret": {"name": CLIENT},
    }
    values = {**release.values, "database": certified}
    release.helm("install", RELEASE, str(CHART), "--wait", values=values)
    release.wait_until_ready()

    def by_tls() -> tuple[bool, str]:
        # Whoever is connected without it connects again, by what the Secret says then.
        plain = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        )
        own_database.command(
            release.kubectl, SYSTEM, f"{plain} WHERE NOT ssl AND client_addr IS NOT NULL"
        )
        found = release.ask(
            "SELECT DISTINCT application_name FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "WHERE ssl AND client_dn = '/CN=metricwatch'"
        )
        wanted = ("metricwatch-operator", "metricwatch-detector")
        reached = all(any(name.startswith(one) for name in found) for one in wanted)
        return reached, ", ".join(sorted(found))

    # A kubelet takes its time to bring a Secret that changed to a pod that runs.
    wait_until("operator and detector with certificates", by_tls, seconds=180)


def test_a_trainer_shows_the_certificate_too(release: Release) -> None:
    own_database.command(release.kubectl, SYSTEM, "ALTER ROLE metricwatch PASSWORD NULL")
    training = json.dumps({"spec": {"training": {"window": "5h"}}})
    release.kubectl.run("patch", "am", MODEL, "-n", WATCHED, "--type=merge", "-p", training)

    def serves() -> tuple[bool, str]:
        return release.status()["servingVersion"] == 2, str(release.status()["versions"][0])

    wait_until("version 2", serves, seconds=LONG)


def test_no_interval_of_all_this_time_was_missed(release: Release) -> None:
    until = (int(time.time()) - 4 * INTERVAL) // INTERVAL * INTERVAL
    expected = set(range(-(-release.began // INTERVAL) * INTERVAL, until + 1, INTERVAL))
    rows = release.ask(
        "SELECT m.id, string_agg(DISTINCT extract(epoch FROM p.ts)::bigint::text, ' ') "
        "FROM prediction_errors p JOIN metrics m ON m.id = p.metric_id "
        f"WHERE p.ts BETWEEN to_timestamp({release.began}) AND to_timestamp({until}) GROUP BY 1"
    )
    assert len(rows) == 3
    for row in rows:
        series, _, ticks = row.partition("|")
        assert expected - {int(tick) for tick in ticks.split()} == set(), series


def test_deleting_the_model_first_leaves_no_rows(release: Release) -> None:
    for kind in ("metricwatch", "anomalymodel"):
        release.kubectl.run("delete", kind, MODEL, "-n", WATCHED, "--timeout=90s")
    assert release.ask("SELECT count(*) FROM models_info") == ["0"]
