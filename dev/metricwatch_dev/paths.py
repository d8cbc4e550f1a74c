"""Where things live: the cache of built parts, the running cluster, and the repository.

The cache holds what is expensive to make and the same for everybody; the cluster directory holds
the state of one running cluster and is removed with it. Neither is inside the checkout.
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_directory() -> Path:
    """Return the directory of built binaries, packages and image layers (`METRICWATCH_CACHE`)."""
    chosen = os.environ.get("METRICWATCH_CACHE")
    return Path(chosen or "~/.cache/metricwatch").expanduser().absolute()


def cluster_directory() -> Path:
    """Return the directory of the running local cluster (`METRICWATCH_CLUSTER_DIR`)."""
    chosen = os.environ.get("METRICWATCH_CLUSTER_DIR")
    return Path(chosen).expanduser().absolute() if chosen else cache_directory() / "cluster"
