"""How many processors this container may use: fewer than the machine has, under a limit."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_processors(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the whole processors that affinity and the CPU limit leave, at least 1.

    Args:
        control_groups: where the kernel shows control groups, version 1 or 2.
    """
    present = len(os.sched_getaffinity(0))
    limit = _limit(control_groups)
    return max(1, present if limit is None else min(present, math.ceil(limit)))


def _limit(control_groups: Path) -> float | None:
    """Returns the CPU limit in processors, None without one."""
    try:
        quota, period = (control_groups / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        quota_us = int((control_groups / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((control_groups / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None
