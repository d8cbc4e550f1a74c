"""What is large at the same time of day again and again: a nightly job is not an incident.

For each quarter of an hour of the day the largest evidence of past days is remembered, a day at a
time, as an exponentially weighted mean: one incident leaves a trace of a third that is gone after
some days, and what comes back every day is expected within two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricwatch.algorithms.base import take_tensor

Floats32 = NDArray[np.float32]

_DAY = 86_400
_MOST_BINS = 96
_RATE = 0.3
_FIRST_RATE = 0.5
_EXPECTED_SHARE = 0.7
_MOST_HALF = 60_000.0


class Recurrence:
    """Largest evidence by time of day, of K streams of S series."""

    __slots__ = ("_anything", "_bins", "_closed", "_current", "_largest", "_remembered", "_step")

    def __init__(self, remembered: NDArray[np.float16], *, step: int) -> None:
        """Takes memory over, in the 99 % quantiles that were in force when it was made.

        Args:
            remembered: float16[K, S, bins].
            step: seconds between samples.
        """
        self._remembered = remembered
        self._step = step
        self._bins = int(remembered.shape[2])
        self._current = -1
        self._closed: list[tuple[int, Floats32]] = []
        self._anything = bool(remembered.any())
        self._largest = np.zeros(remembered.shape[:2], dtype=np.float32)

    @classmethod
    def blank(cls, streams: int, series: int, *, step: int) -> Recurrence:
        """Returns one that remembers nothing."""
        shape = (streams, series, bins_of_day(step))
        return cls(np.zeros(shape, dtype=np.float16), step=step)

    @property
    def bins(self) -> int:
        """Parts of the day."""
        return self._bins

    @property
    def series(self) -> int:
        """S."""
        return int(self._remembered.shape[1])

    def bins_at(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the parts of the day of ticks int64[B], unix seconds."""
        return np.asarray(times % _DAY * self._bins // _DAY)

    def factor(self, bins: NDArray[np.int64]) -> Floats32 | None:
        """Returns by how much evidence has to be larger to count the same, float32[K, S, B].

        None when nothing recurs.
        """
        if self._bins < 2 or not self._anything:
            return None
        near = self._remembered[:, :, bins]
        for shift in (-1, 1):
            near = np.maximum(near, self._remembered[:, :, (bins + shift) % self._bins])
        factor = np.maximum(_EXPECTED_SHARE * near.astype(np.float32), np.float32(1))
        return factor if bool((factor > 1.0).any()) else None

    def learn(self, bins: NDArray[np.int64], ratio: Floats32) -> None:
        """Takes evidence of a span in, in 99 % quantiles; `settle` makes it count.

        Args:
            bins: int64[B], parts of the day.
            ratio: float32[K, S, B].
        """
        cuts = np.flatnonzero(np.diff(bins)) + 1
        for first, end in zip([0, *cuts], [*cuts, len(bins)], strict=True):
            if int(bins[first]) != self._current:
                self._close()
                self._current = int(bins[first])
            np.fmax(
                self._largest, np.fmax.reduce(ratio[..., first:end], axis=2), out=self._largest
            )

    def settle(self) -> None:
        """Makes parts of the day that are over a memory."""
        for bin_, largest in self._closed:
            known = self._remembered[:, :, bin_].astype(np.float32)
            rate = np.where(known > 0, np.float32(_RATE), np.float32(_FIRST_RATE))
            known += rate * (np.minimum(largest, _MOST_HALF) - known)
            self._remembered[:, :, bin_] = known
        self._anything |= bool(self._closed)
        self._closed.clear()

    def _close(self) -> None:
        if self._current >= 0:
            self._closed.append((self._current, self._largest.copy()))
            self._largest[...] = 0.0

    def begin_anew(self) -> None:
        """Remembers parts of the day that are over, and forgets the one that is not."""
        self.settle()
        self._current = -1
        self._largest[...] = 0.0

    def grow(self, count: int) -> None:
        """Adds `count` series that remember nothing."""
        self._remembered = np.pad(self._remembered, ((0, 0), (0, count), (0, 0)))
        self._largest = np.pad(self._largest, ((0, 0), (0, count)))
        self._closed = [(at, np.pad(one, ((0, 0), (0, count)))) for at, one in self._closed]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the memory, series first."""
        return {"remembered": np.ascontiguousarray(self._remembered.transpose(1, 0, 2))}

    @classmethod
    def restore(
        cls, streams: int, tensors: Mapping[str, NDArray[Any]], *, step: int
    ) -> Recurrence:
        """Returns the memory of `streams` streams that `tensors` hold.

        Raises:
            ValueError: they do not fit together.
        """
        series = len(tensors["remembered"]) if "remembered" in tensors else 0
        shape = (series, streams, bins_of_day(step))
        stored = take_tensor(tensors, "remembered", shape, np.float16)
        if (stored < 0).any():
            raise ValueError("what is remembered cannot be negative")
        return cls(stored.transpose(1, 0, 2).copy(), step=step)


def bins_of_day(step: int) -> int:
    """Returns into how many parts a day is cut for samples `step` seconds apart."""
    return max(1, min(_MOST_BINS, _DAY // step))
