"""What is read of the report of a training run, however it came to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator_builders import CONFIG, NOW, make_serving_world

from metricwatch.reported import read_report
from metricwatch_operator.planning.plan import plan

GOOD = {"uid": "a", "found": 2, "start": 0, "end": 540, "intervalSeconds": 60, "trained": 2}
REPORT: dict[str, Any] = {
    "family": "seasonal",
    "families": {"seasonal": 2},
    "trained": 2,
    "leftOut": 1,
    "watches": [GOOD],
    "seconds": {"total": 3.5, "read": 1.0},
    "peakBytes": 4096,
    "shards": 2,
    "later": {"of a newer release": True},
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=3), inner),
    max_leaves=6,
)


def test_everything_that_readers_rely_on_is_read() -> None:
    found = read_report(REPORT)
    assert (found.family, found.families, found.trained) == ("seasonal", {"seasonal": 2}, 2)
    assert (found.left_out, found.shards, found.peak_bytes) == (1, 2, 4096)
    assert (found.total_seconds, found.watches[0].samples, found.problems) == (3.5, 20, ())


def test_no_report_is_an_empty_one() -> None:
    assert read_report(None) == read_report({})
    assert read_report({}).trained is None


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (None, "watches.1"),
        ("all", "watches.1"),
        ({**GOOD, "start": "yesterday"}, "watches.1.start"),
        ({**GOOD, "intervalSeconds": 0}, "watches.1.intervalSeconds"),
        ({**GOOD, "found": -1}, "watches.1.found"),
        ({**GOOD, "errorToPersistence": float("nan")}, "watches.1.errorToPersistence"),
        ({**GOOD, "uid": ["a"]}, "watches.1.uid"),
        ({**GOOD, "tuning": {"seconds": "long"}}, "watches.1.tuning.seconds"),
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_and_named(row: Any, named: str) -> None:
    found = read_report({**REPORT, "watches": [GOOD, row, {**GOOD, "uid": "b"}]})
    assert [watch.uid for watch in found.watches] == ["a", "b"]
    assert found.problems[0].startswith(f"{named}: ")
    assert found.trained == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("watches", "all"), ("families", {"seasonal": "two"}), ("seconds", [1]), ("shards", 0)],
)
def test_a_field_that_cannot_be_read_leaves_the_others(field: str, value: Any) -> None:
    found = read_report({**REPORT, field: value})
    assert found.problems[0].startswith(field)
    assert (found.trained, found.peak_bytes) == (2, 4096)


def test_of_many_mistakes_the_first_are_named_and_the_rest_counted() -> None:
    found = read_report({"watches": [{"found": "x"}] * 1000})
    assert found.watches == ()
    assert len(found.problems) == 4
    assert found.problems[-1] == "and 997 more"


def test_a_row_without_times_has_no_samples() -> None:
    (watch,) = read_report({"watches": [{"uid": "a", "found": 2}]}).watches
    assert watch.samples is None


@given(st.dictionaries(st.sampled_from(sorted({*REPORT, "gate"})), JUNK, max_size=9))
def test_nothing_that_json_can_hold_makes_reading_fail(report: dict[str, Any]) -> None:
    read_report(report)


@pytest.mark.parametrize(
    "row",
    [
        {"uid": "uid-latency", "found": 4},
        {},
        None,
        {"uid": "uid-latency", "start": "yesterday"},
        {"uid": "uid-latency", "intervalSeconds": 0, "start": 0, "end": 60},
    ],
)
def test_a_bad_row_stops_no_plan_and_is_told_with_its_version(row: Any) -> None:
    world = make_serving_world()
    assert world.overview is not None
    (version,) = world.overview.versions
    report = {**REPORT, "watches": [{**GOOD, "uid": "uid-latency"}, row]}
    overview = replace(world.overview, versions=(replace(version, report=report),))
    model = {**(world.model or {}), "status": {}}
    steps = plan(replace(world, overview=overview, model=model), now=NOW, config=CONFIG)
    status = next(one for one in steps.statuses if one["kind"] == "AnomalyModel")["status"]
    ready = next(one for one in status["conditions"] if one["type"] == "Ready")
    assert ready["status"] == "True"
    (shown,) = status["versions"]
    assert shown["quality"]["trained"] == 2.0
    is_bad = bool(read_report(report).problems)
    assert shown.get("message", "").startswith("its report cannot be read in full") == is_bad
    assert ("watches.1" in shown.get("message", "")) == is_bad
