"""`python -m metricwatch_trainer`: one training run, settings from the environment."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from metricwatch.logs import configure_logging
from metricwatch_trainer.processors import usable_processors


def main() -> None:
    """Trains one version and ends the process with the exit code of its verdict."""
    # Both libraries read these once, when they are imported. BLAS threads make the many small
    # products of a fit some ten times slower; shards are what runs in parallel.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_processors()))
    from metricwatch_trainer.supervision import supervise

    level = os.environ.get("METRICWATCH_LOG_LEVEL") or "info"
    known = level.upper() in logging.getLevelNamesMapping()
    configure_logging("trainer", level=level if known else "info")
    loop = asyncio.new_event_loop()
    code = loop.run_until_complete(supervise(os.environ))
    sys.stderr.flush()
    # Not sys.exit: it would wait for a thread that may still be in the middle of a fit.
    os._exit(int(code))


if __name__ == "__main__":
    main()
