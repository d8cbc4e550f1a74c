"""`python -m metricwatch_detector`: settings from the environment, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from prometheus_client import disable_created_metrics

from metricwatch.logs import configure_logging
from metricwatch_detector.service import Detector
from metricwatch_detector.settings import Settings


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Detector(settings).run(stop)


def main() -> int:
    """Runs a detector; the exit code is 0 after a clean end and 2 for wrong settings."""
    try:
        settings = Settings.from_environment(os.environ)
        configure_logging("detector", level=settings.log_level)
    except ValueError as error:
        print(f"metricwatch-detector: {error}", file=sys.stderr)
        return 2
    # A second series for each counter, which says nothing that a scrape does not.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    asyncio.run(_serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
