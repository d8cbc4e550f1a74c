"""A budget of false alarms as the rarity that spends it."""

from __future__ import annotations

import math

_WEEK = 604_800


def threshold(false_alarms_per_week: float, interval_seconds: int) -> float:
    """Returns the rarity that an ordinary series passes so many times a week.

    Args:
        false_alarms_per_week: budget of one series, above 0.
        interval_seconds: distance of two samples.

    Raises:
        ValueError: the budget is not above 0.

    >>> round(threshold(0.5, 60), 2)
    4.3
    """
    if not false_alarms_per_week > 0:
        raise ValueError(f"a budget of {false_alarms_per_week} false alarms cannot be kept")
    probability = false_alarms_per_week * interval_seconds / _WEEK
    return max(-math.log10(probability), 1.0)
