"""Which ticks are due: multiples of the interval, `delay` seconds after their time."""

from __future__ import annotations

from dataclasses import dataclass

MOST_TICKS_BEHIND = 500
MOST_SECONDS_BEHIND = 3600


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rhythm of one watch, in seconds.

    Ticks are times of the source's clock, `now` is of ours.

    Attributes:
        interval: from one tick to the next.
        delay: how long samples may take to arrive.
        ahead: of our clock the source's is; less than 0 when ours is the one that is ahead.
    """

    interval: int
    delay: int = 0
    ahead: float = 0.0

    def newest_due(self, now: float) -> int:
        """The newest tick that is due.

        >>> Schedule(60, delay=5).newest_due(124.9), Schedule(60, delay=5).newest_due(125.0)
        (60, 120)
        """
        return int((self.time_at(now) - self.delay) // self.interval) * self.interval

    def time_at(self, now: float) -> float:
        """What the source's clock says."""
        return now + self.ahead

    def due_at(self, tick: int) -> float:
        """When a tick is due, by our clock."""
        return tick + self.delay - self.ahead

    def is_from_the_future(self, tick: int, now: float) -> bool:
        """Whether a tick is further off than any next one can be: a clock went back."""
        return self.due_at(tick) - now > self.interval + 1.0

    def start(self, *, now: float, decided_until: int | None, prelude: int = 0) -> int:
        """The first tick to score: after the last decided one, but not too long ago.

        `prelude` ticks that are decided already are scored again, so that a run that is under way
        is known.
        """
        newest = self.newest_due(now)
        if decided_until is None:
            return newest
        first = (decided_until // self.interval - prelude + 1) * self.interval
        return min(max(first, self.oldest(newest)), newest)

    def oldest(self, newest: int) -> int:
        """The oldest tick worth catching up when `newest` is due: an hour, or 500 ticks, ago."""
        ticks = min(MOST_TICKS_BEHIND, max(MOST_SECONDS_BEHIND // self.interval, 1))
        return newest - ticks * self.interval

    def late_before(self, now: float) -> int:
        """Ticks before this are late: more than two intervals behind their time."""
        return self.newest_due(now) - 2 * self.interval

    def remark(self) -> str:
        """What to say of clocks that differ; nothing while they agree.

        >>> Schedule(60, ahead=-180.0).remark()
        "this clock is 180 s ahead of the source's, which is followed"
        """
        if not self.ahead:
            return ""
        side = "behind" if self.ahead > 0 else "ahead of"
        return f"this clock is {abs(self.ahead):.0f} s {side} the source's, which is followed"
