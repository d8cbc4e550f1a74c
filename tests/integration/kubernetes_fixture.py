"""The API server that the tests of one run share."""

from collections.abc import Iterator

import pytest
from tests.integration.control_plane import ControlPlane, run_control_plane


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with both CRDs installed, one in each test process."""
    with run_control_plane(tmp_path_factory.mktemp("control-plane")) as plane:
        plane.install_crds()
        yield plane
