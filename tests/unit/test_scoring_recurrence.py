"""What comes back every day is expected then, and at no other hour."""

import numpy as np
import pytest
from numpy.typing import NDArray

from metricwatch.scoring.recurrence import Recurrence, bins_of_day

STEP = 300
TICKS = 288
NIGHT = 36
"""Tick of the day at three o'clock."""


def day(spike: float, *, at: int = NIGHT) -> NDArray[np.float32]:
    """Evidence [1, 1, T] of a day, in 99 % quantiles, with one spike."""
    ratio = np.full((1, 1, TICKS), 0.4, dtype=np.float32)
    ratio[..., at] = spike
    return ratio


def follow(memory: Recurrence, *days: NDArray[np.float32]) -> None:
    for ratio in days:
        memory.learn(memory.bins_at(STEP * np.arange(TICKS)), ratio)
    memory.learn(memory.bins_at(np.zeros(1, np.int64)), days[0][..., :1])  # the next day begins
    memory.settle()


def factor_at(memory: Recurrence, tick: int) -> float:
    factor = memory.factor(memory.bins_at(np.array([STEP * tick])))
    return 1.0 if factor is None else float(factor[0, 0, 0])


def test_nothing_recurs_at_first() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    assert memory.factor(np.arange(96)) is None
    assert (memory.series, memory.bins) == (1, 96)


def test_a_spike_of_two_nights_is_nearly_expected_in_the_third() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, day(10.0))
    once = factor_at(memory, NIGHT)
    follow(memory, day(10.0))
    assert once < 4.0 < factor_at(memory, NIGHT)


def test_what_recurs_for_long_is_never_excused_whole() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, *[day(10.0)] * 30)
    assert 6.0 < factor_at(memory, NIGHT) < 7.1


def test_another_hour_is_not_excused() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, *[day(10.0)] * 5)
    assert factor_at(memory, NIGHT + 12) == 1.0
    assert factor_at(memory, NIGHT - 12) == 1.0


def test_a_job_that_starts_a_quarter_of_an_hour_late_is_expected_too() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, *[day(10.0)] * 5)
    assert factor_at(memory, NIGHT + 3) == factor_at(memory, NIGHT) == factor_at(memory, NIGHT - 3)


def test_midnight_has_neighbours_on_both_sides() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, *[day(10.0, at=0)] * 5)
    assert factor_at(memory, TICKS - 1) > 5.0


def test_one_incident_is_forgotten_after_some_days() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, day(10.0))
    assert factor_at(memory, NIGHT) > 3.0
    follow(memory, *[day(0.4)] * 6)
    assert factor_at(memory, NIGHT) == 1.0


def test_what_is_learned_counts_when_it_is_settled() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    memory.learn(memory.bins_at(STEP * np.arange(TICKS)), day(10.0))
    assert memory.factor(np.array([12])) is None
    memory.settle()
    assert factor_at(memory, NIGHT) > 3.0


def test_a_part_of_the_day_learned_in_pieces_is_learned_as_one() -> None:
    whole, pieces = (Recurrence.blank(1, 1, step=STEP) for _ in range(2))
    follow(whole, day(10.0))
    for tick in range(TICKS):
        pieces.learn(pieces.bins_at(np.array([STEP * tick])), day(10.0)[..., tick : tick + 1])
        if tick % 20 == 0:
            pieces.settle()
    pieces.learn(np.zeros(1, np.int64), day(10.0)[..., :1])
    pieces.settle()
    np.testing.assert_array_equal(pieces.tensors()["remembered"], whole.tensors()["remembered"])


def test_missing_samples_leave_no_trace() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    ratio = day(10.0)
    ratio[..., 40:80] = np.nan
    follow(memory, ratio)
    assert np.isfinite(memory.tensors()["remembered"]).all()
    assert factor_at(memory, NIGHT) > 3.0


def test_evidence_without_end_is_remembered_as_a_number() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, *[day(1e30)] * 20)
    assert np.isfinite(memory.tensors()["remembered"]).all()


def test_an_open_part_of_the_day_is_forgotten_when_all_begins_anew() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    memory.learn(memory.bins_at(STEP * np.arange(2)), np.full((1, 1, 2), 9.0, np.float32))
    memory.begin_anew()
    memory.learn(np.array([50]), np.full((1, 1, 1), 0.1, np.float32))
    memory.learn(np.array([51]), np.full((1, 1, 1), 0.1, np.float32))
    memory.settle()
    assert memory.tensors()["remembered"][0, 0, 0] == 0


def test_series_that_join_remember_nothing() -> None:
    memory = Recurrence.blank(2, 1, step=STEP)
    ratio = np.repeat(day(10.0), 2, axis=0)
    memory.learn(memory.bins_at(STEP * np.arange(TICKS)), ratio)
    memory.grow(2)
    memory.settle()
    assert memory.series == 3
    factor = memory.factor(np.array([12]))
    assert factor is not None
    assert factor[:, 0, 0].tolist() == factor[::-1, 0, 0].tolist()
    assert factor[0, 0, 0] > 3.0
    assert (factor[:, 1:] == 1.0).all()


@pytest.mark.parametrize(
    ("step", "bins"), [(1, 96), (60, 96), (900, 96), (3600, 24), (86_400, 1), (604_800, 1)]
)
def test_a_day_has_a_part_for_each_quarter_of_an_hour_or_sample(step: int, bins: int) -> None:
    assert bins_of_day(step) == bins


def test_nothing_recurs_in_series_of_a_sample_a_day() -> None:
    memory = Recurrence.blank(1, 1, step=86_400)
    for _ in range(3):
        memory.learn(np.zeros(1, np.int64), np.full((1, 1, 1), 9.0, np.float32))
    memory.settle()
    assert memory.factor(np.zeros(1, np.int64)) is None


def test_a_memory_comes_back_the_same() -> None:
    memory = Recurrence.blank(1, 1, step=STEP)
    follow(memory, day(10.0))
    again = Recurrence.restore(1, memory.tensors(), step=STEP)
    assert factor_at(again, NIGHT) == factor_at(memory, NIGHT)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.zeros((1, 1, 95), np.float16), "expected float16"),
        (np.zeros((1, 2, 96), np.float16), "expected float16"),
        (np.full((1, 1, 96), -1, np.float16), "cannot be negative"),
        (np.full((1, 1, 96), np.nan, np.float16), "no numbers"),
    ],
)
def test_a_damaged_memory_is_refused(stored: NDArray[np.float16], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recurrence.restore(1, {"remembered": stored}, step=STEP)


def test_no_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="remembered is missing"):
        Recurrence.restore(1, {}, step=STEP)
