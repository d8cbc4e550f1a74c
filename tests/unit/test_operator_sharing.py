"""Objects that share their equal parts are the same objects in less memory."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

from tests.unit.operator_builders import make_serving_world

from metricwatch_operator import sharing
from metricwatch_operator.sharing import Sharing


def deployment(number: int) -> dict[str, Any]:
    """One detector of many, as it comes from the API server."""
    (live,) = make_serving_world().deployments
    made = json.loads(json.dumps(live))
    made["metadata"] |= {"name": f"detector-{number}", "uid": f"uid-{number}"}
    return dict(made)


def bytes_of(value: Any, seen: set[int]) -> int:
    """Memory of a value and its parts, each counted once."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    names = value if isinstance(value, dict) else ()
    inner = sum(bytes_of(part, seen) for part in (*names, *parts))
    return sys.getsizeof(value) + inner


def test_what_is_shared_is_equal_to_what_came() -> None:
    shared = Sharing()
    for number in range(5):
        came = deployment(number)
        assert shared.share(copy.deepcopy(came)) == came


def test_many_alike_take_a_fraction_of_the_memory() -> None:
    shared, seen, alone = Sharing(), set[int](), 0
    objects = [deployment(number) for number in range(50)]
    for one in objects:
        alone += bytes_of(one, set())
    together = sum(bytes_of(shared.share(one), seen) for one in objects)
    assert together < alone / 4


def test_numbers_that_are_equal_and_not_the_same_stay_apart() -> None:
    shared = Sharing()
    values: list[Any] = [{"a": True}, {"a": 1}, {"a": 1.0}, {"a": "1"}, {"a": None}, {"a": False}]
    for _ in range(3):
        for value in values:
            found = shared.share(dict(value))["a"]
            assert (found, type(found)) == (value["a"], type(value["a"]))


def test_lists_keep_their_order_and_stay_lists() -> None:
    shared = Sharing()
    for _ in range(3):
        assert shared.share([{"b": 1}, {"a": [2, 1]}]) == [{"b": 1}, {"a": [2, 1]}]
        assert shared.share([{"a": [2, 1]}, {"b": 1}]) == [{"a": [2, 1]}, {"b": 1}]
        assert shared.share({}) == {}
        assert shared.share([]) == []


def test_what_is_remembered_is_bounded_and_forgetting_changes_nothing() -> None:
    shared = Sharing()
    first = shared.share({"common": {"a": ["x"]}, "n": -1})
    for number in range(2 * sharing._MOST_SEEN_ONCE):
        value = {"common": {"a": ["x"]}, "n": number, "own": [str(number)]}
        assert shared.share(value) == value
    assert len(shared._once) <= sharing._MOST_SEEN_ONCE
    assert len(shared._shared) <= sharing._MOST_SHARED
    assert first == {"common": {"a": ["x"]}, "n": -1}
