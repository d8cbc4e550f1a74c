"""A cluster by kind, where docker runs."""

import subprocess

from metricwatch_dev.cluster.kubeconfigs import write_private
from metricwatch_dev.cluster.layout import Layout
from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.progress import step

NAME = "metricwatch"


def up(layout: Layout) -> None:
    """Create the kind cluster unless it is there, and write its kubeconfig.

    Raises:
        MissingPrerequisiteError: kind fails.
    """
    if NAME not in _kind("get", "clusters").split():
        with step("kind cluster"):
            _kind("create", "cluster", "--name", NAME, "--wait", "180s")
    write_private(layout.kubeconfig, _kind("get", "kubeconfig", "--name", NAME))


def down() -> bool:
    """Delete the kind cluster; return whether there was one."""
    if NAME not in _kind("get", "clusters").split():
        return False
    with step("deleting the kind cluster"):
        _kind("delete", "cluster", "--name", NAME)
    return True


def load_image(reference: str) -> None:
    """Make an image of the docker daemon known to the cluster's node."""
    _kind("load", "docker-image", reference, "--name", NAME)


def _kind(*arguments: str) -> str:
    done = subprocess.run(["kind", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise MissingPrerequisiteError(
            f"kind {' '.join(arguments)} failed ({last}): mend it, or stop docker to use the "
            "built-in cluster."
        )
    return done.stdout
