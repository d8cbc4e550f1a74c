"""Which version is next in line, which may come back, and what is to be compared."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator_builders import (
    NOW,
    NOW_SECONDS,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_version,
    make_watch,
)

from metricwatch.resources import parse_model
from metricwatch.store.rows import Version
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.comparing import WantedComparison, wanted_comparison
from metricwatch_operator.planning.standing import Standing, elect, read_standing

WANTED = make_request(make_model(), make_watch())
OTHER = make_request(make_model(training={"window": "7d"}), make_watch())


def version(number: int, state: str, **changes: Any) -> Version:
    """One that was trained for what is wanted, unless said otherwise."""
    trained = {} if state == "Training" else {"trained_at": NOW_SECONDS - 3600}
    return make_version(WANTED, number, state, **(trained | changes))


def other(number: int, state: str) -> Version:
    """One that was trained for something else."""
    return make_version(OTHER, number, state, trained_at=NOW_SECONDS - 3600)


# Versions, oldest first, and the number of the one that is next in line.
NEXT: dict[str, tuple[tuple[Version, ...], int | None]] = {
    "nothing": ((), None),
    "the serving one is the newest": ((version(1, "Serving"),), None),
    "a candidate": ((version(1, "Serving"), version(2, "Candidate")), 2),
    "the newest of two": (
        (version(1, "Serving"), version(2, "Candidate"), version(3, "Candidate")),
        3,
    ),
    "one in training is none": ((version(1, "Serving"), version(2, "Training")), None),
    "one that is rejected is none": ((version(1, "Serving"), version(2, "Rejected")), None),
    "one that failed is none": ((version(1, "Serving"), version(2, "Failed")), None),
    "a retired one that is newer": ((version(1, "Serving"), version(2, "Retired")), 2),
    "a retired one that is older": ((version(1, "Retired"), version(2, "Serving")), None),
    "one behind a rejected one": (
        (version(1, "Serving"), version(2, "Retired"), version(3, "Rejected")),
        2,
    ),
    "one that was imported is none": (
        (version(1, "Serving"), version(2, "Retired", reason="Imported")),
        None,
    ),
    "one for another spec is none": ((version(1, "Serving"), other(2, "Candidate")), None),
    "one for another spec, when nothing serves": ((other(1, "Candidate"),), 1),
    "one for this spec before it": ((version(1, "Candidate"), other(2, "Candidate")), 1),
    "a retired one for another spec is none": ((other(1, "Retired"),), None),
}


@pytest.mark.parametrize("case", NEXT)
def test_the_newest_good_version_is_next_in_line(case: str) -> None:
    versions, number = NEXT[case]
    serving = next((one for one in versions if one.state == "Serving"), None)
    found = elect(tuple(reversed(versions)), serving, WANTED)
    assert (found and found.version) == number


def test_without_a_known_request_a_candidate_stays_in_line() -> None:
    versions = (other(2, "Candidate"), version(1, "Serving"))
    found = elect(versions, versions[1], None)
    assert found is versions[0]


def standing(*versions: Version, now: int = NOW_SECONDS, **spec: Any) -> Standing:
    model = make_model(**spec)
    overview = make_overview(model, versions, (make_row(make_watch()),))
    return read_standing(overview, parse_model(model).spec, WANTED, now=now)


def number_of(found: Version | None) -> int | None:
    return found.version if found else None


SERVING = version(2, "Serving", served_at=NOW_SECONDS - 300, replaced=1)


def test_the_version_before_may_come_back_until_the_window_is_over() -> None:
    versions = (version(1, "Retired"), SERVING)
    found = standing(*versions)
    assert number_of(found.fallback) == 1
    assert found.fallback_until == NOW_SECONDS + 300
    assert standing(*versions, now=NOW_SECONDS + 300).fallback is None
    assert standing(*versions, rollout={"rollbackWindow": "0s"}).fallback is None
    assert standing(*versions, version=2).fallback is None
    assert standing(SERVING).fallback is None
    assert standing(version(1, "Failed"), SERVING).fallback is None


def test_a_named_version_is_the_contender_whatever_the_gate_said() -> None:
    versions = (version(1, "Rejected"), version(2, "Serving"), version(3, "Candidate"))
    found = standing(*versions, version=1)
    assert (number_of(found.contender), number_of(found.elected)) == (1, 3)
    assert found.is_pinned
    assert found.problem is None


def test_a_named_version_that_serves_has_no_contender() -> None:
    found = standing(version(2, "Serving"), version(3, "Candidate"), version=2)
    assert found.contender is None
    assert found.problem is None


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ((version(2, "Serving"),), "version 9 does not exist; there are 2"),
        ((version(9, "Failed"), version(2, "Serving")), "version 9 is Failed and cannot serve"),
        ((), "version 9 does not exist; there is none that could serve yet"),
    ],
)
def test_a_named_version_that_cannot_serve_is_a_problem(
    versions: tuple[Version, ...], words: str
) -> None:
    found = standing(*versions, version=9)
    assert found.contender is None
    assert found.problem is not None
    assert found.problem.reason == "VersionNotFound"
    assert words in found.problem.message


def test_a_named_version_in_training_is_waited_for() -> None:
    found = standing(version(2, "Serving"), version(9, "Training"), version=9)
    assert (found.contender, found.problem) == (None, None)


CANDIDATE = version(3, "Candidate", ready_at=NOW_SECONDS - 60)
SHADOW: dict[str, Any] = {"rollout": {"strategy": "Shadow", "shadow": {"duration": "30m"}}}


def wanted(*versions: Version, later: int = 0, **spec: Any) -> WantedComparison | None:
    model = make_model(**spec)
    overview = make_overview(model, versions, (make_row(make_watch()),))
    observed = Observed("shop", "checkout", model=model, overview=overview)
    return wanted_comparison(observed, now=NOW + timedelta(seconds=later))


def test_a_version_that_took_over_is_compared_with_the_one_before() -> None:
    found = wanted(version(1, "Retired"), SERVING, CANDIDATE, **SHADOW)
    assert found == WantedComparison(2, 1, NOW_SECONDS - 300)


def test_a_candidate_in_shadow_is_compared_with_the_serving_version() -> None:
    calm = replace(SERVING, replaced=None)
    assert wanted(calm, CANDIDATE, **SHADOW) == WantedComparison(3, 2, NOW_SECONDS - 60)


def test_a_candidate_that_is_held_back_for_long_is_compared_by_what_it_does_lately() -> None:
    calm = replace(SERVING, replaced=None)
    month, week = 30 * 86_400, 7 * 86_400
    found = wanted(calm, CANDIDATE, later=month + 599, **SHADOW)
    assert found == WantedComparison(3, 2, NOW_SECONDS + month - week)


def test_a_single_series_of_slow_samples_is_compared_by_all_that_it_scored() -> None:
    # Thirty samples every five minutes take longer than twice the duration.
    calm = replace(SERVING, replaced=None)
    found = wanted(calm, CANDIDATE, later=3 * 3600, **SHADOW)
    assert found == WantedComparison(3, 2, NOW_SECONDS - 60)


@pytest.mark.parametrize(
    ("versions", "spec"),
    [
        ((), SHADOW),
        ((CANDIDATE,), SHADOW),
        ((replace(SERVING, replaced=None), CANDIDATE), {}),
        ((replace(SERVING, replaced=None), replace(CANDIDATE, ready_at=None)), SHADOW),
        ((version(1, "Retired"), SERVING), {"version": 2}),
        ((version(1, "Retired"), SERVING), {"suspend": True}),
        ((version(1, "Retired"), SERVING), {"rollout": {"rollbackWindow": "0s"}}),
        ((version(1, "Retired"), SERVING), {"training": {"window": "soon"}}),
    ],
)
def test_nothing_is_compared_when_no_decision_hangs_on_it(
    versions: tuple[Version, ...], spec: dict[str, Any]
) -> None:
    assert wanted(*versions, **spec) is None
