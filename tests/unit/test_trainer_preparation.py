"""Which history is learned from: windows, gaps, exclusions, and series with too little of it."""

import numpy as np
import pytest

from metricwatch.series import Grid, Labels, Panel
from metricwatch_trainer.history import DataHash, joined, named, slice_of
from metricwatch_trainer.preparation import (
    Group,
    Stretch,
    group_series,
    head_of,
    label_stretches,
    training_grid,
    with_labels,
    without_stretches,
)

GRID = Grid(start=6_000, step=60, count=400)


def make_labels(name: str) -> Labels:
    return (("__name__", "up"), ("pod", name))


def make_panel(*names: str, grid: Grid = GRID) -> Panel:
    values = np.arange(float(len(names) * grid.count)).reshape(len(names), grid.count)
    return Panel(grid=grid, labels=tuple(make_labels(name) for name in names), values=values)


def test_a_window_ends_at_the_last_complete_tick() -> None:
    grid = training_grid(now=10_045, window=3_600, step=60, delay=30, most_ticks=1_000)
    assert (grid.end, grid.count, grid.start) == (9_960, 60, 9_960 - 59 * 60)


def test_a_window_of_too_many_ticks_is_cut_at_its_start() -> None:
    grid = training_grid(now=10_000, window=3_600, step=1, delay=0, most_ticks=100)
    assert (grid.end, grid.count) == (10_000, 100)


def test_an_excluded_stretch_leaves_its_first_and_keeps_its_last_moment() -> None:
    panel = without_stretches(make_panel("a", "b"), [Stretch(start=6_600, end=6_720)])
    missing = np.flatnonzero(np.isnan(panel.values).all(axis=0))
    assert missing.tolist() == [10, 11]


def test_an_excluded_anomaly_concerns_its_series_only() -> None:
    stretch = Stretch(start=0, end=10**9, labels=make_labels("b"))
    panel = without_stretches(make_panel("a", "b"), [stretch])
    assert np.isnan(panel.values).all(axis=1).tolist() == [False, True]


def test_a_recorded_anomaly_is_a_label_of_its_series_and_keeps_its_samples() -> None:
    panel = make_panel("a", "b")
    flags = label_stretches(panel, [Stretch(6_600, 6_720, make_labels("b"))])
    assert np.argwhere(flags).tolist() == [[1, 10], [1, 11]]
    assert not np.isnan(panel.values).any()


def test_labels_go_with_the_series_they_are_of_into_its_group() -> None:
    panel = make_panel("a", "b", "c")
    panel.values[1, :205] = np.nan
    flags = label_stretches(panel, [Stretch(29_940, 10**9, make_labels("b"))])
    groups, _ = group_series(
        panel, least_samples=100, least_to_fit=24, largest_group=1, labels=flags
    )
    marked = {
        group.panel.labels[0]: np.flatnonzero(group.labels[0]).tolist()
        for group in groups
        if group.labels is not None
    }
    assert marked == {make_labels("a"): [], make_labels("c"): [], make_labels("b"): [199]}


def test_some_series_of_a_group_keep_their_labels_and_their_head() -> None:
    panel = make_panel("a", "b", "c")
    flags = np.zeros(panel.values.shape, np.bool_)
    flags[2, 7] = True
    part = Group(panel=panel, head=300, labels=flags).select(np.array([0, 2]))
    assert (part.panel.labels, part.head) == ((make_labels("a"), make_labels("c")), 300)
    assert part.labels is not None
    assert np.argwhere(part.labels).tolist() == [[1, 7]]
    assert Group(panel=panel, head=300).select(np.array([1])).labels is None


def test_a_group_needs_a_label_on_a_sample_before_its_tail() -> None:
    panel = make_panel("a", "b", "c")
    panel.values[2, 300:310] = np.nan
    flags = np.zeros(panel.values.shape, np.bool_)
    flags[0, 10], flags[1, 399], flags[2, 305] = True, True, True
    groups, _ = group_series(
        panel, least_samples=100, least_to_fit=24, largest_group=1, labels=flags
    )
    usable, left_out = with_labels(groups)
    assert [group.panel.labels[0] for group in usable] == [make_labels("a")]
    assert [(one.labels, one.reason) for one in left_out] == [
        (make_labels("b"), "NoLabels"),
        (make_labels("c"), "NoLabels"),
    ]


def test_a_label_of_one_series_is_enough_for_those_learned_with_it() -> None:
    panel = make_panel("a", "b")
    flags = np.zeros(panel.values.shape, np.bool_)
    flags[1, 10] = True
    groups, _ = group_series(
        panel, least_samples=100, least_to_fit=24, largest_group=9, labels=flags
    )
    assert with_labels(groups) == (groups, ())
    unlabelled, _ = group_series(panel, least_samples=100, least_to_fit=24, largest_group=9)
    assert with_labels(unlabelled)[0] == ()


