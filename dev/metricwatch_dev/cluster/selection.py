"""Which cluster to use: the user's own, kind, or the real parts as processes."""

import os
import shutil
import subprocess
from enum import StrEnum
from pathlib import Path


class ClusterKind(StrEnum):
    """Where the cluster comes from."""

    OWN = "own"
    KIND = "kind"
    LOCAL = "local"


def choose(
    *,
    kubeconfig: str | None,
    context: str | None,
    local_kubeconfig: Path,
    kind_works: bool,
    local_exists: bool,
) -> ClusterKind:
    """Return the cluster the user means.

    A KUBECONFIG that is the local cluster's own file does not make that a cluster of the user's,
    and a local cluster that is there is kept even when docker was started meanwhile.

    >>> choose(kubeconfig="/home/u/config", context=None, local_kubeconfig=Path("/c/kubeconfig"),
    ...        kind_works=True, local_exists=False)
    <ClusterKind.OWN: 'own'>
    """
    if context is not None or (kubeconfig and Path(kubeconfig) != local_kubeconfig):
        return ClusterKind.OWN
    if kind_works and not local_exists:
        return ClusterKind.KIND
    return ClusterKind.LOCAL


def has_working_kind() -> bool:
    """Return whether kind is installed and docker answers."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    answer = subprocess.run(
        ["docker", "info", "--format", "{{.ServerVersion}}"],
        capture_output=True,
        check=False,
        env=os.environ,
    )
    return answer.returncode == 0
