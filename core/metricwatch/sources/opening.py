"""From a configuration to a reader."""

from __future__ import annotations

import os

from metricwatch.resources.source import SourceType
from metricwatch.sources.allowed import allowed_hosts, is_allowed, refusal
from metricwatch.sources.config import SourceConfig
from metricwatch.sources.errors import SourceNotAllowed
from metricwatch.sources.prometheus import PrometheusSource
from metricwatch.sources.protocol import Source
from metricwatch.sources.retry import RetryPolicy
from metricwatch.sources.simulation import SimulationSource


def open_source(config: SourceConfig, *, retry_seconds: float = 10.0) -> Source:
    """Returns a reader for `config`; nothing is connected before the first query.

    Args:
        config: where to read.
        retry_seconds: how long one call goes on trying when the server cannot answer.

    Raises:
        SourceNotAllowed: METRICWATCH_ALLOWED_SOURCE_HOSTS is set and does not name its host.
    """
    hosts = allowed_hosts(os.environ)
    if config.type is not SourceType.SIMULATION and not is_allowed(config.url, hosts):
        raise SourceNotAllowed(f"{refusal(config.url, hosts)}.")
    match config.type:
        case SourceType.PROMETHEUS | SourceType.VICTORIAMETRICS:
            return PrometheusSource(config, retry=RetryPolicy(budget_seconds=retry_seconds))
        case SourceType.SIMULATION:
            return SimulationSource()
