"""When a training run that brought nothing is tried again by itself.

```
attempt   1    2    3    4     5     6     7 …
wait      1m   2m   4m   8m    16m   32m   1h       after the run ended
```

Attempt and end are in the database, so a restart of the operator forgets nothing. A run that
cannot succeed as things are (exit code 10 or 11) waits for its cause to go: for the time that the
trainer names, for a changed spec, or for the first recorded anomalies when it is labels that lack.
"""

from __future__ import annotations

from metricwatch.resources import Reason, VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.planning.children import DETECTOR_PROGRESS_SECONDS
from metricwatch_operator.planning.trainer_runs import Run

FIRST_RETRY_SECONDS = 60
LONGEST_RETRY_SECONDS = 3600


def ended_at(version: Version, run: Run | None) -> int:
    """When a training run was over, unix seconds; when it began, if it is not or nobody knows."""
    return version.trained_at or (run.ended_at if run else None) or version.created_at


def retry_at(version: Version, run: Run, *, labelled_at: int | None = None) -> int | None:
    """When a version that failed is tried again, unix seconds; None when only a change helps.

    Args:
        version: Failed, or refused with nothing to fall back on.
        run: Of the version.
        labelled_at: Start of the newest recorded anomaly.
    """
    delay = min(FIRST_RETRY_SECONDS << min(version.attempt - 1, 16), LONGEST_RETRY_SECONDS)
    ended = ended_at(version, run)
    if version.trained_at is not None and version.reason == Reason.DETECTOR_NOT_READY:
        ended += DETECTOR_PROGRESS_SECONDS
    if version.state is VersionState.REJECTED or not run.is_final:
        return ended + delay
    if run.retry_after is not None:
        return ended + max(delay, int(run.retry_after))
    if run.reason == Reason.NO_LABELS and labelled_at is not None and labelled_at > ended:
        return ended + delay
    return None
