"""Fixtures of this layer, a line for each; they live in the modules they are imported from."""

from pathlib import Path

import pytest
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

# Minutes each, most of them waiting: begun last, one of them would be waited for alone.
LONGEST = (
    "test_detector_store_faults.py",
    "test_trainer_shards.py",
    "test_operator_resilience.py",
    "test_trainer_families.py",
    "test_operator_lifecycle.py",
    "test_detector_faults.py",
    "test_faults_storm.py",
    "test_monitoring.py",
    "test_faults_jobs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))
