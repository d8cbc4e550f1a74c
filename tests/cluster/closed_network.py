"""A network that refuses whatever no policy lets through, and what pods reach in it."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from metricwatch_dev.cluster import local, policies
from metricwatch_dev.cluster.layout import NODE_ADDRESS
from metricwatch_dev.demo.installing import SERVICES, SHOP, SYSTEM
from metricwatch_dev.demo.kubectl import Kubectl, Manifest

_NODE = [{"ipBlock": {"cidr": f"{NODE_ADDRESS}/32"}}]
# Nothing is left to "anywhere": what the chart lets through is what is named here.
VALUES: Manifest = {
    "networkPolicy": {
        "enabled": True,
        "namespaces": [SHOP],
        "metricsFrom": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": SERVICES}},
                "podSelector": {"matchLabels": {"app": "prometheus"}},
            }
        ],
        "egress": {
            "enabled": True,
            # Both are processes of the node here.
            "dns": {"to": _NODE},
            "apiServer": {"to": _NODE},
            "source": {
                "to": [
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": SERVICES}
                        },
                        "podSelector": {"matchLabels": {"app": "victoriametrics"}},
                    }
                ]
            },
        },
    }
}
_CONNECT = """
import concurrent.futures, json, socket, sys

def reaches(way):
    host, _, port = way.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True

ways = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(ways)) as all_at_once:
    found = dict(zip(ways, all_at_once.map(reaches, ways.values())))
print(json.dumps([name for name, reached in found.items() if reached]))
"""


@contextmanager
def enforced() -> Iterator[None]:
    """The cluster's NetworkPolicies are in force meanwhile."""
    layout, programs = local.local_layout(), local.local_programs()
    policies.enforce(layout, programs)
    try:
        yield
    finally:
        policies.release(layout, programs)


def refuse_by_default(kubectl: Kubectl) -> None:
    """Refuses pods of Metricwatch's namespaces everything, both ways."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    kubectl.apply(
        [
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "refuse-by-default", "namespace": namespace},
                "spec": spec,
            }
            for namespace in (SYSTEM, SHOP)
        ]
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A pod, as kubectl names it, and the Python that is in it."""

    namespace: str
    pod: str
    python: str = "python3"

    def reaches(self, kubectl: Kubectl, ways: Mapping[str, str]) -> set[str]:
        """Returns the names of those ways, each an address with a port, that are open."""
        where = ("exec", "-n", self.namespace, self.pod, "--")
        printed = kubectl.run(*where, self.python, "-c", _CONNECT, json.dumps(ways))
        return set(json.loads(printed))


def all_reach(
    kubectl: Kubectl, places: Mapping[str, Place], ways: Mapping[str, str]
) -> dict[str, set[str]]:
    """Returns what each place reaches, tried by all at once."""
    with ThreadPoolExecutor(len(places)) as at_once:
        found = at_once.map(lambda place: place.reaches(kubectl, ways), places.values())
        return dict(zip(places, found, strict=True))
