"""When a contender serves, waits, is refused or fails: the chains, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    NOW_SECONDS,
    make_model,
    make_request,
    make_version,
    make_watch,
)

from metricwatch.resources import Rollout as Terms
from metricwatch.store.rows import Comparison
from metricwatch_operator.planning.policies import evaluate
from metricwatch_operator.planning.promotion import BREAKDOWNS, REFUSALS, WAITS, Trial
from metricwatch_operator.planning.rollback import (
    MISBEHAVIOUR,
    Probation,
    find_misbehaviour,
)
from metricwatch_operator.planning.rollouts import Rollout

READY = Rollout(ready=True, serving=True, overdue=False, message="")
STARTING = Rollout(ready=False, serving=False, overdue=False, message="0 of 1 detectors are ready")
CRASHING = replace(STARTING, crashing="pod-1 was restarted 4 times, exit code 1")
LATE = replace(STARTING, overdue=True)
IMMEDIATE = Terms()
SHADOW = Terms.model_validate({"strategy": "Shadow", "shadow": {"duration": "30m"}})
BY_HAND = Terms.model_validate({"autoPromote": False})
MINUTE = 60


def comparison(**changes: Any) -> Comparison:
    """Of two versions that find the same few samples."""
    well: dict[str, Any] = {
        "version": 2,
        "against": 1,
        "since": NOW_SECONDS,
        "until": NOW_SECONDS,
        "series": 10,
        "common": 1000,
        "samples": 1000,
        "samples_against": 1000,
        "anomalous": 10,
        "anomalous_against": 10,
        "both": 10,
        "stormy": 0,
    }
    return Comparison(**(well | changes))


def trial(*, ready_minutes_ago: int | None = None, **changes: Any) -> Trial:
    """Version 2, ready, beside version 1."""
    request = make_request(make_model(), make_watch())
    ready_at = None if ready_minutes_ago is None else NOW_SECONDS - ready_minutes_ago * MINUTE
    whole: dict[str, Any] = {
        "contender": make_version(request, 2, "Candidate", ready_at=ready_at),
        "serving": make_version(request, 1),
        "rollout": READY,
        "serving_rollout": READY,
        "terms": IMMEDIATE,
        "is_pinned": False,
        "is_named": False,
        "comparison": None,
        "now": float(NOW_SECONDS),
        "patience_seconds": 180.0,
    }
    return Trial(**(whole | changes))


def compared(minutes: int = 31, **changes: Any) -> Trial:
    """In shadow, its comparison over unless said otherwise."""
    found = changes.pop("comparison", comparison())
    return trial(ready_minutes_ago=minutes, terms=SHADOW, comparison=found, **changes)


SILENT = comparison(samples=0, common=0, series=0, anomalous=0, anomalous_against=0, both=0)
STORM = comparison(stormy=2, anomalous=200)
FAR_TOO_MUCH = comparison(anomalous=21, anomalous_against=10)

BREAKS: dict[str, tuple[Trial, str | None]] = {
    "ready": (trial(), None),
    "starting": (trial(rollout=STARTING), None),
    "cannot be read": (trial(damage="watch latency: chunk 0"), "ArtifactDamaged"),
    "the first version cannot be read": (
        trial(damage="watch latency: chunk 0", serving=None, serving_rollout=None),
        "ArtifactDamaged",
    ),
    "crashes beside one that is well": (trial(rollout=CRASHING), "DetectorNotReady"),
    "crashes, as the serving one does": (
        trial(rollout=CRASHING, serving_rollout=STARTING),
        None,
    ),
    "the first version crashes": (
        trial(rollout=CRASHING, serving=None, serving_rollout=None),
        None,
    ),
    "never gets ready": (trial(rollout=LATE), "DetectorNotReady"),
    "the first version never gets ready": (
        trial(rollout=LATE, serving=None, serving_rollout=None),
        None,
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_candidate_fails_when_its_detectors_cannot_run(case: str) -> None:
    given, reason = BREAKS[case]
    found = evaluate(BREAKDOWNS, given)
    assert (found and found.reason) == reason


REFUSED: dict[str, tuple[Trial, str | None]] = {
    "does as well": (compared(), None),
    "Immediate is not compared": (trial(ready_minutes_ago=31, comparison=STORM), None),
    "nothing to compare with": (compared(serving=None, comparison=STORM), None),
    "a person named it": (compared(comparison=STORM, is_named=True), None),
    "spec.version names it": (compared(comparison=STORM, is_pinned=True), None),
    "not compared yet": (compared(comparison=None), None),
    "scores nothing": (compared(5, comparison=SILENT), "ScoresNothing"),
    "scores nothing yet": (compared(2, comparison=SILENT), None),
    "nothing is scored by either": (
        compared(5, comparison=replace(SILENT, samples_against=0)),
        None,
    ),
    "storms at once": (compared(1, comparison=STORM), "AnomalyStorm"),
    "one of ten series is no storm": (compared(comparison=comparison(stormy=1)), None),
    "too few samples for a storm": (
        compared(1, comparison=replace(STORM, common=49)),
        None,
    ),
    "a single series storms": (
        compared(1, comparison=comparison(series=1, stormy=1, common=60, anomalous=40)),
        "AnomalyStorm",
    ),
    "one of two series for ten samples": (
        compared(1, comparison=comparison(series=2, stormy=1, common=20, anomalous=10)),
        None,
    ),
    "leaves out most": (compared(comparison=comparison(common=499)), "MissesSamples"),
    "leaves out most so far": (compared(10, comparison=comparison(common=499)), None),
    "leaves out half": (compared(comparison=comparison(common=500)), None),
    "finds far too much": (compared(comparison=FAR_TOO_MUCH), "AnomalyRateRatio"),
    "finds far too much so far": (compared(10, comparison=FAR_TOO_MUCH), None),
    "finds twice as much": (compared(comparison=comparison(anomalous=20)), None),
    "finds five where the other finds none": (
        compared(comparison=comparison(anomalous=5, anomalous_against=0, both=0)),
        None,
    ),
    "finds six where the other finds none": (
        compared(comparison=comparison(anomalous=6, anomalous_against=0, both=0)),
        "AnomalyRateRatio",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_candidate_is_refused_for_what_it_scores_beside_the_serving_version(case: str) -> None:
    given, reason = REFUSED[case]
    found = evaluate(REFUSALS, given)
    assert (found and found.reason) == reason
    if found is not None:
        assert found.message


WAITING: dict[str, tuple[Trial, str | None]] = {
    "ready": (trial(), None),
    "not ready": (trial(rollout=STARTING), "DetectorStarting"),
    "not ready, and named": (trial(rollout=STARTING, is_named=True), "DetectorStarting"),
    "shadow begins": (trial(terms=SHADOW), "Comparing"),
    "shadow goes on": (compared(29), "Comparing"),
    "shadow is over": (compared(30), None),
    "shadow, and named": (compared(1, is_named=True), None),
    "shadow, and pinned": (compared(1, is_pinned=True), None),
    "shadow with nothing to compare with": (trial(terms=SHADOW, serving=None), None),
    "shadow is over, too little was scored": (
        compared(comparison=comparison(common=29)),
        "ComparisonInconclusive",
    ),
    "shadow is over, nothing was compared": (
        compared(comparison=None),
        "ComparisonInconclusive",
    ),
    "shadow is over, the serving version scores nothing": (
        compared(comparison=comparison(common=0, samples_against=0)),
        None,
    ),
    "shadow is over, neither scores": (
        compared(comparison=comparison(common=0, samples=0, samples_against=0)),
        "ComparisonInconclusive",
    ),
    "held back": (trial(terms=BY_HAND), "AwaitingPromotion"),
    "held back, the first version": (
        trial(terms=BY_HAND, serving=None),
        "AwaitingPromotion",
    ),
    "held back, and named": (trial(terms=BY_HAND, is_named=True), None),
    "held back, and pinned": (trial(terms=BY_HAND, is_pinned=True), None),
}


@pytest.mark.parametrize("case", WAITING)
def test_a_candidate_waits_for_one_thing_at_a_time(case: str) -> None:
    given, reason = WAITING[case]
    found = evaluate(WAITS, given)
    assert (found and found.reason) == reason


def test_every_rule_of_a_chain_speaks_in_some_case() -> None:
    spoken = {
        rule.__name__
        for chain, cases in ((BREAKDOWNS, BREAKS), (REFUSALS, REFUSED), (WAITS, WAITING))
        for rule in chain
        if any(rule(given) is not None for given, _ in cases.values())
    }
    assert spoken == {rule.__name__ for chain in (BREAKDOWNS, REFUSALS, WAITS) for rule in chain}


def probation(**changes: Any) -> Probation:
    """Version 2 took over from version 1 five minutes ago; both run."""
    request = make_request(make_model(), make_watch())
    whole: dict[str, Any] = {
        "serving": make_version(request, 2, replaced=1),
        "fallback": make_version(request, 1, "Retired"),
        "rollout": READY,
        "fallback_rollout": READY,
        "comparison": comparison(),
        "served_seconds": 300.0,
        "patience_seconds": 180.0,
    }
    return Probation(**(whole | changes))


MISBEHAVES: dict[str, tuple[Probation, str | None]] = {
    "well": (probation(), None),
    "crash loop": (probation(rollout=CRASHING), "CrashLoop"),
    "cannot be read": (probation(damage="watch latency: chunk 0"), "ArtifactDamaged"),
    "one of two replicas crashes": (
        probation(rollout=replace(CRASHING, serving=True)),
        None,
    ),
    "a new pod starts": (probation(rollout=STARTING), None),
    "scores nothing": (probation(comparison=SILENT), "ScoresNothing"),
    "scores nothing yet": (probation(comparison=SILENT, served_seconds=179.0), None),
    "storm": (probation(comparison=STORM), "AnomalyStorm"),
    "storm that both see": (probation(comparison=comparison(anomalous=900)), None),
    "not compared": (probation(comparison=None), None),
    "nothing to go back to": (
        probation(rollout=CRASHING, fallback_rollout=STARTING),
        None,
    ),
}


@pytest.mark.parametrize("case", MISBEHAVES)
def test_a_version_goes_back_when_it_misbehaves(case: str) -> None:
    given, reason = MISBEHAVES[case]
    found = find_misbehaviour(given)
    assert (found and found.reason) == reason


def test_every_kind_of_misbehaviour_has_its_case() -> None:
    assert len({reason for _, reason in MISBEHAVES.values() if reason}) == len(MISBEHAVIOUR)
