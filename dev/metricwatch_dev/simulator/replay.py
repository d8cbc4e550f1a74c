"""Files of one's own, replayed: the first rows are history, the others go live."""

from __future__ import annotations

import csv
import gzip
from datetime import datetime
from pathlib import Path

import numpy as np

from metricwatch_dev.simulator.signals import Floats, Incident, Labels, Times

NOT_VALUES = {"label", "part", "anomaly", "is_anomaly"}


class Replay:
    """Columns of CSV files, one row a tick; those after the history go live at `origin`."""

    kinds = ("shift",)

    def __init__(
        self, files: list[Path], *, row_seconds: int | None, origin: int, history: float
    ) -> None:
        self.labels: list[Labels] = []
        self._columns: list[Floats] = []
        spacings = []
        for path in files:
            times, columns = read_csv(path)
            spacings.append(int(np.median(np.diff(times))))
            for name, column in columns.items():
                series = path.name.split(".")[0]
                series = series if len(columns) == 1 else f"{series}/{name}"
                self.labels.append({"__name__": "replay", "series": series})
                self._columns.append(column)
        self.interval = row_seconds or max(1, min(spacings))
        self.origin = origin // self.interval * self.interval
        self._history = [int(len(column) * history) for column in self._columns]

    @property
    def history_seconds(self) -> int:
        """Return how far back the longest history reaches."""
        return max(self._history) * self.interval

    def values(self, times: Times) -> Floats:
        """Return float64[S, T]; after its last row a file starts over."""
        ticks = (times - self.origin) // self.interval
        rows = []
        for column, history in zip(self._columns, self._history, strict=True):
            index = ticks + history
            rows.append(np.where(index >= 0, column[index % len(column)], np.nan))
        return np.stack(rows)

    def disturb(self, values: Floats, incident: Incident) -> Floats:
        """Return the values shifted by so many times their quartile range."""
        disturbed = values.copy()
        for row, labels in enumerate(self.labels):
            if incident.concerns(labels):
                low, high = np.nanquantile(self._columns[row], [0.25, 0.75])
                disturbed[row] += incident.magnitude * (float(high - low) or 1.0)
        return disturbed


def read_csv(path: Path) -> tuple[Times, dict[str, Floats]]:
    """Return the times (unix seconds) and value columns of `timestamp,<series>…`, gzipped or not.

    Times are unix seconds or ISO 8601; an empty cell is a missing sample.

    Raises:
        ValueError: The file is not of that form; the text says where.
    """
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    header, *rows = [row for row in csv.reader(text.splitlines()) if row] or [[]]
    if not header or header[0] != "timestamp":
        raise ValueError(f"{path}: the first column must be called timestamp, found {header}")
    names = [name for name in header[1:] if name.lower() not in NOT_VALUES]
    if not names or len(rows) < 2:
        raise ValueError(f"{path}: needs a column of values and two rows at least")
    try:
        times = np.array([parse_time(row[0]) for row in rows], dtype=np.int64)
        columns = {
            name: np.array([float(row[header.index(name)] or "nan") for row in rows])
            for name in names
        }
    except (ValueError, IndexError) as problem:
        raise ValueError(f"{path}: {problem}; leave text columns out") from problem
    return times, columns


def parse_time(text: str) -> int:
    """Return unix seconds.

    >>> parse_time("1700000000"), parse_time("2023-11-14T22:13:20+00:00")
    (1700000000, 1700000000)
    """
    try:
        return int(float(text))
    except ValueError:
        return int(datetime.fromisoformat(text).timestamp())
