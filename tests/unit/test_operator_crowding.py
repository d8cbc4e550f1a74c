"""A model takes so many watches and no more; who comes late is told what to do."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    carry_out,
    make_model,
    make_overview,
    make_row,
    make_watch,
)

from metricwatch.resources import MOST_WATCHES
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.actions import Assign
from metricwatch_operator.planning.crowding import turned_away
from metricwatch_operator.planning.desired import read_desired
from metricwatch_operator.planning.plan import plan


def _watches(count: int) -> list[dict[str, Any]]:
    """Watches of one model, each a second younger than the one before."""
    found = [make_watch(f"watch-{number:04}") for number in range(count)]
    for number, watch in enumerate(found):
        created = f"2026-02-01T00:{number // 60:02}:{number % 60:02}Z"
        watch["metadata"]["creationTimestamp"] = created
    return found


def _observed(watches: list[dict[str, Any]]) -> Observed:
    return Observed("shop", "checkout", model=make_model(), watches=tuple(watches))


def _conditions(observed: Observed) -> dict[str, dict[str, Any]]:
    """Conditions of each watch that something new is told of, by its name."""
    return {
        one["metadata"]["name"]: {each["type"]: each for each in one["status"]["conditions"]}
        for one in plan(observed, now=NOW, config=CONFIG).statuses
        if one["kind"] == "MetricWatch"
    }


def test_as_many_as_the_limit_are_all_watched() -> None:
    desired = read_desired(_observed(_watches(MOST_WATCHES)), CONFIG)
    assert [watch.problem for watch in desired.watches] == [None] * MOST_WATCHES
    assert desired.request is not None
    assert len(desired.request.watches) == MOST_WATCHES


def test_one_more_is_turned_away_and_told_what_to_do() -> None:
    observed = _observed(_watches(MOST_WATCHES + 1))
    desired = read_desired(observed, CONFIG)
    assert [watch.uid for watch in desired.watches if watch.problem] == ["uid-watch-0200"]
    assert desired.request is not None
    assert len(desired.request.watches) == MOST_WATCHES
    told = _conditions(observed)
    for type_, status in (("Ready", "False"), ("Stalled", "True")):
        found = told["watch-0200"][type_]
        assert (found["status"], found["reason"]) == (status, "TooManyWatches")
        assert (
            "model checkout takes 200 watches and has as many without this one" in found["message"]
        )
        assert "spec.modelRef" in found["message"]
    assert told["watch-0199"]["Ready"]["reason"] == "ModelNotReady"


def test_a_watch_that_is_turned_away_gets_no_row_and_stops_no_other() -> None:
    (assign,) = plan(_observed(_watches(MOST_WATCHES + 5)), now=NOW, config=CONFIG).writes
    assert isinstance(assign, Assign)
    assert len(assign.watches) == len(assign.keep) == MOST_WATCHES


def test_the_second_look_writes_nothing_about_a_crowd() -> None:
    observed = _observed(_watches(MOST_WATCHES + 2))
    after = carry_out(observed, plan(observed, now=NOW, config=CONFIG))
    steps = plan(after, now=NOW, config=CONFIG)
    assert not [one for one in steps.writes if isinstance(one, Assign)]
    assert not _conditions(after)
    # Nor does one that comes after them: a crowd would be told again with each.
    more = replace(after, watches=(*after.watches, _watches(MOST_WATCHES + 3)[-1]))
    assert set(_conditions(more)) == {"watch-0202"}


def test_the_next_in_line_is_taken_when_one_goes() -> None:
    crowd = _observed(_watches(MOST_WATCHES + 2))
    after = carry_out(crowd, plan(crowd, now=NOW, config=CONFIG))
    fewer = replace(after, watches=after.watches[1:])
    (away,) = (watch for watch in read_desired(fewer, CONFIG).watches if watch.is_turned_away)
    assert away.uid == "uid-watch-0201"


def test_an_older_watch_that_moves_here_pushes_none_out() -> None:
    watches = _watches(MOST_WATCHES + 1)
    rows = tuple(make_row(watch) for watch in watches[1:])
    model = make_model()
    observed = replace(
        _observed(watches), model=model, overview=make_overview(model, watches=rows)
    )
    (away,) = (watch for watch in read_desired(observed, CONFIG).watches if watch.is_turned_away)
    assert away.uid == "uid-watch-0000"


@pytest.mark.parametrize("seed", range(3))
def test_who_is_turned_away_does_not_hang_on_the_order_of_the_list(seed: int) -> None:
    watches = _watches(MOST_WATCHES + 3)
    expected = turned_away(watches, known=())
    random.Random(seed).shuffle(watches)
    assert turned_away(watches, known=()) == expected
    assert len(expected) == 3
