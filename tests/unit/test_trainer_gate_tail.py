"""How much of a history is held back, and which series that can be said of."""

import numpy as np
import pytest

from metricwatch.series import Grid, Labels, Panel
from metricwatch_trainer.gate.holding import divide
from metricwatch_trainer.gate.tail import (
    LEAST_TICKS,
    MOST_TICKS,
    Tail,
    TooShort,
    beginning,
    hold_back,
)
from metricwatch_trainer.preparation import Group, Systems, head_of

DAY = 86_400


def grid(days: float, step: int = 300) -> Grid:
    return Grid(0, step, round(days * DAY / step))


@pytest.mark.parametrize(
    ("history", "ticks"),
    [
        pytest.param(grid(14), round(0.15 * 4032), id="15 % of a fortnight"),
        pytest.param(grid(5), 288, id="a day of five"),
        pytest.param(grid(4), round(0.15 * 1152), id="less than a day of four"),
        pytest.param(grid(14, step=10), MOST_TICKS, id="no more than shows something"),
        pytest.param(grid(1, step=135), LEAST_TICKS, id="as little as shows something"),
    ],
)
def test_about_a_seventh_is_held_back(history: Grid, ticks: int) -> None:
    tail = hold_back(history, began=0, seen_until=None)
    assert tail == Tail(head=history.count - ticks, count=ticks)


def test_of_a_short_history_nothing_is_held_back() -> None:
    with pytest.raises(TooShort, match="of 288 samples 43 would be held back"):
        hold_back(grid(1), began=0, seen_until=None)


def test_what_counts_is_how_long_there_were_samples() -> None:
    with pytest.raises(TooShort):
        hold_back(grid(14), began=4032 - 600, seen_until=None)
    assert hold_back(grid(14), began=4032 - 800, seen_until=None).count == 120


@pytest.mark.parametrize(
    ("unseen", "expected"),
    [
        pytest.param(1000, Tail(head=4032 - 605, count=605), id="nothing of the tail was seen"),
        pytest.param(605, Tail(head=4032 - 605, count=605), id="just nothing"),
        pytest.param(300, Tail(head=4032 - 300, count=300), id="half of it: the other half"),
        pytest.param(
            150, Tail(head=4032 - 605, count=605, was_seen=True), id="nearly all: all the same"
        ),
        pytest.param(-10, Tail(head=4032 - 605, count=605, was_seen=True), id="all and more"),
    ],
)
def test_the_tail_is_what_the_serving_version_did_not_learn_from(
    unseen: int, expected: Tail
) -> None:
    history = grid(14)
    seen_until = history.end - unseen * history.step
    assert hold_back(history, began=0, seen_until=seen_until) == expected


def test_a_history_begins_when_half_of_its_series_have() -> None:
    values = np.ones((4, 10))
    values[1, :2] = values[2, :4] = values[3, :] = np.nan
    assert beginning(values) == 2
    assert beginning(np.full((2, 10), np.nan)) == 10


# --- which series


def pod(name: str) -> Labels:
    return (("pod", name),)


def group(*names: str, ticks: int = 100, systems: Systems | None = None) -> Group:
    panel = Panel(Grid(0, 60, ticks), tuple(map(pod, names)), np.zeros((len(names), ticks)))
    return Group(panel, head_of(ticks), systems=systems)


def names_of(groups: tuple[Group, ...]) -> list[tuple[str, int]]:
    return [(labels[0][1], one.panel.grid.count) for one in groups for labels in one.panel.labels]


def test_a_series_that_is_too_young_is_learned_from_all_it_has() -> None:
    held = divide([group("a", "b", "new")], [group("a", "b", ticks=80)], together=False)
    assert names_of(held.measured) == [("a", 80), ("b", 80)]
    assert names_of(held.others) == [("new", 100)]
    assert names_of(held.groups) == [("a", 80), ("b", 80), ("new", 100)]


def test_a_series_that_is_gone_is_learned_from_neither() -> None:
    held = divide([group("a")], [group("a", "gone", ticks=80)], together=False)
    assert names_of(held.groups) == [("a", 80)]


def test_a_system_with_a_channel_that_is_too_young_goes_as_a_whole() -> None:
    shop, bank = pod("shop"), pod("bank")
    both = Systems(np.array([0, 0, 1]), (shop, bank))
    less = Systems(np.array([0, 1]), (shop, bank))
    held = divide(
        [group("a", "new", "c", systems=both)], [group("a", "c", ticks=80, systems=less)],
        together=False,
    )  # fmt: skip
    assert names_of(held.measured) == [("c", 80)]
    assert names_of(held.others) == [("a", 100), ("new", 100)]
    assert held.measured[0].systems is not None
    assert held.measured[0].systems.labels == (bank,)


def test_series_that_learn_from_each_others_labels_go_together() -> None:
    held = divide([group("a", "new")], [group("a", ticks=80)], together=True)
    assert held.measured == ()
    assert names_of(held.others) == [("a", 100), ("new", 100)]
    held = divide([group("a")], [group("a", ticks=80)], together=True)
    assert names_of(held.measured) == [("a", 80)]
