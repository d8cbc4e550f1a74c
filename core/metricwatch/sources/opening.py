"""From a configuration to a reader."""

from __future__ import annotations

from metricwatch.resources.source import SourceType
from metricwatch.sources.config import SourceConfig
from metricwatch.sources.prometheus import PrometheusSource
from metricwatch.sources.protocol import Source
from metricwatch.sources.retry import RetryPolicy
from metricwatch.sources.simulation import SimulationSource


def open_source(config: SourceConfig, *, retry_seconds: float = 10.0) -> Source:
    """Returns a reader for `config`; nothing is connected before the first query.

    Args:
        config: where to read.
        retry_seconds: how long one call goes on trying when the server cannot answer.
    """
    match config.type:
        case SourceType.PROMETHEUS | SourceType.VICTORIAMETRICS:
            return PrometheusSource(config, retry=RetryPolicy(budget_seconds=retry_seconds))
        case SourceType.SIMULATION:
            return SimulationSource()
