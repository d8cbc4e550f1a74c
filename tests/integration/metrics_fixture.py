"""The metrics servers that the tests of one run share."""

from collections.abc import Iterator

import pytest
from tests.integration.metrics_servers import Prometheus, VictoriaMetrics

SELF_SCRAPING = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: itself
    static_configs: [{targets: [THIS_SERVER]}]
"""


@pytest.fixture(scope="session")
def victoriametrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaMetrics]:
    """One in each test process; tests use metric names of their own."""
    server = VictoriaMetrics(tmp_path_factory.mktemp("victoriametrics"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One in each test process, which scrapes itself every second."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), configuration=SELF_SCRAPING)
    server.start()
    yield server
    server.stop()
