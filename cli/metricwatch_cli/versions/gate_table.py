"""What the gate measured, as rows that both the table and the picture show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from metricwatch.gate import GateMeasurement, Measured, Side
from metricwatch_cli.versions.tables import percent


@dataclass(frozen=True, slots=True)
class Shares:
    """One share of both versions, None where it was not measured."""

    name: str
    candidate: float | None
    serving: float | None


def sides(measured: Measured) -> tuple[Side, Side | None]:
    """The new version and the serving one, over the same series where there is one."""
    if measured.serving is None:
        return measured.candidate, None
    return measured.common, measured.serving


def recalls(measured: Measured) -> list[Shares]:
    """The share found of the anomalies put in, of each kind and of all, and of recorded ones."""
    mine, theirs = sides(measured)
    kinds = sorted({*mine.injected, *(theirs.injected if theirs else ())})
    rows = [Shares(f"found: {kind}", *_both(mine, theirs, kind)) for kind in kinds]
    if kinds:
        rows.append(Shares("found: all kinds", mine.recall, theirs.recall if theirs else None))
    for name, here, there in (
        ("found: recorded", mine.recorded, theirs.recorded if theirs else None),
        ("raised: dismissed", mine.dismissed, theirs.dismissed if theirs else None),
    ):
        if here.of:
            rows.append(Shares(name, here.share, there.share if there else None))
    return rows


def error_ratio(measured: Measured) -> float | None:
    """Typical forecast error as a share of the serving version's; None without a common series."""
    if not measured.error_series:
        return None
    return math.exp(measured.log_error_ratio / measured.error_series)


def gate_rows(gate: GateMeasurement) -> list[tuple[str, str, str]]:
    """Rows of a table: what, the new version, the serving one."""
    measured = gate.total()
    mine, theirs = sides(measured)
    serving = "-" if gate.serving is None else f"version {gate.serving}"
    return [("MEASURED", "THIS VERSION", serving), *_counts(measured, mine, theirs)]


def _counts(measured: Measured, mine: Side, theirs: Side | None) -> Iterator[tuple[str, str, str]]:
    yield "series", str(mine.series), str(theirs.series) if theirs else "-"
    yield "samples", f"{mine.samples:,}", f"{theirs.samples:,}" if theirs else "-"
    ratio = error_ratio(measured)
    if ratio is not None:
        yield "forecast error", f"{ratio:.3f}", "1"
    yield "anomalous", percent(mine.anomaly_rate), percent(theirs.anomaly_rate if theirs else None)
    yield "anomalies", _episodes(mine), _episodes(theirs) if theirs else "-"
    for row in recalls(measured):
        yield row.name, percent(row.candidate), percent(row.serving)


def _episodes(side: Side) -> str:
    return f"{side.episodes} ({side.promised:.1f} promised)"


def _both(mine: Side, theirs: Side | None, kind: str) -> tuple[float | None, float | None]:
    found = [
        None if side is None or kind not in side.injected else side.injected[kind].share
        for side in (mine, theirs)
    ]
    return found[0], found[1]
