"""Why something is an anomaly, in numbers and in one sentence, from its peak."""

from __future__ import annotations

import math

from metricwatch.anomalies.lifecycle import Anomaly
from metricwatch.anomalies.policy import Policy


def explain(anomaly: Anomaly, policy: Policy, *, family: str) -> dict[str, object]:
    """The peak against what was expected; values in the series' unit, JSON without NaN.

    `deviation` is in typical deviations: how many times the spread of normal samples.
    """
    residual = anomaly.peak_value - anomaly.peak_expected
    typical = anomaly.peak_typical
    deviation = abs(residual) / typical if typical > 0 else math.nan
    numbers = {
        "value": anomaly.peak_value,
        "expected": anomaly.peak_expected,
        "lower": anomaly.peak_lower,
        "upper": anomaly.peak_upper,
        "score": anomaly.peak_score,
        "rarity": anomaly.peak_rarity,
        "deviation": deviation,
    }
    return {
        "family": family,
        "threshold": policy.threshold,
        "summary": _sentence(anomaly, deviation),
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
    }


def _sentence(anomaly: Anomaly, deviation: float) -> str:
    if anomaly.direction == "missing":
        return "no data"
    far = f", {deviation:.1f} typical deviations" if math.isfinite(deviation) else ""
    return (
        f"{anomaly.peak_value:.6g} is {anomaly.direction} the expected {anomaly.peak_expected:.6g}"
        f"{far}; normal is {anomaly.peak_lower:.6g} to {anomaly.peak_upper:.6g}"
    )
