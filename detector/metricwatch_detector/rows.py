"""Anomalies as rows and back: what has no column of its own travels in the explanation."""

from __future__ import annotations

import math
from collections.abc import Mapping

from metricwatch.anomalies import Anomaly, Component, Kind, Policy, State, explain
from metricwatch.series import labels_from
from metricwatch.store.rows import AnomalyRow, AnomalyState


def row_from(anomaly: Anomaly, policy: Policy, *, metric_id: int, family: str) -> AnomalyRow:
    """The row of an anomaly as it is now."""
    typical = anomaly.peak_typical if math.isfinite(anomaly.peak_typical) else None
    return AnomalyRow(
        metric_id=metric_id,
        started_at=anomaly.started_at,
        last_anomalous_at=anomaly.last_anomalous_at,
        peak_at=anomaly.peak_at,
        ended_at=anomaly.ended_at,
        state=AnomalyState(anomaly.state.value),
        kind=anomaly.kind.value,
        severity=anomaly.severity,
        direction=anomaly.direction,
        peak_score=anomaly.peak_score,
        peak_value=anomaly.peak_value,
        peak_expected=anomaly.peak_expected,
        samples=anomaly.samples,
        explanation=explain(anomaly, policy, family=family) | {"typical": typical},
    )


def anomaly_from(row: AnomalyRow) -> Anomaly:
    """The open anomaly that a row describes."""
    said = row.explanation
    return Anomaly(
        started_at=row.started_at,
        last_anomalous_at=row.last_anomalous_at,
        peak_at=row.peak_at,
        ended_at=None,
        state=State.OPEN,
        kind=Kind(row.kind),
        severity=row.severity,
        direction=row.direction,
        samples=row.samples,
        peak_score=row.peak_score,
        peak_rarity=_number(said, "rarity"),
        peak_value=row.peak_value,
        peak_expected=row.peak_expected,
        peak_lower=_number(said, "lower"),
        peak_upper=_number(said, "upper"),
        peak_typical=_number(said, "typical"),
        components=_components(said.get("components")),
    )


def _components(said: object) -> tuple[Component, ...]:
    """The channels to blame as they were written."""
    if not isinstance(said, list):
        return ()
    return tuple(Component(labels_from(one["labels"]), _number(one, "deviation")) for one in said)


def _number(values: Mapping[str, object], name: str) -> float:
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
