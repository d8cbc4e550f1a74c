"""What holds wherever anomalies are put in."""

from itertools import pairwise

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from metricwatch.injection import LEAST_SAMPLES, Kind, inject

Floats = NDArray[np.float64]
panels = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2 * LEAST_SAMPLES, 120)),
    elements=st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32)),
)
seeds = st.integers(0, 2**32)
some_kinds = st.lists(st.sampled_from(Kind), min_size=1, max_size=6)


@given(values=panels, seed=seeds, kinds=some_kinds, count=st.integers(0, 2))
def test_samples_outside_are_untouched_and_every_anomaly_changes_something(
    values: Floats, seed: int, kinds: list[Kind], count: int
) -> None:
    made = inject(values, count=count, seed=seed, kinds=kinds)
    np.testing.assert_array_equal(made.values[~made.labels], values[~made.labels])
    np.testing.assert_array_equal(np.isnan(made.values), np.isnan(values))
    for event in made.events:
        place = (event.series, slice(event.start, event.end))
        assert made.labels[place].all()
        assert np.nanmax(np.abs(made.values[place] - values[place])) == event.size > 0


@given(values=panels, seed=seeds, count=st.integers(1, 2))
def test_anomalies_of_a_series_are_apart_and_at_most_as_many_as_asked_for(
    values: Floats, seed: int, count: int
) -> None:
    made = inject(values, count=count, seed=seed)
    assert made.labels.sum() == sum(event.end - event.start for event in made.events)
    for series in range(len(values)):
        own = [event for event in made.events if event.series == series]
        assert len(own) <= count
        for one, other in pairwise(own):
            assert other.start - one.end >= LEAST_SAMPLES // 4
        assert not made.labels[series, 0]
        assert not made.labels[series, -1]


@given(values=panels, seed=seeds)
def test_the_same_seed_gives_the_same_anomalies(values: Floats, seed: int) -> None:
    one, other = (inject(values, count=2, seed=seed) for _ in range(2))
    np.testing.assert_array_equal(one.values, other.values)
    assert one.events == other.events


@given(values=panels, seed=seeds, exponent=st.integers(-20, 20))
def test_another_unit_gives_the_same_anomalies_in_that_unit(
    values: Floats, seed: int, exponent: int
) -> None:
    # Constant zeros have no unit of their own.
    values = np.where(np.isnan(values), np.nan, values + np.arange(values.shape[1]))
    scale = 2.0**exponent
    one = inject(values, count=2, seed=seed)
    other = inject(values * scale, count=2, seed=seed)
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(other.values, one.values * scale)


@given(values=panels, seed=seeds, data=st.data())
def test_nothing_that_is_to_be_avoided_is_labelled(
    values: Floats, seed: int, data: st.DataObject
) -> None:
    avoid = data.draw(arrays.arrays(np.bool_, values.shape))
    made = inject(values, count=2, seed=seed, avoid=avoid)
    assert not (made.labels & avoid).any()
