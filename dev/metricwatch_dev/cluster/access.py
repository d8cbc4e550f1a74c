"""What tests, the demo and the command line call: one cluster, whichever it is."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from metricwatch_dev import binaries
from metricwatch_dev.binaries import Part
from metricwatch_dev.cluster import kind, local, own, teardown
from metricwatch_dev.cluster.layout import REGISTRY
from metricwatch_dev.cluster.local import local_layout
from metricwatch_dev.cluster.selection import ClusterKind, choose, has_working_kind
from metricwatch_dev.paths import cache_directory


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that answers."""

    kind: ClusterKind
    kubeconfig: Path
    # Directory with kubectl and helm, or None when those on PATH are used.
    tools: Path | None
    # Where images go, as the cluster's nodes name it; None: they are loaded into the node.
    registry: str | None

    def environment(self) -> dict[str, str]:
        """Return the environment in which kubectl and helm are found and talk to this cluster."""
        path = os.environ.get("PATH", os.defpath)
        return dict(os.environ) | {
            "KUBECONFIG": str(self.kubeconfig),
            "PATH": path if self.tools is None else f"{self.tools}:{path}",
        }


def ensure(context: str | None = None) -> Cluster:
    """Return a running cluster, starting a local one when the user names none.

    Raises:
        MissingPrerequisiteError: There is none and none can be started.
    """
    layout = local_layout()
    match chosen_kind(context):
        case ClusterKind.OWN as chosen:
            tools = _tools_for_foreign_cluster()
            kubectl = Path(shutil.which("kubectl") or "") if tools is None else tools / "kubectl"
            # Beside the local cluster's, which may exist as well.
            written = cache_directory() / "own-cluster.kubeconfig"
            kubeconfig = own.use(written, context=context, kubectl=kubectl)
            return Cluster(chosen, kubeconfig, tools, os.environ.get("METRICWATCH_REGISTRY"))
        case ClusterKind.KIND as chosen:
            kind.up(layout)
            return Cluster(chosen, layout.kubeconfig, _tools_for_foreign_cluster(), None)
        case ClusterKind.LOCAL as chosen:
            local.up()
            tools = binaries.ensure((Part.TOOLS,))[Part.TOOLS]
            return Cluster(chosen, layout.kubeconfig, tools, REGISTRY)


def down() -> bool:
    """Remove the cluster that `ensure` started, if any; a cluster of the user's is left alone."""
    removed = teardown.down()
    if has_working_kind():
        removed = kind.down() or removed
    return removed


def chosen_kind(context: str | None) -> ClusterKind:
    """Return which cluster `ensure` uses."""
    layout = local_layout()
    return choose(
        kubeconfig=os.environ.get("KUBECONFIG"),
        context=context,
        local_kubeconfig=layout.kubeconfig,
        kind_works=has_working_kind(),
        local_exists=layout.processes.is_dir(),
    )


def _tools_for_foreign_cluster() -> Path | None:
    """Return None when the user has kubectl and helm, else a directory with ours."""
    if shutil.which("kubectl") and shutil.which("helm"):
        return None
    return binaries.ensure((Part.CLIENTS,))[Part.CLIENTS]
