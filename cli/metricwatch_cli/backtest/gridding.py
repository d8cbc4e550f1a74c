"""From the times of rows to a regular grid: which row is the sample of which tick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metricwatch.durations import format_duration
from metricwatch.series import Grid
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.timestamps import FIRST_LINE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MOST_TICKS = 5_000_000
_WINDOWS = 20
_LEAST_WINDOW = 10
_MIXED = 1.5
_MOST_MENDED = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Rows on a grid.

    Attributes:
        grid: the ticks.
        ticks: int64[N], the position of each row, never falling.
        notes: what had to be mended.
    """

    grid: Grid
    ticks: Integers
    notes: tuple[str, ...]


def place(path: Path, times: Floats, *, interval: int | None, mend: bool) -> Placed:
    """Returns the grid of a file and the tick of each row.

    Args:
        path: for messages.
        times: float64[N], unix seconds, in the order of the file.
        interval: seconds between two ticks; None takes the median of the file.
        mend: times that repeat or go back, if they are few, are noted instead of refused.

    Raises:
        WrongFile: times repeat or go back, or the interval changes within the file.
    """
    notes = _check_order(path, times, mend)
    step = interval or _interval(path, times)
    start = round(float(times[0]))
    span = (float(times.max()) - start) / step
    if span > MOST_TICKS:
        raise WrongFile(
            path,
            f"from first to last row there are {span:.0f} intervals of {format_duration(step)}: "
            "is a time wrong? Else pass a longer --interval",
            line=int(times.argmax()) + FIRST_LINE,
        )
    nearest = np.maximum.accumulate(np.rint((times - start) / step).astype(np.int64))
    ticks = nearest + _moved(nearest)
    return Placed(Grid(start, step, int(ticks[-1]) + 1), ticks, notes)


def _moved(nearest: Integers) -> NDArray[np.bool_]:
    """Returns which rows are the sample of the next tick: jitter put two next to one tick.

    That is the last of the rows that share a tick, where no row is next to the tick after it.
    """
    shared = np.zeros(len(nearest), np.bool_)
    shared[1:] = np.diff(nearest) == 0
    last = np.ones(len(nearest), np.bool_)
    last[:-1] = np.diff(nearest) > 0
    followed = np.ones(len(nearest), np.bool_)
    followed[:-1] = np.diff(nearest) == 1
    moved: NDArray[np.bool_] = shared & last & ~followed
    return moved


def _check_order(path: Path, times: Floats, mend: bool) -> tuple[str, ...]:
    steps = np.diff(times)
    wrong = steps <= 0
    if not wrong.any():
        return ()
    row = int(wrong.argmax()) + 1
    line = row + FIRST_LINE
    if mend and wrong.mean() <= _MOST_MENDED:
        count = int(wrong.sum())
        return (
            f"{count} {'row repeats' if count == 1 else 'rows repeat'} a time or go back, first "
            f"in line {line}: kept in their order, one sample for each tick",
        )
    what = (
        "has the same time as the row before: remove one of them"
        if steps[row - 1] == 0
        else f"is {-steps[row - 1]:.15g} s earlier than the row before: sort the file by time"
    )
    raise WrongFile(
        path,
        f"the row {what}, or pass --mend-times to keep rows in their order, one sample a tick",
        line=line,
    )


def _interval(path: Path, times: Floats) -> int:
    """Returns the median distance of rows, after checking that it is that of the whole file."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        raise WrongFile(path, "a single row has no interval: give at least two, or --interval")
    median = float(np.median(steps))
    if round(median) < 1:
        raise WrongFile(
            path,
            f"rows are {median:.3g} s apart, and a tick is at least 1 s: pass --interval 1s to "
            "take one sample each second",
        )
    width = max(_LEAST_WINDOW, len(steps) // _WINDOWS)
    for first in range(0, len(steps) - width + 1, width):
        local = float(np.median(steps[first : first + width]))
        if not 1 / _MIXED <= local / median <= _MIXED:
            raise WrongFile(
                path,
                f"around here rows are {format_duration(round(local, 3))} apart, but "
                f"{format_duration(round(median, 3))} in most of the file: split it, or pass "
                "--interval with the longer of the two",
                line=first + FIRST_LINE,
            )
    return round(median)
