"""Readers: Prometheus, VictoriaMetrics, and series computed in the process for trying out."""

from metricwatch.sources.config import SourceConfig
from metricwatch.sources.errors import (
    SecretMissing,
    SourceError,
    SourceMalformed,
    SourceNotAllowed,
    SourceRefused,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnavailable,
)
from metricwatch.sources.opening import open_source
from metricwatch.sources.protocol import Progress, Sample, Source

__all__ = [
    "Progress",
    "Sample",
    "SecretMissing",
    "Source",
    "SourceConfig",
    "SourceError",
    "SourceMalformed",
    "SourceNotAllowed",
    "SourceRefused",
    "SourceTooLarge",
    "SourceUnauthorized",
    "SourceUnavailable",
    "open_source",
]
