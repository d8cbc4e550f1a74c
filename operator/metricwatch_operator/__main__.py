"""`python -m metricwatch_operator`: reads the environment and runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from prometheus_client import disable_created_metrics

from metricwatch.logs import configure_logging
from metricwatch.store.errors import StoreMisconfigured
from metricwatch.store.location import DatabaseLocation
from metricwatch_operator.settings import InvalidSettings, read_settings
from metricwatch_operator.supervise import supervise


def main() -> int:
    """Runs the operator; gives the exit code of the process."""
    try:
        settings = read_settings(os.environ)
        location = DatabaseLocation.from_environment(os.environ)
        configure_logging("operator", level=settings.log_level)
    except (InvalidSettings, StoreMisconfigured, ValueError) as error:
        sys.stderr.write(f"metricwatch-operator: {error}\n")
        return 2
    # kopf tells at INFO of every event that it hands on, and warns that signals are not its to
    # handle.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return asyncio.run(supervise(settings, location))


if __name__ == "__main__":
    sys.exit(main())
