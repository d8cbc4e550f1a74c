"""Series on a regular time grid, and who a series is.

Everything after a source works on these types: a grid of integer unix seconds, a panel of S series
by T ticks with NaN where there is no sample, and an identity that depends on nothing but labels.
No input or output happens here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Labels = tuple[tuple[str, str], ...]
"""The labels of a series, sorted by name; `__name__` is one of them when the query keeps it."""

MissingPolicy = Literal["interpolate", "zero", "skip"]

_ROWS_AT_ONCE = 256
"""Gaps are filled in blocks of rows: the temporary index arrays stay small whatever S is."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Regular ticks: `start`, `start + step`, …, `count` of them.

    Attributes:
        start: first tick, unix seconds.
        step: distance of two ticks, seconds, at least 1.
        count: number of ticks; 0 is an empty grid, which is where catching up has nothing to do.

    Raises:
        ValueError: `step` is below 1 or `count` below 0.
    """

    start: int
    step: int
    count: int

    def __post_init__(self) -> None:
        if self.step < 1:
            raise ValueError(f"a grid needs a step of at least 1 second, not {self.step}")
        if self.count < 0:
            raise ValueError(f"a grid cannot have {self.count} ticks")

    @classmethod
    def covering(cls, start: int, end: int, step: int) -> Grid:
        """Returns every multiple of `step` from `start` to `end`, both included.

        >>> Grid.covering(100, 310, 60)
        Grid(start=120, step=60, count=4)
        >>> Grid.covering(130, 170, 60).count
        0
        """
        if step < 1:
            raise ValueError(f"a grid needs a step of at least 1 second, not {step}")
        first = -(-start // step) * step
        return cls(start=first, step=step, count=max(0, (end - first) // step + 1))

    @property
    def end(self) -> int:
        """The last tick; one step before `start` when the grid is empty."""
        return self.start + (self.count - 1) * self.step

    def timestamps(self) -> NDArray[np.int64]:
        """Returns the ticks, int64[T], unix seconds."""
        return self.start + self.step * np.arange(self.count, dtype=np.int64)

    def index_of(self, t: int) -> int:
        """Returns the position of tick `t`.

        Raises:
            ValueError: `t` is not a tick of this grid.
        """
        index, off = divmod(t - self.start, self.step)
        if off or not 0 <= index < self.count:
            raise ValueError(f"{t} is not a tick of {self}")
        return index

    def part(self, first: int, count: int) -> Grid:
        """Returns up to `count` ticks from position `first` on."""
        first = min(max(first, 0), self.count)
        return Grid(
            start=self.start + first * self.step,
            step=self.step,
            count=max(0, min(count, self.count - first)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """S series over the T ticks of one grid.

    Attributes:
        grid: the ticks.
        labels: one entry for each series, in label order when a source made it.
        values: float64[S, T], NaN where there is no sample.
        left_out: series the query gives beyond the limit that was asked for.

    Raises:
        ValueError: the shape of `values` is not (series, ticks).
    """

    grid: Grid
    labels: tuple[Labels, ...]
    values: NDArray[np.float64]
    left_out: int = 0

    def __post_init__(self) -> None:
        expected = (len(self.labels), self.grid.count)
        if self.values.shape != expected:
            raise ValueError(f"values have shape {self.values.shape}, the panel needs {expected}")

    def select(self, idx: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Panel:
        """Returns the series at the positions `idx`, or where the mask `idx` is true."""
        positions = np.arange(len(self.labels))[np.asarray(idx, dtype=_index_type(idx))]
        return replace(
            self,
            labels=tuple(self.labels[position] for position in positions),
            values=self.values[positions],
        )

    def window(self, grid: Grid) -> Panel:
        """Returns the same series on a part of the time; values are a view, not a copy.

        Raises:
            ValueError: a tick of `grid` is not a tick of this panel, or the step differs.
        """
        if grid.step != self.grid.step:
            raise ValueError(f"a panel of step {self.grid.step} has no window of step {grid.step}")
        if grid.count == 0:
            return replace(self, grid=grid, values=self.values[:, :0])
        first, last = self.grid.index_of(grid.start), self.grid.index_of(grid.end)
        return replace(self, grid=grid, values=self.values[:, first : last + 1])


def labels_from(mapping: Mapping[str, str]) -> Labels:
    """Returns the labels in the order in which a series is known.

    >>> labels_from({"pod": "b", "__name__": "up"})
    (('__name__', 'up'), ('pod', 'b'))
    """
    return tuple(sorted(mapping.items()))


def series_id(labels: Labels) -> int:
    """Returns the identity of a series: the same for the same labels, in every process, always.

    The first 8 bytes of BLAKE2b (RFC 7693) over the labels as a JSON object with sorted keys, no
    spaces, ASCII only, read as a signed big-endian integer so that it fits a PostgreSQL bigint.

    >>> series_id((("a", "1"), ("b", "2"))) == series_id((("b", "2"), ("a", "1")))
    True
    """
    canonical = json.dumps(dict(labels), sort_keys=True, separators=(",", ":"))
    return int.from_bytes(blake2b(canonical.encode()).digest()[:8], "big", signed=True)


def shard_of(labels: Labels, shards: int) -> int:
    """Returns which of `shards` slices a series belongs to, 0 ≤ shard < shards.

    Raises:
        ValueError: `shards` is below 1.
    """
    if shards < 1:
        raise ValueError(f"series cannot be shared among {shards} shards")
    return (series_id(labels) & 0x7FFF_FFFF) % shards


def fill_gaps(
    values: NDArray[np.float64], *, policy: MissingPolicy, longest: int
) -> NDArray[np.float64]:
    """Returns a copy with missing samples treated as a training run asks for.

    `interpolate` draws a straight line through gaps of at most `longest` samples that have a
    sample on both sides; longer gaps and the ends keep NaN, because a line there would be invented
    history. `zero` takes every missing sample for 0. `skip` keeps NaN.

    Args:
        values: float64[S, T], NaN where there is no sample.
        policy: what missing means.
        longest: length of the longest gap to interpolate, in samples.
    """
    filled = np.array(values, dtype=np.float64)
    match policy:
        case "interpolate":
            for first in range(0, filled.shape[0], _ROWS_AT_ONCE):
                _interpolate(filled[first : first + _ROWS_AT_ONCE], longest)
        case "zero":
            filled[np.isnan(filled)] = 0.0
        case "skip":
            pass
    return filled


def _interpolate(rows: NDArray[np.float64], longest: int) -> None:
    """Fills short inner gaps in place."""
    ticks = rows.shape[1]
    missing = np.isnan(rows)
    if not missing.any():
        return
    position = np.arange(ticks)
    before = np.maximum.accumulate(np.where(missing, -1, position), axis=1)
    after = np.minimum.accumulate(np.where(missing, ticks, position)[:, ::-1], axis=1)[:, ::-1]
    inner = missing & (before >= 0) & (after < ticks) & (after - before - 1 <= longest)
    row, tick = np.nonzero(inner)
    left, right = before[row, tick], after[row, tick]
    share = (tick - left) / (right - left)
    # Weighting both ends, not left + share * (right - left): the difference of two huge values
    # overflows where the mean does not.
    rows[row, tick] = rows[row, left] * (1.0 - share) + rows[row, right] * share


def _index_type(idx: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> type[np.generic]:
    """An empty list would become a float array, which indexes nothing."""
    return np.bool_ if isinstance(idx, np.ndarray) and idx.dtype == np.bool_ else np.intp
