"""The end of a model: children first, then its rows, then our finalizer.

Children would go by owner reference alone, but only after the model is gone: a detector that still
runs would write rows of a model that no longer exists. A database that is gone for good must not
keep a model for ever, so patience ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from metricwatch_operator.objects import Ref
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.actions import Forget, News, Plan
from metricwatch_operator.planning.conditions import parse_time
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.names import FINALIZER

WAIT_FOR_CHILDREN_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 5.0


def plan_deletion(
    observed: Observed,
    *,
    now: datetime,
    config: Config,
    statuses: tuple[Mapping[str, Any], ...],
) -> Plan:
    """What to do about a model that is gone or going; `statuses` are those of its watches."""
    model = observed.model
    if model is None or FINALIZER not in model["metadata"].get("finalizers", ()):
        return Plan(statuses=statuses)
    waited = (now - parse_time(model["metadata"]["deletionTimestamp"])).total_seconds()
    children = (*observed.jobs, *observed.deployments)
    going = tuple(Ref.of(one) for one in children if "deletionTimestamp" not in one["metadata"])
    if (children or observed.pods) and waited < WAIT_FOR_CHILDREN_SECONDS:
        return Plan(deletions=going, statuses=statuses, requeue_after=_LOOK_AGAIN_SECONDS)
    if observed.store_problem is None:
        return Plan(writes=(Forget(model["metadata"]["uid"]),), finalizer=False, statuses=statuses)
    if waited < config.finalizer_patience_seconds:
        return Plan(deletions=going, statuses=statuses, requeue_after=_LOOK_AGAIN_SECONDS)
    message = (
        f"the database could not be reached for {waited:.0f} s, so rows of this model may remain: "
        f"{observed.store_problem.message}"
    )
    news = News(model, "RowsLeftBehind", message, "Warning")
    return Plan(finalizer=False, statuses=statuses, news=(news,))
