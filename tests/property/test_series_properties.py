"""What holds for every grid, every set of labels and every pattern of gaps."""

from itertools import pairwise

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.series import Grid, fill_gaps, labels_from, series_id, shard_of

label_sets = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5)
times = st.integers(-(2**33), 2**33)
steps = st.integers(1, 10**6)
panels = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=30),
    elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6)),
)


@given(start=times, span=st.integers(0, 10**6), step=steps)
def test_a_covering_grid_is_every_multiple_of_the_step_between_the_ends(
    start: int, span: int, step: int
) -> None:
    grid = Grid.covering(start, start + span, step)
    expected = (start + span) // step - (start - 1) // step
    assert grid.count == expected
    if grid.count:
        assert grid.start % step == 0
        assert start <= grid.start < start + step
        assert start + span - step < grid.end <= start + span


@given(start=times, step=steps, count=st.integers(1, 50), data=st.data())
def test_the_position_of_a_tick_leads_back_to_it(
    start: int, step: int, count: int, data: st.DataObject
) -> None:
    grid = Grid(start=start, step=step, count=count)
    index = data.draw(st.integers(0, count - 1))
    assert grid.index_of(int(grid.timestamps()[index])) == index


@given(labels=label_sets, shards=st.integers(1, 64))
def test_identity_and_shard_do_not_depend_on_the_order_of_labels(
    labels: dict[str, str], shards: int
) -> None:
    ordered = labels_from(labels)
    backwards = tuple(reversed(ordered))
    assert series_id(ordered) == series_id(backwards)
    assert -(2**63) <= series_id(ordered) < 2**63
    assert 0 <= shard_of(ordered, shards) < shards


@given(one=label_sets, other=label_sets)
def test_different_labels_are_different_series(one: dict[str, str], other: dict[str, str]) -> None:
    assert (series_id(labels_from(one)) == series_id(labels_from(other))) == (one == other)


def line_through(row: NDArray[np.float64], *, longest: int) -> NDArray[np.float64]:
    """The same by hand: one gap after the other."""
    filled = row.copy()
    known = np.flatnonzero(~np.isnan(row))
    for left, right in pairwise(known):
        if right - left - 1 <= longest:
            inside = np.arange(left, right + 1)
            filled[inside] = np.interp(inside, [left, right], row[[left, right]])
    return filled


@given(values=panels, longest=st.integers(0, 12))
def test_interpolation_draws_lines_through_short_inner_gaps_only(
    values: NDArray[np.float64], longest: int
) -> None:
    filled = fill_gaps(values, policy="interpolate", longest=longest)
    expected = np.array([line_through(row, longest=longest) for row in values])
    np.testing.assert_allclose(filled, expected.reshape(values.shape), rtol=1e-9, atol=1e-6)


@given(
    values=panels,
    longest=st.integers(0, 12),
    policy=st.sampled_from(["interpolate", "zero", "skip"]),
)
def test_samples_that_are_there_are_never_changed(
    values: NDArray[np.float64], longest: int, policy: str
) -> None:
    filled = fill_gaps(values, policy=policy, longest=longest)  # type: ignore[arg-type]
    present = ~np.isnan(values)
    assert np.array_equal(filled[present], values[present])
