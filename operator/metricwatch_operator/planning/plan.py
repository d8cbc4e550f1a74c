"""Observed state to plan: the operator's one decision, put together from the smaller ones.

Level-triggered: nothing here depends on which event led here. A plan makes one step; what it
writes is observed by the next look, which plans the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from metricwatch.resources import ConditionType
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.actions import Assign, AssignedWatch, Plan
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.deletion import plan_deletion
from metricwatch_operator.planning.desired import Desired, read_desired
from metricwatch_operator.planning.facts import Facts
from metricwatch_operator.planning.family import plan_children
from metricwatch_operator.planning.health import Health, sum_up
from metricwatch_operator.planning.model_status import build_model_status
from metricwatch_operator.planning.names import FINALIZER
from metricwatch_operator.planning.rest import next_look
from metricwatch_operator.planning.telling import tell, version_news
from metricwatch_operator.planning.versions import Decision, decide
from metricwatch_operator.planning.watch_status import ModelState, build_watch_status


def plan(observed: Observed, *, now: datetime, config: Config) -> Plan:
    """What to do about a model and the watches that refer to its name.

    Never raises for what a user wrote: mistakes become conditions.
    """
    desired = read_desired(observed, config)
    if observed.model is None or observed.is_deleting:
        gone = ModelState(name=observed.name, exists=False)
        orphans = _changed(observed, _watch_statuses(observed, desired, {}, gone, now=now))
        return tell(observed, plan_deletion(observed, now=now, config=config, statuses=orphans))
    if observed.overview is None:
        decision = Decision()
    else:
        decision = decide(observed, desired, now=now, config=config)
    healths = _healths(observed, decision)
    facts = Facts(observed, desired, decision, healths, now)
    model_status = build_model_status(facts)
    state = _model_state(facts, model_status)
    statuses = (model_status, *_watch_statuses(observed, desired, healths, state, now=now))
    assign = _assign(observed, desired)
    children = plan_children(observed, desired, decision, config=config)
    writes = (*((assign,) if assign else ()), *decision.writes)
    steps = Plan(
        writes=writes if observed.store_problem is None else (),
        finalizer=None if FINALIZER in observed.model["metadata"].get("finalizers", ()) else True,
        database_secret=children.database_secret,
        creates=children.creates,
        applies=children.applies,
        deletions=children.deletions,
        statuses=_changed(observed, statuses),
        news=version_news(observed.model, decision),
    )
    wait = next_look(
        observed,
        desired,
        decision,
        healths,
        now=now,
        config=config,
        has_written=bool(steps.writes),
    )
    return tell(observed, replace(steps, requeue_after=wait))


def _healths(observed: Observed, decision: Decision) -> dict[str, Health]:
    if observed.overview is None:
        return {}
    shown = observed.overview.serving_version
    if shown is None and decision.detect:
        shown = decision.detect[0].version
    return {watch.uid: sum_up(watch.health_of(shown)) for watch in observed.overview.watches}


def _assign(observed: Observed, desired: Desired) -> Assign | None:
    """The rows of model and watches, unless they are as this process wrote them last."""
    if observed.model is None or observed.store_problem is not None:
        return None
    metadata = observed.model["metadata"]
    present = {watch.uid for watch in desired.watches if not watch.is_turned_away}
    known = {watch.uid for watch in observed.overview.watches} if observed.overview else set()
    watches = tuple(
        AssignedWatch(
            uid=watch.uid,
            namespace=watch.manifest["metadata"]["namespace"],
            name=watch.manifest["metadata"]["name"],
            generation=watch.manifest["metadata"].get("generation", 0),
            settings=watch.settings,
        )
        for watch in desired.watches
        if watch.settings is not None
    )
    digest = _digest(metadata, watches)
    has_all = observed.overview is not None and known >= {watch.uid for watch in watches}
    if has_all and known <= present and digest == observed.memory.assignments:
        return None
    return Assign(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        generation=metadata.get("generation", 0),
        watches=watches,
        keep=tuple(sorted(present)),
        digest=digest,
        suspended=bool(desired.model and desired.model.spec.suspend),
    )


def _digest(metadata: Mapping[str, Any], watches: tuple[AssignedWatch, ...]) -> str:
    rows = [
        [watch.uid, watch.name, watch.generation, watch.settings.to_row()] for watch in watches
    ]
    text = json.dumps([metadata["uid"], metadata.get("generation", 0), rows], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _watch_statuses(
    observed: Observed,
    desired: Desired,
    healths: Mapping[str, Health],
    state: ModelState,
    *,
    now: datetime,
) -> tuple[dict[str, Any], ...]:
    rows = {row.uid: row for row in observed.overview.watches} if observed.overview else {}
    return tuple(
        build_watch_status(
            watch,
            state,
            row=rows.get(watch.uid),
            health=healths.get(watch.uid, Health()),
            now=now,
        )
        for watch in desired.watches
        if "deletionTimestamp" not in watch.manifest["metadata"]
    )


def _model_state(facts: Facts, model_status: Mapping[str, Any]) -> ModelState:
    conditions = {one["type"]: one for one in model_status["status"]["conditions"]}
    ready = conditions[ConditionType.READY.value]
    return ModelState(
        name=facts.observed.name,
        exists=True,
        serving_version=facts.serving.version if facts.serving else None,
        is_suspended=facts.is_suspended,
        unready=None if ready["status"] == "True" else Problem(ready["reason"], ready["message"]),
        store_problem=facts.observed.store_problem,
    )


def _changed(
    observed: Observed, statuses: tuple[dict[str, Any], ...]
) -> tuple[dict[str, Any], ...]:
    live = {
        manifest["metadata"]["uid"]: manifest.get("status") or {}
        for manifest in (*filter(None, (observed.model,)), *observed.watches)
    }
    return tuple(one for one in statuses if one["status"] != live[one["metadata"]["uid"]])
