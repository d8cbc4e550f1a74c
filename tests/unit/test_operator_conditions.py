"""Conditions keep the rules of the Kubernetes API conventions."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.operator_builders import NOW, make_health, make_row, make_watch

from metricwatch.resources import ConditionType
from metricwatch.store.rows import HealthState
from metricwatch_operator.planning.conditions import (
    LONGEST_MESSAGE,
    Finding,
    edges,
    next_conditions,
    parse_time,
)
from metricwatch_operator.planning.health import damage_of, data_finding, sum_up

READY = Finding(ConditionType.READY, True, "Serving", "version 1 serves")
LATER = NOW + timedelta(minutes=5)


def test_a_first_condition_changes_now() -> None:
    (condition,) = next_conditions((), [READY], generation=3, now=NOW)
    assert condition == {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "version 1 serves",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
        "observedGeneration": 3,
    }


def test_the_transition_time_stays_while_the_status_stays() -> None:
    before = next_conditions((), [READY], generation=1, now=NOW)
    other = Finding(ConditionType.READY, True, "Scoring", "another reason")
    (after,) = next_conditions(before, [other], generation=2, now=LATER)
    assert after["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    assert (after["reason"], after["observedGeneration"]) == ("Scoring", 2)


@pytest.mark.parametrize(("status", "word"), [(False, "False"), (None, "Unknown")])
def test_the_transition_time_moves_with_the_status(status: bool | None, word: str) -> None:
    before = next_conditions((), [READY], generation=1, now=NOW)
    other = Finding(ConditionType.READY, status, "Pending")
    (after,) = next_conditions(before, [other], generation=1, now=LATER)
    assert (after["status"], after["lastTransitionTime"]) == (word, "2026-03-01T12:05:00Z")


@pytest.mark.parametrize("type_", [ConditionType.STALLED, ConditionType.RECONCILING])
def test_abnormal_conditions_are_there_only_while_true(type_: ConditionType) -> None:
    before = next_conditions((), [Finding(type_, True, "Progressing")], generation=1, now=NOW)
    assert len(before) == 1
    assert next_conditions(before, [Finding(type_, False, "")], generation=1, now=NOW) == []


def test_a_long_message_is_cut() -> None:
    long = Finding(ConditionType.READY, False, "Pending", "x" * 5000)
    (condition,) = next_conditions((), [long], generation=1, now=NOW)
    assert len(condition["message"]) == LONGEST_MESSAGE
    assert condition["message"].endswith("…")


def test_edges_are_changes_of_status_or_reason_but_not_of_words() -> None:
    before = next_conditions((), [READY], generation=1, now=NOW)
    same = Finding(ConditionType.READY, True, "Serving", "other words")
    other = Finding(ConditionType.READY, True, "Scoring", "version 1 serves")
    assert edges(before, next_conditions(before, [same], generation=2, now=LATER)) == []
    assert len(edges(before, next_conditions(before, [other], generation=2, now=LATER))) == 1


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        parse_time("2026-03-01T12:00:00")


def test_what_a_detector_remarks_while_it_scores_is_told() -> None:
    remark = "scores wait to be stored: PostgreSQL cannot do this now: the disk is full"
    found = data_finding(sum_up([make_health(), make_health(message=remark), make_health()]))
    assert (found.status, found.reason) == (True, "DataReceived")
    assert found.message == f"the source gives samples; {remark}"
    assert data_finding(sum_up([make_health()])).message == "the source gives samples"


def test_a_damaged_part_of_a_version_is_told_and_takes_no_data_away() -> None:
    row = make_health(state=HealthState.ARTIFACT_DAMAGED, message="chunk 0 of shard 0 is damaged")
    health = sum_up([make_health(), row])
    found = data_finding(health)
    assert (found.status, found.reason) == (True, "DataReceived")
    assert "chunk 0 of shard 0 is damaged" in found.message
    assert damage_of([make_row(make_watch(), row)], row.version) == (
        "watch latency: chunk 0 of shard 0 is damaged"
    )
    assert damage_of([make_row(make_watch(), make_health())], row.version) == ""
