"""What was told by itself: where it began, how far it went, and whether it is over."""

import numpy as np
import pytest

from metricwatch.scoring.told import Lately, Told

MEMORY = 5
NAN = np.nan


def follow(
    told: Told, loud: str, residual: list[float] | None, expected: list[float] | None
) -> Lately:
    """One series; `loud` has an x for each loud tick."""
    heard = np.array([[one == "x" for one in loud]])
    rows = [None if one is None else np.array([one]) for one in (residual, expected)]
    return told.follow(heard, rows[0], rows[1])


def over(loud: str, residual: list[float], expected: list[float]) -> str:
    """An o for each tick at which it is over."""
    lately = follow(Told(1, memory=MEMORY), loud, residual, expected)
    return "".join("o" if one else "." for one in lately.over[0])


def test_nothing_is_followed_before_anything_is_loud() -> None:
    lately = follow(Told(1, memory=MEMORY), "....", [0.0] * 4, [100.0] * 4)
    assert lately.series.tolist() == []
    assert lately.over.shape == lately.lasts.shape == lately.since.shape == (0, 4)


@pytest.mark.parametrize(
    ("loud", "residual", "expected", "where"),
    [
        ("x..", [60, 0, 1], [100] * 3, ".oo"),
        ("x..", [-60, 0, 1], [100] * 3, ".oo"),
        ("xx.", [60, 60, 29], [100] * 3, "..o"),  # more than half of the way back
        ("xx.", [60, 60, 31], [100] * 3, "..."),
        ("xx.", [60, 80, 31], [100] * 3, "..o"),  # it went further
        (".x.", [9, 60, 0], [100] * 3, "..o"),
        ("x..", [60, 0, 0], [100, 160, 160], "..."),  # the bank has got used to it
        ("x.x.", [60, 0, -60, 0], [100, 160, 160, 100], "...o"),  # and then it ends
        ("x..", [60, 0, 0], [100, 120, 140], ".o."),
        ("x..", [60, NAN, 0], [100, 100, 100], "..o"),
        ("x..", [60, 0, 0], [100, NAN, 100], "..o"),
    ],
)
def test_it_is_over_where_samples_have_come_back(
    loud: str, residual: list[float], expected: list[float], where: str
) -> None:
    assert over(loud, residual, expected) == where


def test_a_sample_nearly_as_far_off_is_part_of_what_is_told_although_it_is_not_loud() -> None:
    lately = follow(Told(1, memory=MEMORY), ".x...", [40.0, 60.0, 31.0, 29.0, 40.0], [100.0] * 5)
    assert lately.part.tolist() == [[False, True, True, False, True]]
    assert lately.since.tolist() == [[MEMORY, 0, 0, 1, 0]]
    # Once it is forgotten, only a loud one begins anew.
    told = Told(1, memory=MEMORY)
    follow(told, "x" + "." * MEMORY, [60.0] + [0.0] * MEMORY, [100.0] * (MEMORY + 1))
    assert follow(told, ".", [59.0], [100.0]).part.tolist() == []


def test_without_an_expectation_what_is_not_loud_is_over() -> None:
    for residual, expected in ((None, None), ([60.0, 0.0, 60.0], None), (None, [1.0, 1.0, 1.0])):
        lately = follow(Told(1, memory=MEMORY), "x.x", residual, expected)
        assert lately.over.tolist() == [[False, True, False]]
        assert lately.lasts.tolist() == [[True, False, True]]


def test_ticks_are_counted_from_the_latest_loud_sample_and_then_it_is_forgotten() -> None:
    told = Told(1, memory=MEMORY)
    lately = follow(told, "x.x.", [60.0, 0.0, 60.0, 0.0], [100.0] * 4)
    assert lately.since.tolist() == [[0, 1, 0, 1]]
    lately = follow(told, "....", [0.0] * 4, [100.0] * 4)
    assert lately.since.tolist() == [[2, 3, 4, 5]]
    assert follow(told, ".", [0.0], [100.0]).series.tolist() == []


def test_another_loud_time_begins_where_series_are_by_then() -> None:
    told = Told(1, memory=MEMORY)
    follow(told, "x" + "." * MEMORY, [60.0] + [0.0] * MEMORY, [100.0] + [160.0] * MEMORY)
    lately = follow(told, "x.", [60.0, 0.0], [160.0, 160.0])
    assert lately.over.tolist() == [[False, True]]


def test_ticks_give_what_a_span_gives_and_series_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(3)
    loud = rng.random((6, 60)) < 0.1
    residual = np.where(loud, 50.0, 1.0) * rng.standard_normal((6, 60))
    expected = 100 + 20 * rng.standard_normal((6, 60))
    whole = Told(6, memory=MEMORY).follow(loud, residual, expected)
    single = Told(6, memory=MEMORY)
    for tick in range(60):
        now = slice(tick, tick + 1)
        one = single.follow(loud[:, now], residual[:, now], expected[:, now])
        known = np.isin(whole.series, one.series)
        np.testing.assert_array_equal(one.over[:, 0], whole.over[known, tick])
        np.testing.assert_array_equal(one.lasts[:, 0], whole.lasts[known, tick])
        np.testing.assert_array_equal(one.since[:, 0], whole.since[known, tick])
        # A span names series that get loud within it, and says that nothing is held of them yet.
        assert (whole.since[~known, tick] == MEMORY).all()
        assert not (whole.over | whole.lasts)[~known, tick].any()


def test_series_that_join_have_nothing_told() -> None:
    told = Told(1, memory=MEMORY)
    follow(told, "x", [60.0], [100.0])
    told.grow(2)
    quiet = np.zeros((3, 1), np.bool_)
    lately = told.follow(quiet, np.zeros((3, 1)), np.full((3, 1), 100.0))
    assert lately.series.tolist() == [0]
    assert lately.over.tolist() == [[True]]