@pytest.mark.parametrize(
    "stretch",
    [
        Stretch(start=0, end=6_000),
        Stretch(start=10**6, end=10**7),
        Stretch(start=6_600, end=6_600),
        Stretch(start=0, end=10**9, labels=make_labels("gone")),
    ],
)
def test_a_stretch_outside_the_window_or_of_a_series_that_is_gone_changes_nothing(
    stretch: Stretch,
) -> None:
    panel = make_panel("a")
    np.testing.assert_array_equal(without_stretches(panel, [stretch]).values, panel.values)


@pytest.mark.parametrize(("ticks", "head"), [(1000, 800), (100, 68), (32, 0), (10, 0)])
def test_the_tail_is_a_fifth_and_never_too_short_to_calibrate(ticks: int, head: int) -> None:
    assert head_of(ticks) == head


def test_a_series_with_too_few_samples_is_left_out_with_a_reason() -> None:
    panel = make_panel("a", "b")
    panel.values[1, :-20] = np.nan
    groups, (left_out,) = group_series(
        panel, least_samples=288, least_to_fit=24, largest_group=1000
    )
    assert [group.panel.labels for group in groups] == [(make_labels("a"),)]
    assert (left_out.labels, left_out.samples) == (make_labels("b"), 20)
    assert left_out.reason == "TooFewSamples"
    assert "has 20 samples, training.minSamples asks for 288" in left_out.message


def test_a_series_that_began_late_is_learned_from_the_window_it_fills() -> None:
    panel = make_panel("a", "b")
    panel.values[1, :205] = np.nan
    groups, left_out = group_series(panel, least_samples=100, least_to_fit=24, largest_group=1000)
    assert left_out == ()
    assert [group.panel.grid.count for group in groups] == [400, 200]
    assert groups[1].panel.labels == (make_labels("b"),)
    assert groups[1].panel.grid.end == GRID.end


def test_a_series_with_a_hole_where_it_would_be_calibrated_is_left_out() -> None:
    panel = make_panel("a", "b")
    panel.values[1, -85:] = np.nan
    _, (left_out,) = group_series(panel, least_samples=100, least_to_fit=24, largest_group=1000)
    assert (left_out.labels, left_out.reason) == (make_labels("b"), "TooSparse")


def test_large_watches_are_cut_into_groups() -> None:
    panel = make_panel(*(f"pod-{number:02}" for number in range(25)))
    groups, _ = group_series(panel, least_samples=100, least_to_fit=24, largest_group=10)
    assert [len(group.panel.labels) for group in groups] == [10, 10, 5]
    assert sum((group.panel.labels for group in groups), ()) == panel.labels


def test_an_empty_panel_gives_no_groups() -> None:
    assert group_series(make_panel(), least_samples=1, least_to_fit=1, largest_group=1) == ((), ())


def test_a_named_query_becomes_a_label() -> None:
    (labels,) = named(make_panel("a"), "errors").labels
    assert labels == (("__name__", "up"), ("pod", "a"), ("query", "errors"))
    assert named(make_panel("a"), "").labels == make_panel("a").labels


def test_queries_of_a_watch_share_its_limit_in_label_order() -> None:
    panel = joined([make_panel("c", "a"), make_panel("b")], most=2)
    assert panel.labels == (make_labels("a"), make_labels("b"))
    assert panel.left_out == 1
    assert panel.values[1, 0] == 0.0


def test_slices_are_disjoint_and_complete() -> None:
    panel = make_panel(*(f"pod-{number}" for number in range(40)))
    parts = [slice_of(panel, shard=shard, shards=3).labels for shard in range(3)]
    assert sorted(sum(parts, ())) == sorted(panel.labels)


def test_the_data_hash_depends_on_watch_series_time_and_values() -> None:
    def hashed(watch: str, panel: Panel) -> str:
        one = DataHash()
        one.add(watch, panel)
        return one.hexdigest()

    panel = make_panel("a", "b")
    changed = panel.values.copy()
    changed[1, 5] = np.nan
    others = [
        hashed("w2", panel),
        hashed("w1", make_panel("a", "c")),
        hashed("w1", make_panel("a", "b", grid=Grid(6_060, 60, 400))),
        hashed("w1", Panel(grid=GRID, labels=panel.labels, values=changed)),
    ]
    assert hashed("w1", panel) == hashed("w1", make_panel("a", "b"))
    assert len({hashed("w1", panel), *others}) == 5
