"""The grid, the panel, identity, and what a training run makes of gaps."""

import numpy as np
import pytest

from metricwatch.series import (
    Grid,
    Labels,
    Panel,
    fill_gaps,
    labels_from,
    series_id,
    shard_of,
)

NAN = np.nan


def panel(series: int = 3, ticks: int = 5) -> Panel:
    labels: tuple[Labels, ...] = tuple((("pod", str(one)),) for one in range(series))
    values = np.arange(series * ticks, dtype=np.float64).reshape(series, ticks)
    return Panel(grid=Grid(start=60, step=60, count=ticks), labels=labels, values=values)


def test_a_covering_grid_has_only_multiples_of_the_step_and_both_ends() -> None:
    grid = Grid.covering(60, 300, 60)
    assert grid.timestamps().tolist() == [60, 120, 180, 240, 300]
    assert grid.end == 300
    assert Grid.covering(61, 299, 60).timestamps().tolist() == [120, 180, 240]


def test_a_grid_between_two_ticks_is_empty() -> None:
    grid = Grid.covering(61, 119, 60)
    assert grid.count == 0
    assert grid.timestamps().tolist() == []
    assert Grid.covering(300, 60, 60).count == 0


def test_a_tick_knows_its_position_and_what_is_no_tick_has_none() -> None:
    grid = Grid(start=60, step=60, count=3)
    assert [grid.index_of(t) for t in (60, 120, 180)] == [0, 1, 2]
    for t in (0, 61, 240):
        with pytest.raises(ValueError, match="not a tick"):
            grid.index_of(t)


def test_a_part_never_reaches_beyond_its_grid() -> None:
    grid = Grid(start=60, step=60, count=3)
    assert grid.part(1, 10) == Grid(start=120, step=60, count=2)
    assert grid.part(5, 1).count == 0


@pytest.mark.parametrize(("step", "count"), [(0, 1), (-60, 1), (60, -1)])
def test_a_grid_that_cannot_be_is_refused(step: int, count: int) -> None:
    with pytest.raises(ValueError, match="grid"):
        Grid(start=0, step=step, count=count)


def test_a_covering_grid_without_a_step_is_refused_before_it_divides() -> None:
    with pytest.raises(ValueError, match="step of at least 1"):
        Grid.covering(0, 60, 0)


def test_a_panel_whose_values_do_not_fit_its_labels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 3\)"):
        Panel(grid=Grid(0, 60, 3), labels=((("a", "b"),),), values=np.zeros((1, 2)))


def test_series_are_selected_by_position_by_mask_and_not_at_all() -> None:
    whole = panel()
    assert whole.select([2, 0]).labels == ((("pod", "2"),), (("pod", "0"),))
    assert whole.select([2, 0]).values[:, 0].tolist() == [10, 0]
    assert whole.select(np.array([False, True, False])).values.tolist() == [[5, 6, 7, 8, 9]]
    assert whole.select([]).values.shape == (0, 5)


def test_a_window_has_the_values_of_its_ticks() -> None:
    window = panel().window(Grid(start=120, step=60, count=2))
    assert window.values.tolist() == [[1, 2], [6, 7], [11, 12]]
    assert panel().window(Grid(start=0, step=60, count=0)).values.shape == (3, 0)


@pytest.mark.parametrize("grid", [Grid(0, 60, 2), Grid(300, 60, 2), Grid(60, 30, 2)])
def test_a_window_outside_the_panel_or_of_another_step_is_refused(grid: Grid) -> None:
    with pytest.raises(ValueError, match=r"tick|step"):
        panel().window(grid)


def test_the_identity_of_a_series_is_the_one_in_the_database() -> None:
    # From `printf %s "{}" | b2sum`. A change here orphans every stored series.
    assert series_id(()) == -7843119278427551040
    assert series_id((("__name__", "up"), ("job", "näh"))) == 8035984776859394895


def test_shards_are_a_fixed_slice_and_none_is_no_shard() -> None:
    assert {shard_of(labels_from({"pod": str(n)}), 4) for n in range(100)} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="0 shards"):
        shard_of((), 0)


def test_a_short_gap_becomes_a_straight_line() -> None:
    filled = fill_gaps(np.array([[1.0, NAN, NAN, 4.0]]), policy="interpolate", longest=2)
    assert filled.tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_a_gap_longer_than_the_limit_stays_a_gap() -> None:
    values = np.array([[1.0, NAN, NAN, NAN, 5.0, NAN, 7.0]])
    filled = fill_gaps(values, policy="interpolate", longest=2)
    assert np.isnan(filled[0, 1:4]).all()
    assert filled[0, 5] == 6.0


def test_nothing_is_invented_before_the_first_and_after_the_last_sample() -> None:
    filled = fill_gaps(np.array([[NAN, 1.0, 2.0, NAN]]), policy="interpolate", longest=9)
    assert np.isnan(filled[0, [0, 3]]).all()


def test_a_series_without_any_sample_stays_empty() -> None:
    filled = fill_gaps(np.full((1, 4), NAN), policy="interpolate", longest=9)
    assert np.isnan(filled).all()


def test_zero_fills_everything_and_skip_nothing() -> None:
    values = np.array([[NAN, 1.0, NAN]])
    assert fill_gaps(values, policy="zero", longest=0).tolist() == [[0.0, 1.0, 0.0]]
    assert np.isnan(fill_gaps(values, policy="skip", longest=9)).tolist() == [[True, False, True]]


def test_filling_leaves_the_given_values_alone() -> None:
    values = np.array([[1.0, NAN, 3.0]])
    fill_gaps(values, policy="interpolate", longest=1)
    assert np.isnan(values[0, 1])


def test_a_line_between_the_largest_numbers_does_not_overflow() -> None:
    largest = np.finfo(np.float64).max
    filled = fill_gaps(np.array([[largest, NAN, -largest]]), policy="interpolate", longest=1)
    assert filled[0, 1] == 0.0
