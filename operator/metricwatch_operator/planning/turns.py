"""Whose turn it is to be trained: at most so many runs at once over all models, oldest first.

A run that has begun is never stopped for another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from metricwatch.store.rows import Version
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.children import child_version
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.schedules import maintenance_end
from metricwatch_operator.planning.situation import maintenance_of

LONGEST_WAIT_SECONDS = 60.0
_WAIT_A_PLACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Why a version that is to be trained has to wait.

    Attributes:
        message: For people.
        look_in: Seconds after which it may be its turn.
        position: How many runs of other models come first; None when it waits for something else.
    """

    message: str
    look_in: float
    position: int | None = None


def find_wait(
    version: Version, observed: Observed, desired: Desired, *, now: float, config: Config
) -> Turn | None:
    """What the run of a version waits for; None when it may begin, or has begun.

    Args:
        version: Is to be trained.
        observed: Its model.
        desired: What the model and its watches ask for.
        now: Unix seconds.
        config: What an administrator decided.
    """
    if any(child_version(job) == version.version for job in observed.jobs):
        return None
    until = maintenance_end(maintenance_of(desired), now)
    if until is not None:
        return Turn(f"maintenance until {format_time(time_of(until))}", until - now)
    position = observed.overview.queue_position if observed.overview else None
    if position is None or position < config.concurrent_trainings:
        return None
    ahead = position - config.concurrent_trainings + 1
    look_in = min(_WAIT_A_PLACE_SECONDS * ahead, LONGEST_WAIT_SECONDS)
    return Turn(f"{position} runs of other models come first", look_in, position)
