"""How much memory this process held at most: what the next training run is estimated by."""

from __future__ import annotations

import resource

_UNIT = 1024
"""Linux counts in KiB."""


def peak_bytes() -> int:
    """Returns the largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
