"""Events: each thing that happened is told once, whatever repeats it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    carry_out,
    make_health,
    make_job,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_trainer_pod,
    make_version,
    make_watch,
)

from metricwatch.store.rows import HealthState
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.plan import plan


def _training() -> Observed:
    """A model whose first version is being trained, after what is told of that."""
    model, watch = make_model(), make_watch()
    version = make_version(make_request(model, watch), state="Training")
    overview = make_overview(model, (version,), (make_row(watch),))
    observed = Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)
    _, observed = _told(observed)
    return observed


def _told(observed: Observed, *, rounds: int = 4) -> tuple[list[tuple[str, str, str]], Observed]:
    """What is told of the model until nothing is left to do, and the world then."""
    found = []
    for _ in range(rounds):
        steps = plan(observed, now=NOW, config=CONFIG)
        found += [
            (one.type, one.reason, one.message)
            for one in steps.news
            if one.subject["kind"] == "AnomalyModel"
        ]
        observed = carry_out(observed, steps)
    return found, observed


def _failed(observed: Observed, code: int, reason: str, message: str) -> Observed:
    assert observed.overview is not None
    (version,) = observed.overview.versions
    condition = {"type": "Failed", "reason": "PodFailurePolicy", "message": "exit code"}
    pod = make_trainer_pod(1, code, reason=reason, message=message)
    return replace(observed, jobs=(make_job(version, condition=condition),), pods=(pod,))


@pytest.mark.parametrize(
    ("code", "reason"), [(10, "NotEnoughData"), (11, "QueryRefused"), (20, "SourceUnavailable")]
)
def test_a_first_training_that_fails_is_one_event(code: int, reason: str) -> None:
    told, after = _told(_failed(_training(), code, reason, "nothing came of it"))
    # Another try, where one makes sense, is news of its own.
    warnings = [one for one in told if one[0] == "Warning"]
    assert warnings == [("Warning", "TrainingFailed", f"version 1: {reason}: nothing came of it")]
    conditions = {one["type"]: one for one in (after.model or {})["status"]["conditions"]}
    assert ("Stalled" in conditions) == (code != 20)
    if code != 20:
        # What is not told again stays to be read.
        assert conditions["DataAvailable"]["reason"] == conditions["Stalled"]["reason"] == reason


def test_a_failure_without_words_hides_nothing_else() -> None:
    observed = _failed(_training(), 10, "NotEnoughData", "")
    _, observed = _told(observed)
    away = replace(observed, store_problem=Problem("StoreUnavailable", "no answer"))
    told, _ = _told(away, rounds=1)
    assert ("Warning", "StoreUnavailable", "no answer") in told


def test_another_trouble_beside_a_failed_training_is_told() -> None:
    _, observed = _told(_failed(_training(), 10, "NotEnoughData", "3 of 288 samples"))
    broken = {**(observed.model or {}), "spec": {"algorithm": {"type": "none"}}}
    told, _ = _told(replace(observed, model=broken))
    assert [(kind, reason) for kind, reason, _ in told] == [("Warning", "InvalidSpec")]


def test_a_watch_tells_of_itself_what_its_model_tells_too() -> None:
    model, watch = make_model(), make_watch()
    version = make_version(make_request(model, watch))
    refused = make_health(state=HealthState.QUERY_REFUSED, message="parse error at char 3")
    overview = make_overview(model, (version,), (make_row(watch, refused),))
    steps = plan(
        Observed("shop", "checkout", model=model, watches=(watch,), overview=overview),
        now=NOW,
        config=CONFIG,
    )
    told = [(one.subject["kind"], one.reason) for one in steps.news]
    assert told == [("AnomalyModel", "QueryRefused"), ("MetricWatch", "QueryRefused")]
