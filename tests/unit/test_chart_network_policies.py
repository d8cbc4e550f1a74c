"""Who may connect to whom with the chart's NetworkPolicies, by the rules of Kubernetes.

The pods are what chart and operator really make; the rules are read as the API describes them: a
pod that no policy selects is open, and a selected one lets through what any of its policies names.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.chart_rendering import EMBEDDED, OWN_DATABASE, Manifest, named, of_kind, render

from metricwatch_operator.planning.names import child_labels

SYSTEM = "metricwatch-system"
PORTS = {"http": 8080, "postgresql": 5432}
PROMETHEUS = {"podSelector": {"matchLabels": {"app": "prometheus"}}, "namespaceSelector": {}}


@dataclass(frozen=True)
class Peer:
    """A pod, or an address outside of the cluster where there are no labels."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    address: str = ""


def child(component: str, namespace: str = "shop") -> Peer:
    return Peer(namespace, child_labels("first", component=component, version=1))


SCRAPER = Peer("monitoring", {"app": "prometheus"})
NEIGHBOUR = Peer("shop", {"app": "cart"})
DNS = Peer("kube-system", {"k8s-app": "kube-dns"})
API_SERVER = Peer(address="10.0.0.1")


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def is_meant(peer: Manifest, pod: Peer, *, home: str) -> bool:
    if "ipBlock" in peer:
        return bool(peer["ipBlock"]["cidr"] == f"{pod.address}/32")
    if pod.address:
        return False
    namespaces = peer.get("namespaceSelector")
    if namespaces is None and pod.namespace != home:
        return False
    if namespaces and not matches(namespaces, {"kubernetes.io/metadata.name": pod.namespace}):
        return False
    return matches(peer.get("podSelector", {}), pod.labels)


def lets_through(
    policies: list[Manifest], pod: Peer, other: Peer, *, way: str, port: int, protocol: str
) -> bool:
    peers, kind = ("from", "Ingress") if way == "ingress" else ("to", "Egress")
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and matches(policy["spec"]["podSelector"], pod.labels)
        and kind in policy["spec"]["policyTypes"]
    ]
    rules = [rule for policy in selecting for rule in policy["spec"].get(way, [])]
    return not selecting or any(
        # No ports are all ports, and no peers everybody.
        (
            not rule["ports"]
            or any(
                PORTS.get(entry["port"], entry["port"]) == port and entry["protocol"] == protocol
                for entry in rule["ports"]
            )
        )
        and (
            peers not in rule
            or any(is_meant(peer, other, home=pod.namespace) for peer in rule[peers])
        )
        for rule in rules
    )


@dataclass(frozen=True)
class Network:
    """The policies of a release, and the pods it makes itself."""

    manifests: tuple[Any, ...]

    def pod(self, kind: str, name: str) -> Peer:
        manifest = named(list(self.manifests), kind, name)
        return Peer(SYSTEM, manifest["spec"]["template"]["metadata"]["labels"])

    @property
    def operator(self) -> Peer:
        return self.pod("Deployment", "metricwatch-operator")

    @property
    def migration(self) -> Peer:
        return self.pod("Job", "metricwatch-migrate")

    @property
    def postgresql(self) -> Peer:
        return self.pod("StatefulSet", "metricwatch-postgresql")

    def connects(self, one: Peer, other: Peer, port: int, protocol: str = "TCP") -> bool:
        policies = of_kind(list(self.manifests), "NetworkPolicy")
        ask = functools.partial(lets_through, policies, port=port, protocol=protocol)
        return ask(one, other, way="egress") and ask(other, one, way="ingress")


def network(values: Manifest, **policy: Any) -> Network:
    settings = {"enabled": True, "metricsFrom": [PROMETHEUS], **policy}
    return Network(tuple(render({**values, "networkPolicy": settings})))


EGRESS = {"enabled": True, "apiServer": {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}}
SOURCE = {"defaultSource": {"url": "http://victoriametrics.monitoring:8428"}}
SHOP = {"watchNamespaces": ["shop"], **SOURCE}


def test_only_scrapers_get_in_and_only_where_metrics_are() -> None:
    net = network({**OWN_DATABASE, **SHOP})
    for pod in (net.operator, child("detector")):
        assert net.connects(SCRAPER, pod, 8080)
        assert not net.connects(NEIGHBOUR, pod, 8080)
        assert not net.connects(SCRAPER, pod, 9999)
    for pod in (net.migration, child("trainer")):
        assert not net.connects(SCRAPER, pod, 8080)


def test_without_a_list_everybody_may_scrape() -> None:
    net = network({**OWN_DATABASE, **SHOP}, metricsFrom=[])
    assert net.connects(NEIGHBOUR, net.operator, 8080)
    assert net.connects(NEIGHBOUR, child("detector"), 8080)
    assert not net.connects(NEIGHBOUR, child("trainer"), 8080)


