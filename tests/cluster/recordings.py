"""Recorded metrics of real services, cut so that a labelled incident comes soon after going live.

Every row of a recording becomes one tick of the tests' own interval, whatever its own was.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("METRICWATCH_BENCH_DATA", ROOT.parent / "shared/bench/data"))


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a recording goes live: `lead` rows before the row at which its incident shows."""

    dataset: str
    series: str
    incident_row: int


def read_cut(cut: Cut, *, history: int, lead: int, after: int) -> list[float]:
    """Returns `history + lead + after` values; the incident shows at index `history + lead`.

    Raises:
        FileNotFoundError: The recordings are not on this machine.
        ValueError: The row is not labelled as part of an incident, or rows are missing around it.
    """
    with gzip.open(DATA / cut.dataset / f"{cut.series}.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    if rows[cut.incident_row]["label"] != "1":
        raise ValueError(f"{cut} is not inside a labelled incident")
    first, end = cut.incident_row - lead - history, cut.incident_row + after
    if first < 0 or end > len(rows):
        raise ValueError(f"{cut} needs rows {first} to {end}, the file has {len(rows)}")
    column = next(name for name in rows[0] if name not in {"timestamp", "label", "part"})
    return [float(row[column]) for row in rows[first:end]]


def as_csv(columns: dict[str, list[float]], *, row_seconds: int) -> bytes:
    """Returns `timestamp,<series>…` rows, gzipped, as the simulator replays them."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["timestamp", *columns])
    for row, values in enumerate(zip(*columns.values(), strict=True)):
        writer.writerow([row * row_seconds, *(f"{value:.10g}" for value in values)])
    return gzip.compress(text.getvalue().encode(), mtime=0)
