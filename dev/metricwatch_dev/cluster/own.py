"""A cluster of the user's: check that it answers, touch nothing."""

import subprocess
from pathlib import Path

from metricwatch_dev.cluster.kubeconfigs import write_private
from metricwatch_dev.prerequisites import MissingPrerequisiteError
from metricwatch_dev.progress import say


def use(path: Path, *, context: str | None, kubectl: Path) -> Path:
    """Write a kubeconfig of only the chosen context to `path`, after the cluster has answered.

    Raises:
        MissingPrerequisiteError: The context is unknown or the cluster does not answer.
    """
    chosen = ["--context", context] if context is not None else []
    merged = _kubectl(kubectl, *chosen, "config", "view", "--minify", "--flatten", "--raw")
    write_private(path, merged)
    version = _kubectl(kubectl, "--kubeconfig", str(path), "get", "--raw", "/readyz")
    current = _kubectl(kubectl, "--kubeconfig", str(path), "config", "current-context").strip()
    say(f"using your own cluster: context {current} ({version.strip()})")
    return path


def _kubectl(kubectl: Path, *arguments: str) -> str:
    done = subprocess.run(
        [str(kubectl), "--request-timeout=15s", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise MissingPrerequisiteError(
            f"your cluster cannot be used ({last}): correct KUBECONFIG or --context, or unset "
            "both to get a local cluster."
        )
    return done.stdout
