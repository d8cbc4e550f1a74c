"""What holds of every history that is held back from, and of every choice of series."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from metricwatch.series import Grid, Labels, Panel
from metricwatch_trainer.gate.holding import divide
from metricwatch_trainer.gate.tail import LEAST_TICKS, MOST_TICKS, TooShort, hold_back
from metricwatch_trainer.preparation import Group, head_of

NAMES = st.sets(st.integers(0, 12), max_size=8)


@given(
    count=st.integers(1, 150_000),
    step=st.integers(1, 3600),
    began=st.floats(0, 1),
    unseen=st.none() | st.integers(-100, 200_000),
)
def test_a_tail_is_long_enough_and_leaves_most_to_learn_from(
    count: int, step: int, began: float, unseen: int | None
) -> None:
    grid = Grid(0, step, count)
    first = int(began * (count - 1))
    seen_until = None if unseen is None else grid.end - unseen * step
    try:
        tail = hold_back(grid, began=first, seen_until=seen_until)
    except TooShort:
        return
    assert LEAST_TICKS <= tail.count <= MOST_TICKS
    assert tail.head + tail.count == count
    # A day of five is the most that is ever held back.
    assert tail.count <= 0.2 * (count - first) + 1
    if seen_until is not None and not tail.was_seen:
        assert grid.part(tail.head, 1).start > seen_until


@given(whole=NAMES, head=NAMES, size=st.integers(1, 4), together=st.booleans())
def test_every_series_is_learned_exactly_once(
    whole: set[int], head: set[int], size: int, together: bool
) -> None:
    assume(whole)
    held = divide(groups(whole, size, 100), groups(head, size, 80), together=together)
    found = [labels for one in held.groups for labels in one.panel.labels]
    assert sorted(found) == sorted(map(labels_of, whole))
    assert all(one.panel.grid.count == 80 for one in held.measured)
    assert all(one.panel.grid.count == 100 for one in held.others)
    if not together:
        assert {labels for one in held.measured for labels in one.panel.labels} == {
            labels_of(one) for one in whole & head
        }


def labels_of(number: int) -> Labels:
    return (("pod", f"{number:02d}"),)


def groups(numbers: set[int], size: int, ticks: int) -> list[Group]:
    every = sorted(numbers)
    return [
        Group(
            Panel(
                Grid(0, 60, ticks),
                tuple(map(labels_of, every[first : first + size])),
                np.zeros((len(every[first : first + size]), ticks)),
            ),
            head_of(ticks),
        )
        for first in range(0, len(every), size)
    ]
