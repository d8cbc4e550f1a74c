"""When a model is looked at again although nothing was heard of it.

| A model | Looked at again after |
|---|---|
| that something was just written about | 0.05 s |
| while the database is away | 30 s; the pulse looks at all when it is back |
| with a version in training, on trial, or that may be rolled back | `resyncSeconds` |
| the same, before anything serves | 60 s |
| whose samples are late | 60 s |
| at rest | its own moment in each five minutes |

A decision that time alone changes says when, and then it is earlier. Everything else that changes
is told: by the API server, by notifications and by the pulse. So a plan is never older than five
minutes even if all of them said nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import datetime

from metricwatch.resources import VersionState
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.health import Health
from metricwatch_operator.planning.versions import Decision
from metricwatch_operator.planning.watch_status import fresh_until

AFTER_A_WRITE_SECONDS = 0.05
WHILE_THE_STORE_IS_AWAY_SECONDS = 30.0
WHILE_NOTHING_SERVES_SECONDS = 60.0
"""Nobody writes rows then but us and the trainer, whose Job tells when it ends."""
WHILE_SAMPLES_ARE_LATE_SECONDS = 60.0
REST_SECONDS = 300.0


def next_look(
    observed: Observed,
    desired: Desired,
    decision: Decision,
    healths: Mapping[str, Health],
    *,
    now: datetime,
    config: Config,
    has_written: bool,
) -> float:
    """Seconds until the next look at a model.

    Args:
        observed: This look.
        desired: What the specs ask for.
        decision: What becomes of the versions.
        healths: What detectors report, by uid of the watch.
        now: The time.
        config: What an administrator decided.
        has_written: The plan writes to the database.
    """
    if has_written:
        return AFTER_A_WRITE_SECONDS
    if observed.store_problem is not None:
        return WHILE_THE_STORE_IS_AWAY_SECONDS
    if is_at_rest(observed, decision):
        waits = [own_moment(observed, now=now)]
    else:
        serves = observed.overview is not None and observed.overview.serving is not None
        waits = [config.resync_seconds if serves else WHILE_NOTHING_SERVES_SECONDS]
    waits.extend(_until_late(desired, healths, now=now.timestamp()))
    if decision.look_in is not None:
        waits.append(decision.look_in)
    return min(waits)


def is_at_rest(observed: Observed, decision: Decision) -> bool:
    """Whether no version of a model is on its way to anything."""
    versions = observed.overview.versions if observed.overview else ()
    standing = decision.standing
    return (
        standing.contender is None
        and standing.fallback is None
        and all(one.state is not VersionState.TRAINING for one in versions)
    )


def own_moment(observed: Observed, *, now: datetime) -> float:
    """Seconds until a model's own moment in each five minutes.

    Each has another one, and keeps it: thousands of models that were adopted together are not
    looked at together for ever after.
    """
    phase = zlib.crc32(f"{observed.namespace}/{observed.name}".encode()) % REST_SECONDS
    return REST_SECONDS - (now.timestamp() + phase) % REST_SECONDS


def _until_late(desired: Desired, healths: Mapping[str, Health], *, now: float) -> list[float]:
    """Seconds until the samples of a watch count as late, if they do not yet.

    Samples that stopped with a word, such as NoData, begin again with one.
    """
    waits = []
    for watch in desired.watches:
        health = healths.get(watch.uid, Health())
        until = fresh_until(watch.watch, health)
        if until is None:
            continue
        if until >= now:
            # One second more: they are late after it, not at it.
            waits.append(until - now + 1.0)
        elif health.has_data:
            waits.append(WHILE_SAMPLES_ARE_LATE_SECONDS)
    return waits
