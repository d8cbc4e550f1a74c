"""What was found, as files for other programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metricwatch_cli.backtest.outcome import Outcome, row_scores
from metricwatch_cli.backtest.recordings import Floats, Recording
from metricwatch_cli.backtest.walking import Walk

COLUMNS = (
    *("dataset", "series", "column", "startedAt", "peakAt", "lastAnomalousAt", "endedAt"),
    *("state", "kind", "severity", "direction", "samples", "value", "expected", "lower", "upper"),
    *("score", "rarity", "deviation", "threshold", "family", "summary"),
)
_MOST_NAMED = 100


def write_detections(folder: Path, recording: Recording, walk: Walk) -> Path:
    """Writes DATASET/SERIES.csv: what was said of each row that was walked through.

    `score` ranks rows by how odd things had been lately; `is_anomaly` says which are part of an
    anomaly that was open by then, with an `alert_score` above 1. With several columns a row has
    the highest of their scores or that of their system, and `components` are the columns, most
    to blame first.
    """
    path = folder / recording.dataset / f"{recording.name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    said = row_scores(recording, walk)
    frame = pd.DataFrame(
        {
            "timestamp": recording.rows.times,
            "score": said.severity.max(axis=0),
            "is_anomaly": said.alarm.any(axis=0).astype(np.int8),
            "alert_score": said.score.max(axis=0),
        }
    )
    if len(recording.columns) > 1:
        frame["components"] = _to_blame(said.blame, recording.columns)
    frame.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    return path


def _to_blame(blame: Floats, columns: Sequence[str]) -> list[str]:
    """Returns for each row the columns, most to blame first; not those that are not."""
    weight = np.where(np.isnan(blame), -np.inf, blame)
    order = np.argsort(-weight, axis=0, kind="stable")[:_MOST_NAMED].T
    count = np.count_nonzero(np.isfinite(weight), axis=0)
    return [
        ";".join(columns[at] for at in row[:named])
        for row, named in zip(order.tolist(), count.tolist(), strict=True)
    ]


def write_anomalies(folder: Path, outcomes: Iterable[Outcome]) -> None:
    """Writes all anomalies to anomalies.csv and, with the same names, to anomalies.json."""
    rows = [row for one in outcomes for row in one.anomalies]
    with (folder / "anomalies.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_json(folder / "anomalies.json", rows)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON for people and programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
