"""Why something is an anomaly, in numbers and in one sentence, from its peak."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metricwatch.anomalies.anomaly import Anomaly
from metricwatch.anomalies.components import Component
from metricwatch.anomalies.policy import Policy

_MOST_IN_SENTENCE = 3


def explain(anomaly: Anomaly, policy: Policy, *, family: str) -> dict[str, object]:
    """The peak against what was expected; values in the series' unit, JSON without NaN.

    `deviation` is in typical deviations: how many times the spread of normal samples. The anomaly
    of a system says its `components` too, the channels most to blame first.
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
    components = [
        {"labels": dict(one.labels), "deviation": _plain(one.deviation)}
        for one in anomaly.components
    ]
    return {
        "family": family,
        "threshold": policy.threshold,
        "summary": _sentence(anomaly, deviation),
        **{name: _plain(value) for name, value in numbers.items()},
        **({"components": components} if components else {}),
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sentence(anomaly: Anomaly, deviation: float) -> str:
    if anomaly.direction == "missing":
        return "no data"
    if anomaly.components:
        return (
            f"the series together are as odd as once in 10^{anomaly.peak_value:.1f} samples, "
            f"10^{anomaly.peak_upper:.1f} alerts; most to blame: {_named(anomaly.components)}"
        )
    far = f", {deviation:.1f} typical deviations" if math.isfinite(deviation) else ""
    return (
        f"{anomaly.peak_value:.6g} is {anomaly.direction} the expected {anomaly.peak_expected:.6g}"
        f"{far}; normal is {anomaly.peak_lower:.6g} to {anomaly.peak_upper:.6g}"
    )


def _named(components: Sequence[Component]) -> str:
    """The first few components by what tells them apart, with their deviations."""
    common = set.intersection(*(set(one.labels) for one in components))
    parts = []
    for one in components[:_MOST_IN_SENTENCE]:
        own = [pair for pair in one.labels if pair not in common] or one.labels
        far = f" ({one.deviation:+.1f} typical deviations)" if math.isfinite(one.deviation) else ""
        parts.append(_shown(own) + far)
    more = len(components) - len(parts)
    return ", ".join(parts) + (f" and {more} more" if more else "")


def _shown(labels: Sequence[tuple[str, str]]) -> str:
    name = dict(labels).get("__name__", "")
    inner = ", ".join(f'{key}="{value}"' for key, value in labels if key != "__name__")
    return f"{name}{{{inner}}}" if inner else name
