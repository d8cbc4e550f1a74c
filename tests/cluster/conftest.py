"""One cluster with Metricwatch, VictoriaMetrics and Prometheus for all tests of this layer."""

import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from tests.cluster import closed_network
from tests.cluster.recordings import Cut, as_csv, read_cut
from tests.cluster.stack import Stack

from metricwatch_dev import images
from metricwatch_dev.cluster import access
from metricwatch_dev.cluster.selection import ClusterKind
from metricwatch_dev.demo import installing
from metricwatch_dev.demo.kubectl import Kubectl
from metricwatch_dev.demo.scenario import Scenario
from metricwatch_dev.demo.waiting import diagnose, wait_until
from metricwatch_dev.demo.watching import Watching

# Only of the cluster that is made of processes here are the parts ours to break, and to close.
_OURS = access.chosen_kind(None) is ClusterKind.LOCAL
_CLOSED = _OURS and installing.INSTALLATION == "policies"
collect_ignore = [] if _OURS else ["test_faults.py"]
if not _CLOSED:
    collect_ignore.append("test_policies.py")
ROW_SECONDS = 5
# Rows between going live and the incident: the time there is to learn before it.
LEAD = 60
HISTORY_SHARE = 0.9
RECORDINGS = {
    "kpi-a": (Cut("aiops_kpi", "4d2af31a", 232854), 8640),
    "kpi-b": (Cut("aiops_kpi", "f0932edd", 242915), 8640),
    "network": (Cut("nab", "realAWSCloudwatch__ec2_network_in_257a54", 1638), 1440),
    "requests": (Cut("aiops_kpi", "6d1114ae", 155511), 8640),
}


def _files() -> dict[str, bytes]:
    files = {}
    for name, (cut, history) in RECORDINGS.items():
        live = round(history / HISTORY_SHARE) - history
        values = read_cut(cut, history=history, lead=LEAD, after=live - LEAD)
        files[f"{name}.csv.gz"] = as_csv({"value": values}, row_seconds=ROW_SECONDS)
    return files


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make the mistakes, and look around, while the incidents last: otherwise minutes of waiting.

    The main job's resources are applied once more after them, which changes nothing. What breaks
    the cluster comes last: the recorded incidents are over then, and nobody else is disturbed.
    The release that is installed and removed comes first: the stack's operator, where it is alone,
    watches all namespaces.
    """
    meanwhile = {"test_mistakes", "test_policies"}
    mistakes = [item for item in items if item.path.stem in meanwhile]
    others = [item for item in items if item.path.stem not in meanwhile]
    ends = (i for i, item in enumerate(others) if item.name.startswith("test_the_end_of_the_in"))
    begin = next(ends, len(others))
    ordered = [*others[:begin], *mistakes, *others[begin:]]
    place = {"test_install": -1, "test_faults": 1}
    items[:] = sorted(ordered, key=lambda item: place.get(item.path.stem, 0))


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    return Kubectl(access.ensure().environment())


@pytest.fixture(scope="session")
def stack(kubectl: Kubectl) -> Iterator[Stack]:
    built = images.ensure(access.ensure(), ("operator", "trainer", "detector", "dev-services"))
    with installing.exclusively(), closed_network.enforced() if _CLOSED else nullcontext():
        _install(kubectl, built)
        yield Stack(kubectl)
        # Read by whoever looks at a failed run; a passed one prints nothing.
        print(diagnose(kubectl, installing.NAMESPACES))
        installing.remove(kubectl)


def _install(kubectl: Kubectl, built: dict[str, str]) -> None:
    installing.remove(kubectl)
    installing.create_namespaces(kubectl)
    if _CLOSED:
        closed_network.refuse_by_default(kubectl)
    values = closed_network.VALUES if _CLOSED else {}
    installing.install_release(kubectl, images=built, values=values)
    installing.install_prometheus(kubectl, images=built)
    files = _files()
    scenario = Scenario(
        simulator_arguments=[
            *("--csv", *(f"/files/{name}" for name in files)),
            f"--row-seconds={ROW_SECONDS}",
            f"--history={HISTORY_SHARE}",
            f"--origin={int(time.time())}",
        ],
        resources=[],
        incident={},
        incident_words="",
        files=files,
    )
    installing.install_metrics(kubectl, scenario, images=built)
    wait_until("history", Watching(kubectl).backfilled, seconds=120)
