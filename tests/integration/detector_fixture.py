"""The world of the detector's tests, with every process ended afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.detector_world import World

from metricwatch.store.pool import Database


@pytest.fixture
async def world(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """An empty database and no process yet."""
    made = World(database, database_url, tmp_path)
    yield made
    for process in made.processes:
        if process.process.poll() is None:
            process.kill()
