"""Verdicts that wait for their decision, and the lifecycle they lead to. No I/O.

Every running version scores every tick; only the serving one turns verdicts into anomalies, and
how far that has come (`decided_until`) is in the database. So there are two lifecycles: the
settled one, as of the last decided tick, and the head, which has seen every verdict and says what
is anomalous now even while the database is away. A tick is settled exactly once, whoever decided
it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from metricwatch.anomalies import Action, Anomaly, Change, Lifecycle, Policy, Verdicts, advance

MOST_WAITING = 10_000
"""Ticks, for who has nothing to say about it."""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What applying the waiting verdicts would give; nothing happened yet.

    Attributes:
        changes: In the order of ticks; of several updates of one anomaly only the last.
        until: The last tick it covers.
        lifecycle: As it is after that.
    """

    changes: tuple[Change, ...]
    until: int
    lifecycle: Lifecycle


class Ledger:
    """Waiting verdicts of one watch, oldest first."""

    def __init__(self) -> None:
        self.settled = Lifecycle()
        self.head = Lifecycle()
        self._waiting: deque[Verdicts] = deque()

    @property
    def waiting(self) -> int:
        """How many ticks wait for a decision."""
        return len(self._waiting)

    def seen(self, series: int) -> NDArray[np.bool_]:
        """Which of so many series had a sample, bool[series]: no other has an anomaly."""
        found = np.zeros(series, np.bool_)
        found[: self.settled.series] = self.settled.last_seen > 0
        for verdicts in self._waiting:
            found[: verdicts.series] |= ~np.isnan(verdicts.value)
        return found

    def add(self, policy: Policy, verdicts: Verdicts, *, most: int = MOST_WAITING) -> int:
        """Takes a tick in; returns how many old ones had to make room, so that `most` wait."""
        advance(policy, self.head, verdicts)
        self._waiting.append(verdicts)
        lost = 0
        while len(self._waiting) > max(most, 1):
            self._settle(policy, self._waiting[0])
            lost += 1
        return lost

    def settle(self, policy: Policy, until: int) -> None:
        """Another one decided all ticks up to `until`: they count, and change nothing here."""
        while self._waiting and self._waiting[0].time <= until:
            self._settle(policy, self._waiting[0])

    def _settle(self, policy: Policy, verdicts: Verdicts) -> None:
        advance(policy, self.settled, verdicts)
        self._waiting.popleft()

    def adopt(self, policy: Policy, open_anomalies: Mapping[int, Anomaly]) -> None:
        """Goes on from the anomalies that are open in the database, by slot."""
        series = max(open_anomalies, default=-1) + 1
        self.settled.grow(series)
        self.settled.adopt(open_anomalies)
        self.head = self.settled.copy()
        for verdicts in self._waiting:
            advance(policy, self.head, verdicts)

    def decide(self, policy: Policy, *, late_before: int) -> Decision | None:
        """What the waiting ticks come to; None when none waits. `commit` makes it so.

        Args:
            policy: The settings in force.
            late_before: Ticks before this time are late: recorded, not announced.
        """
        if not self._waiting:
            return None
        lifecycle = self.settled.copy()
        changes = _Changes()
        for verdicts in self._waiting:
            late = verdicts.time < late_before
            for change in advance(policy, lifecycle, verdicts, late=late):
                changes.add(change)
        return Decision(changes.in_order(), self._waiting[-1].time, lifecycle)

    def commit(self, decision: Decision) -> None:
        """The decision is in the database."""
        while self._waiting and self._waiting[0].time <= decision.until:
            self._waiting.popleft()
        self.settled = decision.lifecycle


class _Changes:
    """Changes of many ticks.

    An update replaces the one before it: a thousand anomalies that stay open over an outage of the
    database are a thousand objects when it is back, and not as many for each tick.
    """

    def __init__(self) -> None:
        self._turns: list[Change] = []
        self._updates: dict[tuple[int, int], Change] = {}

    def add(self, change: Change) -> None:
        """Takes the next one."""
        if change.action is Action.UPDATED:
            self._updates[change.series, change.anomaly.started_at] = change
        else:
            self._turns.append(change)

    def in_order(self) -> tuple[Change, ...]:
        """Those that count, by time; at one time as they came, openings and ends first."""
        return tuple(sorted((*self._turns, *self._updates.values()), key=attrgetter("time")))