def test_what_is_not_asked_for_is_not_restricted() -> None:
    net = network({**OWN_DATABASE, **SHOP})
    for pod in (net.operator, net.migration, child("detector"), child("trainer")):
        assert net.connects(pod, Peer(address="198.51.100.7"), 25)
    assert net.connects(NEIGHBOUR, child("detector", "bank"), 8080)
    assert not of_kind(render({**OWN_DATABASE, **SHOP}), "NetworkPolicy")


def test_namespaces_may_be_named_where_all_are_watched() -> None:
    net = network({**OWN_DATABASE, **SOURCE}, namespaces=["shop"])
    assert not net.connects(NEIGHBOUR, child("detector"), 8080)


@pytest.mark.parametrize("watched", [SHOP, SOURCE], ids=["listed", "all"])
def test_the_embedded_database_lets_in_our_pods_and_reaches_nobody(watched: Manifest) -> None:
    net = network({**EMBEDDED, **watched}, egress=EGRESS)
    for pod in (net.operator, net.migration, child("detector"), child("trainer")):
        assert net.connects(pod, net.postgresql, 5432)
        assert not net.connects(pod, net.postgresql, 22)
    assert not net.connects(NEIGHBOUR, net.postgresql, 5432)
    assert not net.connects(net.postgresql, DNS, 53, "UDP")


def test_the_embedded_database_of_listed_namespaces_is_closed_to_others() -> None:
    listed = network({**EMBEDDED, **SHOP})
    assert not listed.connects(child("detector", "bank"), listed.postgresql, 5432)
    everywhere = network({**EMBEDDED, **SOURCE})
    assert everywhere.connects(child("detector", "bank"), everywhere.postgresql, 5432)


def test_each_pod_reaches_what_its_work_needs_and_nothing_else() -> None:
    net = network({**OWN_DATABASE, **SHOP}, egress=EGRESS)
    database, source = Peer(address="192.0.2.5"), Peer("monitoring", {"app": "vm"})
    reaching: dict[str, set[str]] = {}
    pods = {
        "operator": net.operator,
        "migration": net.migration,
        "detector": child("detector"),
        "trainer": child("trainer"),
    }
    for name, pod in pods.items():
        wanted = {
            "dns": (DNS, 53, "UDP"),
            "database": (database, 5432, "TCP"),
            "api": (API_SERVER, 6443, "TCP"),
            "source": (source, 8428, "TCP"),
            "elsewhere": (Peer(address="198.51.100.7"), 443, "TCP"),
        }
        reaching[name] = {what for what, way in wanted.items() if net.connects(pod, *way)}
    assert reaching == {
        "operator": {"dns", "database", "api"},
        "migration": {"dns", "database"},
        "detector": {"dns", "database", "source"},
        "trainer": {"dns", "database", "source"},
    }


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://vm:8428", 8428),
        ("https://vm.example/select/0/prometheus", 443),
        ("http://[2001:db8::1]", 80),
        ("http://user@vm:9090/path:1", 9090),
    ],
)
def test_the_port_of_the_source_is_told_from_its_address(url: str, port: int) -> None:
    values = {**OWN_DATABASE, "watchNamespaces": ["shop"], "defaultSource": {"url": url}}
    net = network(values, egress=EGRESS)
    reached = {
        asked
        for asked in (80, 443, 8428, 9090, 1)
        if net.connects(child("trainer"), Peer("monitoring"), asked)
    }
    assert reached == {port}


def test_destinations_of_ones_own_take_the_place_of_the_defaults() -> None:
    egress = {
        **EGRESS,
        "postgresql": {"to": [{"ipBlock": {"cidr": "192.0.2.5/32"}}], "ports": [6432]},
        "source": {"to": [PROMETHEUS], "ports": [9090]},
    }
    net = network({**OWN_DATABASE, **SHOP}, egress=egress)
    trainer = child("trainer")
    assert net.connects(trainer, Peer(address="192.0.2.5"), 6432)
    assert not net.connects(trainer, Peer(address="192.0.2.5"), 5432)
    assert not net.connects(trainer, Peer(address="192.0.2.6"), 6432)
    assert net.connects(trainer, SCRAPER, 9090)
    assert not net.connects(trainer, SCRAPER, 8428)


def test_a_source_that_is_named_alone_is_reached_on_every_port() -> None:
    net = network({**OWN_DATABASE, **SHOP}, egress={**EGRESS, "source": {"to": [PROMETHEUS]}})
    assert net.connects(child("detector"), SCRAPER, 9090)
    assert not net.connects(child("detector"), NEIGHBOUR, 8428)


def test_the_policy_of_the_migration_is_there_before_its_job() -> None:
    manifests = render({**OWN_DATABASE, "networkPolicy": {"enabled": True}})
    policy = named(manifests, "NetworkPolicy", "metricwatch-migrate")["metadata"]["annotations"]
    job = named(manifests, "Job", "metricwatch-migrate")["metadata"]["annotations"]
    assert policy["helm.sh/hook"] == job["helm.sh/hook"]
    assert int(policy["helm.sh/hook-weight"]) < int(job.get("helm.sh/hook-weight", 0))
