"""CSV files as recordings, and what is wrong with them, by line."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metricwatch.series import Grid, Labels, labels_from
from metricwatch_cli.backtest.gridding import Placed, place
from metricwatch_cli.backtest.problems import WrongFile
from metricwatch_cli.backtest.recordings import Recording, Rows
from metricwatch_cli.backtest.timestamps import FIRST_LINE, TimeReading, read_times

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
_TRUTH = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
_LINE = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_MOST_NAMES = 12


@dataclass(frozen=True, slots=True)
class Layout:
    """How files are to be understood.

    Attributes:
        time, label, part: names of columns with a meaning of their own.
        columns: the value columns; empty for all others.
        separator: between two cells.
        times: how times are written.
        interval: seconds between two ticks; None for the median of each file.
        mend: keep going where few times repeat or go back.
        split: None walks through everything, for a model that has learned already; a float is
            the share of rows that are history, an int the unix second at which it ends.
    """

    time: str = "timestamp"
    label: str = "label"
    part: str = "part"
    columns: tuple[str, ...] = ()
    separator: str = ","
    times: TimeReading = field(default_factory=TimeReading)
    interval: int | None = None
    mend: bool = False
    split: float | int | None = 0.5


def read_recording(path: Path, layout: Layout, *, dataset: str, name: str) -> Recording:
    """Returns a file as a recording.

    Raises:
        WrongFile: it cannot be used; says the line and what to do.
    """
    frame, names = _frame(path, layout)
    times = read_times(path, frame[layout.time], layout.times)
    values = np.array([_numbers(path, frame, one) for one in names])
    truth = _truth(path, frame[layout.label]) if layout.label in frame else None
    placed = place(path, times, interval=layout.interval, mend=layout.mend)
    first = _first_walked(path, frame, times, layout)
    history = int(placed.ticks[first]) if first < len(times) else placed.grid.count
    infinite = int(np.isinf(values).sum())
    notes = [*placed.notes]
    if infinite:
        notes.append(f"{infinite} infinite values count as missing")
    return Recording(
        dataset=dataset,
        name=name,
        columns=tuple(names),
        labels=tuple(_labels(dataset, name, one) for one in names),
        grid=placed.grid,
        values=_on_grid(values, placed.ticks, placed.grid),
        known=_known(truth, len(names), placed),
        history=history,
        rows=Rows(
            times=np.rint(times[first:]).astype(np.int64),
            ticks=placed.ticks[first:],
            truth=None if truth is None else truth[first:],
        ),
        notes=tuple(notes),
    )


def _known(truth: Flags | None, columns: int, placed: Placed) -> Flags:
    """Returns bool[C, T]: nobody says which column a label is about."""
    known = np.zeros(placed.grid.count, np.bool_)
    if truth is not None:
        known[placed.ticks[truth]] = True
    return np.tile(known, (columns, 1))


def _labels(dataset: str, name: str, column: str) -> Labels:
    """A file alone is known by its columns: the next one may have another name."""
    place = {"dataset": dataset, "series": name} if dataset else {}
    return labels_from({"column": column} | place)


def _on_grid(values: Floats, ticks: NDArray[np.int64], grid: Grid) -> Floats:
    """Returns float64[C, T]; where rows share a tick, the last one stands."""
    placed = np.full((len(values), grid.count), np.nan)
    placed[:, ticks] = np.where(np.isfinite(values), values, np.nan)
    return placed


def _frame(path: Path, layout: Layout) -> tuple[pd.DataFrame, list[str]]:
    """Returns the rows and the names of the value columns."""
    header = _header(path, layout)
    own = (layout.time, layout.label, layout.part)
    names = list(layout.columns) or [one for one in header if one not in own]
    for wanted in (layout.time, *names):
        if wanted not in header:
            option = "--time-column" if wanted == layout.time else "--columns"
            raise WrongFile(
                path,
                f"there is no column {wanted!r}, only {_listed(header)}: name the right one with "
                f"{option}",
                line=1,
            )
    if not names:
        raise WrongFile(
            path, f"there is no column with values beside {_listed(header)}: add one", line=1
        )
    used = [one for one in header if one in own or one in names]
    frame = _rows(path, layout)[used]
    empty = frame.isna().all(axis=1).to_numpy()
    filled = np.flatnonzero(~empty)
    if not len(filled):
        raise WrongFile(path, "there are no rows: the file is empty but for its first line")
    # Empty lines at the end are how editors leave files.
    return frame.iloc[: filled[-1] + 1], names


def _header(path: Path, layout: Layout) -> list[str]:
    try:
        with _opened(path) as file:
            lines = csv.reader(file, delimiter=layout.separator)
            header, row = next(lines, []), next(lines, [])
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise _unreadable(path, error) from error
    if not any(header):
        raise WrongFile(path, "the file is empty: its first line must name the columns", line=1)
    other = next((one for one in ";\t|," if one != layout.separator and one in header[0]), None)
    if len(header) == 1 and other is not None:
        shown = "tab" if other == "\t" else other
        raise WrongFile(
            path, f"columns seem to be separated by {shown!r}: pass --separator '{shown}'", line=1
        )
    doubled = {one for one in header if header.count(one) > 1}
    if doubled:
        raise WrongFile(path, f"{_listed(sorted(doubled))} is there twice: rename one", line=1)
    if len(row) > len(header):
        raise _other_width(path, saw=len(row), wanted=len(header), line=FIRST_LINE)
    return header


def _other_width(path: Path, *, saw: int, wanted: int, line: int) -> WrongFile:
    return WrongFile(
        path, f"the row has {saw} cells, but line 1 names {wanted} columns", line=line
    )


def _opened(path: Path) -> Any:
    kind = gzip.open if path.suffix == ".gz" else open
    return kind(path, "rt", encoding="utf-8-sig", newline="")


def _rows(path: Path, layout: Layout) -> pd.DataFrame:
    try:
        return pd.read_csv(
            path,
            sep=layout.separator,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            low_memory=False,
        )
    except pd.errors.ParserError as error:
        found = _LINE.search(str(error))
        if found is None:
            raise _unreadable(path, error) from error
        wanted, line, saw = (int(one) for one in found.groups())
        raise _other_width(path, saw=saw, wanted=wanted, line=line) from error
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WrongFile:
    if isinstance(error, UnicodeDecodeError):
        return WrongFile(path, "is no UTF-8 text: save it as UTF-8")
    if isinstance(error, OSError) and error.strerror:
        return WrongFile(path, error.strerror)
    return WrongFile(path, f"cannot be read as CSV: {' '.join(str(error).split())}")


def _numbers(path: Path, frame: pd.DataFrame, name: str) -> Floats:
    column = frame[name]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(np.float64)
    numbers = pd.to_numeric(column.astype(str).where(column.notna()), errors="coerce")
    bad = (numbers.isna() & column.notna()).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        text = str(column.iloc[row])
        advice = (
            "write numbers with a point, like 1.5"
            if re.fullmatch(r"-?[\d.]*,\d+", text)
            else "leave the cell empty where there is no sample, or name the columns that hold "
            "values with --columns"
        )
        raise WrongFile(
            path, f"{text!r} in column {name!r} is no number: {advice}", line=row + FIRST_LINE
        )
    return numbers.to_numpy(np.float64)


def _truth(path: Path, column: pd.Series) -> Flags:
    text = column.astype(str).str.strip().str.lower()
    found = text.map(_TRUTH)
    bad = found.isna().to_numpy()
    if bad.any():
        row = int(bad.argmax())
        shown = "nothing" if pd.isna(column.iloc[row]) else repr(str(column.iloc[row]))
        raise WrongFile(
            path,
            f"the label is {shown}: write 1 for a row that is anomalous, 0 for one that is not",
            line=row + FIRST_LINE,
        )
    return found.to_numpy(np.bool_)


def _first_walked(path: Path, frame: pd.DataFrame, times: Floats, layout: Layout) -> int:
    """Returns the row with which the walk begins."""
    if layout.part in frame:
        return _first_of_test(path, frame[layout.part])
    if layout.split is None:
        return 0
    if isinstance(layout.split, int):
        after = times >= layout.split
        return int(after.argmax()) if after.any() else len(times)
    return round(len(times) * layout.split)


def _first_of_test(path: Path, column: pd.Series) -> int:
    part = column.astype(str).str.strip().to_numpy()
    test = part == "test"
    bad = ~(test | (part == "train"))
    if bad.any():
        row = int(bad.argmax())
        raise WrongFile(
            path,
            f"the part is {part[row]!r}: write train for history, test for what is walked through",
            line=row + FIRST_LINE,
        )
    back = np.flatnonzero(test[:-1] & ~test[1:])
    if len(back):
        raise WrongFile(
            path,
            "a row of part train follows one of part test: history comes first",
            line=int(back[0]) + 1 + FIRST_LINE,
        )
    return int(test.argmax()) if test.any() else len(test)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(one) for one in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
