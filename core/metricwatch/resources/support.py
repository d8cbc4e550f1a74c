"""What a spec may ask for that this release cannot do yet.

One line a feature. The operator turns the sentences into `Stalled=True`, reason `NotSupported`; a
feature that gets built loses its line here. Nothing that a user asked for is silently ignored.
"""

from collections.abc import Callable
from typing import Any

from metricwatch.resources.anomalymodel import AnomalyModelSpec
from metricwatch.resources.family_names import AlgorithmType
from metricwatch.resources.metricwatch import MetricWatchSpec
from metricwatch.resources.training import Scope

Feature = tuple[str, Callable[[Any], bool], str]

# Each line: the field, whether a spec asks for it, what to do instead.
_MODEL_FEATURES: tuple[Feature, ...] = (
    (
        "spec.algorithm.type",
        lambda spec: (
            spec.scope is Scope.MULTIVARIATE and spec.algorithm.type != AlgorithmType.AUTO
        ),
        "scope multivariate has a family of its own: use auto, or scope perSeries",
    ),
)
_WATCH_FEATURES: tuple[Feature, ...] = (
    (
        "spec.notifications",
        lambda spec: bool(spec.notifications),
        "notifications are not available yet: leave them out, and alert on the detector's metrics",
    ),
)


def unsupported(spec: AnomalyModelSpec | MetricWatchSpec) -> list[tuple[str, str]]:
    """Fields that ask for what is not built yet, each with a sentence that says what to do."""
    features = _MODEL_FEATURES if isinstance(spec, AnomalyModelSpec) else _WATCH_FEATURES
    return [(field, sentence) for field, is_asked_for, sentence in features if is_asked_for(spec)]
