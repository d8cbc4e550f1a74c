"""Fixtures of this layer, a line for each; they live in the modules they are imported from."""

from tests.integration.kubernetes_fixture import control_plane
from tests.integration.metrics_fixture import prometheus, victoriametrics
from tests.integration.postgres_fixture import (
    database,
    database_url,
    empty_database_url,
    postgres,
    postgres_server,
)

__all__ = [
    "control_plane",
    "database",
    "database_url",
    "empty_database_url",
    "postgres",
    "postgres_server",
    "prometheus",
    "victoriametrics",
]
