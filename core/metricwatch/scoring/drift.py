"""Whether samples are still as a version learned them: how often evidence is beyond what it knew.

The tails adapt while they score, so that a rarity says less and less of a change that stays. Here
what was learned is held: one sample in ten of the history was beyond `EDGE` of its stream. A
series is off while many more of its latest samples are, on either time scale: a changed noise
shows on the short one, a changed rhythm on the long one, whose streams look at overlapping
windows and swing more. It has drifted when it was off for most of the last day. How far off does
not count: samples of an incident are all far out, and it is over before most of a day has gone.

With these limits one series of 61 drifted in 334 days of recordings to which nothing is known to
have happened, and 36 of 61 were found within three days when their noise was doubled
(`benchmarks/drift.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.scoring.combining import Votes
from metricwatch.scoring.tails import Bools, Floats32

EDGE = 0.9
"""Share of the learned evidence of a stream that is within its edge."""
OFF_SHORT, OFF_LONG = 0.2, 0.3
"""Share of the latest evidence beyond the edge from which a series is off, on either scale."""
DRIFTED = 0.7
"""Share of the time for which a series that has drifted is off."""

_LATEST_SECONDS, _LATEST_TICKS = 2 * 3600, 24
_TIME_SECONDS, _TIME_TICKS = 24 * 3600, 144
_AT_ONCE = 64


class Drift:
    """How far S series are from what was learned of them; says nothing until it knows."""

    __slots__ = ("_edges", "_latest", "_limits", "_off", "_seen", "_share", "_time", "_votes")

    def __init__(self, edges: Floats32, votes: Votes, *, step: int) -> None:
        """Begins without having seen anything.

        Args:
            edges: float32[K, S], the size of evidence that a share `EDGE` of what was learned
                does not pass; NaN where too little was learned.
            votes: which streams vote on which scale.
            step: seconds between samples.
        """
        scales = [(votes.short, OFF_SHORT), (votes.long, OFF_LONG)]
        scales = [(rows, limit) for rows, limit in scales if rows]
        self._votes = np.zeros((len(scales), len(edges)), np.float32)
        for scale, (rows, _) in enumerate(scales):
            self._votes[scale, list(rows)] = 1.0
        self._limits = np.array([limit for _, limit in scales], np.float32)[:, None]
        self._edges = edges[..., None]
        self._latest = max(_LATEST_SECONDS // step, _LATEST_TICKS)
        self._time = max(_TIME_SECONDS // step, _TIME_TICKS)
        # Counts are floats as well: one that is full at 2^24 counts no less.
        self._seen, self._share, self._off = np.zeros((3, len(scales), edges.shape[1]), np.float32)

    @property
    def memory(self) -> int:
        """Ticks that say all there is to say."""
        return self._latest + 4 * self._time

    @property
    def seen(self) -> Bools:
        """bool[S]: series that had a sample which could be compared."""
        return np.asarray((self._seen > 0).any(axis=0))

    @property
    def told(self) -> Bools:
        """bool[S]: series of which enough was seen."""
        return np.asarray(self._enough().any(axis=0))

    @property
    def drifted(self) -> Bools:
        """bool[S]: series of which is told that they are not as they were learned."""
        return np.asarray((self._enough() & (self._off > DRIFTED)).any(axis=0))

    def follow(self, evidence: NDArray[np.floating[Any]]) -> None:
        """Takes evidence float[K, S, B] of a span in, NaN where there is none."""
        for first in range(0, evidence.shape[2], _AT_ONCE):
            size = np.abs(evidence[..., first : first + _AT_ONCE])
            beyond = self._count(size > self._edges)
            voted = beyond + self._count(size <= self._edges)
            beyond /= np.maximum(voted, np.float32(1))
            for tick in range(size.shape[2]):
                self._follow_tick(beyond[..., tick], voted[..., tick] > 0)

    def _enough(self) -> Bools:
        return np.asarray(self._seen >= self._latest + self._time)

    def _count(self, votes: Bools) -> Floats32:
        """Returns float32[scales, S, B]: how many streams of each scale say bool[K, S, B]."""
        counted = self._votes @ votes.reshape(len(votes), -1).astype(np.float32)
        return np.asarray(counted.reshape(-1, *votes.shape[1:]))

    def _follow_tick(self, beyond: Floats32, known: Bools) -> None:
        """Two means, one of the other; each begins as the plain mean of what there is."""
        self._seen += known
        rate = known / np.clip(self._seen, 1, self._latest)
        self._share += rate * (beyond - self._share)
        since = self._seen - self._latest
        rate = (known & (since > 0)) / np.clip(since, 1, self._time)
        self._off += rate * ((self._share > self._limits) - self._off)
