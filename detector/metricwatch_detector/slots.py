"""Which slot a series has: labels as a source gives them to positions in the arrays of a watch.

The series of the model version come first, chunk by chunk, then those that appear later, in the
order of their appearance. A source names the same series in the same order tick after tick, so
nearly always the answer of the last tick is the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from metricwatch.series import Labels, shard_of

Answers = Sequence[tuple[str, tuple[Labels, ...]]]
"""For each query of a watch its name and the series that it gave."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where the rows of an answer go.

    Attributes:
        rows: int[N], positions in the answers' series put one after the other.
        slots: int[N], the slots of those rows.
        left_out: series beyond the watch's limit, or called like one of its systems.
    """

    rows: NDArray[np.intp]
    slots: NDArray[np.intp]
    left_out: int


class SlotsExhausted(Exception):
    """Series come and go, and those that went fill the arrays."""


class SlotIndex:
    """Slots of one watch in one shard."""

    def __init__(
        self,
        known: Iterable[Labels] = (),
        *,
        system_of: Mapping[Labels, Labels] = MappingProxyType({}),
        shard: int = 0,
        shards: int = 1,
        limit: int = 1000,
    ) -> None:
        """Series of `known` get the first slots, even those of another shard: banks hold them.

        Args:
            known: series and systems that banks hold.
            system_of: the system of each series that belongs to one. All of a system is in the
                shard of its own labels, and no sample goes into its slot.
            shard: which one this is.
            shards: among which series are divided.
            limit: most series of an answer.
        """
        self.labels: list[Labels] = list(known)
        self._slots = {labels: slot for slot, labels in enumerate(self.labels)}
        self._system_of, self._systems = system_of, set(system_of.values())
        self._shard, self._shards, self._limit = shard, shards, limit
        self._last: tuple[Answers, Placement] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def place(self, answers: Answers) -> Placement:
        """The placement of these answers; a series never seen gets a slot."""
        if self._last is not None and self._last[0] == answers:
            return self._last[1]
        named = [
            with_query(labels, query) if query else labels
            for query, series in answers
            for labels in series
        ]
        rows = [row for row, labels in enumerate(named) if labels not in self._systems]
        if len(rows) > self._limit:
            rows = sorted(rows, key=named.__getitem__)[: self._limit]
        placed: dict[int, int] = {}
        for row in rows:
            if self._is_mine(named[row]):
                # Two rows of one series: the first one counts.
                placed.setdefault(self.slot(named[row]), row)
        placement = Placement(
            rows=np.fromiter(placed.values(), np.intp, len(placed)),
            slots=np.fromiter(placed.keys(), np.intp, len(placed)),
            left_out=len(named) - len(rows),
        )
        self._last = (answers, placement)
        return placement

    def _is_mine(self, labels: Labels) -> bool:
        if self._shards == 1:
            return True
        return shard_of(self._system_of.get(labels, labels), self._shards) == self._shard

    def slot(self, labels: Labels) -> int:
        """The slot of a series, a new one at the end when it has none."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._slots[labels] = len(self.labels)
            self.labels.append(labels)
        return slot


def with_query(labels: Labels, query: str) -> Labels:
    """The labels of a series of a watch with several queries.

    >>> with_query((("pod", "a"),), "errors")
    (('pod', 'a'), ('query', 'errors'))
    """
    return tuple(sorted([pair for pair in labels if pair[0] != "query"] + [("query", query)]))
