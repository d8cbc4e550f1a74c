"""How many scored ticks may wait while the database is away: the memory of a process is bounded.

All watches of a process share it, and each may keep the same number of ticks, so that one with
many series or one that was added later takes nothing from another but length.
"""

from __future__ import annotations

MOST_VALUES = 1_000_000
"""Verdicts in all: at 74 bytes each, 70 MiB."""
LEAST_TICKS = 60
"""However many series there are: 4.4 KB a series, half of what it takes anyway, and as much as a
detector that starts needs for its history (`metricwatch.memory`)."""
_VALUES_A_TICK = 20
"""What the arrays of a tick take besides their content, 1.5 KB, counted in verdicts."""


class Room:
    """Room for ticks that wait, divided among watches."""

    def __init__(self, *, most_values: int = MOST_VALUES) -> None:
        self._most_values = most_values
        self._series: dict[int, int] = {}

    @property
    def ticks(self) -> int:
        """How many ticks every watch may keep.

        >>> room = Room(most_values=12_000)
        >>> room.take(1, series=100)
        >>> room.ticks
        100
        """
        values = sum(self._series.values()) + _VALUES_A_TICK * len(self._series)
        return max(self._most_values // max(values, 1), LEAST_TICKS)

    def take(self, watch_id: int, *, series: int) -> None:
        """A watch has so many series."""
        self._series[watch_id] = series

    def leave(self, watch_id: int) -> None:
        """A watch is gone."""
        self._series.pop(watch_id, None)
