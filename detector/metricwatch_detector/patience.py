"""How long a watch waits after a failed tick. Pure.

It doubles from half a second to the interval of the watch, but no less than five seconds and no
more than a minute: what went wrong is told, and what was mended is noticed, within that time.
"""

from __future__ import annotations

SHORTEST_SECONDS = 0.5
LONGEST_SECONDS = 60.0
LONGEST_WISH_SECONDS = 300.0
"""A source may ask to be left alone for so long: what it has meanwhile can be caught up."""


def pause_after(failures: int, *, interval: int, wish: float | None = None) -> float:
    """Seconds to wait after so many failures in a row.

    Args:
        failures: from 1.
        interval: of the watch, in seconds.
        wish: what the source asks for in Retry-After, a lower bound.

    >>> pause_after(1, interval=30), pause_after(9, interval=30)
    (1.0, 30.0)
    >>> pause_after(1, interval=30, wish=8.0)
    8.0
    """
    longest = min(LONGEST_SECONDS, max(float(interval), 5.0))
    pause = min(longest, SHORTEST_SECONDS * 2.0 ** min(failures, 10))
    return max(pause, min(wish or 0.0, LONGEST_WISH_SECONDS))
