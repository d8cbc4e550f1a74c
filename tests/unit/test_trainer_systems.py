"""From series to systems: who belongs together, what is left out, what is learned."""

from dataclasses import replace

import numpy as np
import pytest
from tests.unit.system_builders import (
    LESSON,
    LIMITS,
    START,
    STEP,
    channel,
    channels,
    learned,
    recorded,
)

from metricwatch.algorithms import SystemBank
from metricwatch.artifact import pack, unpack
from metricwatch.series import Grid, Labels, Panel, shard_of
from metricwatch_trainer.history import slice_of
from metricwatch_trainer.learning import calibrate, learn_group
from metricwatch_trainer.preparation import Stretch
from metricwatch_trainer.systems import (
    TOO_LARGE,
    Limits,
    for_channels,
    group_systems,
    group_watch,
    systems_of,
)

HOSTS = ["x", "y", "z"]


def flat(labels: tuple[Labels, ...], ticks: int = 200) -> Panel:
    values = np.tile(np.arange(ticks, dtype=np.float64), (len(labels), 1))
    return Panel(Grid(START, STEP, ticks), labels, values)


def named(names: list[str], size: int) -> tuple[Labels, ...]:
    return tuple((("host", name), ("metric", f"m{at:04}")) for name in names for at in range(size))


# --- who belongs together


def test_series_that_agree_on_the_labels_are_one_system() -> None:
    systems = systems_of(channels(HOSTS, 2), ["host"], name="w")
    assert systems.labels == ((("host", "x"),), (("host", "y"),), (("host", "z"),))
    assert systems.members.tolist() == [0, 0, 1, 1, 2, 2]


def test_without_labels_the_whole_watch_is_a_system_called_after_it() -> None:
    systems = systems_of(channels(HOSTS, 2), [], name="hosts")
    assert systems.labels == ((("system", "hosts"),),)
    assert systems.members.tolist() == [0] * 6


def test_series_without_the_label_are_a_system_of_their_own() -> None:
    systems = systems_of([channel("x", "m"), (("__name__", "m"),)], ["host"], name="w")
    assert set(systems.labels) == {(("host", "x"),), (("system", "w"),)}


def test_the_order_of_the_labels_in_group_by_does_not_matter() -> None:
    one = systems_of(channels(HOSTS, 2), ["host", "__name__"], name="w")
    other = systems_of(channels(HOSTS, 2), ["__name__", "host"], name="w")
    assert (one.labels, one.members.tolist()) == (other.labels, other.members.tolist())


@pytest.mark.parametrize(
    "labels",
    [
        [(("host", "x"),)],
        [(("host", "x"),), (("host", "x"), ("system", "w"))],
        [(("host", "x"), ("system", "w")), (("host", "x"),), (("host", "x"), ("system", "w'"))],
    ],
)
def test_a_system_is_never_called_like_a_series(labels: list[Labels]) -> None:
    systems = systems_of(labels, ["host"], name="w")
    assert not set(systems.labels) & set(labels)
    assert dict(systems.labels[0])["host"] == "x"


def test_no_two_systems_are_called_the_same() -> None:
    labels = [(("system", "a"),), (("__name__", "up"), ("system", "w")), (("__name__", "up"),)]
    systems = systems_of(labels, ["system"], name="w")
    assert len(set(systems.labels)) == 3


def test_all_of_a_system_is_in_one_slice() -> None:
    labels = channels([f"host-{at}" for at in range(20)], 3)
    systems = systems_of(labels, ["host"], name="w")
    panel = Panel(Grid(START, STEP, 1), labels, np.zeros((60, 1)))
    parts = [slice_of(panel, shard=shard, shards=3, owners=systems.owners()) for shard in range(3)]
    assert sorted(one for part in parts for one in part.labels) == sorted(labels)
    for shard, part in enumerate(parts):
        assert part.labels
        owners = systems_of(part.labels, ["host"], name="w").labels
        assert {shard_of(owner, 3) for owner in owners} == {shard}


def test_an_anomaly_of_a_system_is_one_of_each_of_its_channels() -> None:
    labels = channels(["x", "y"], 2)
    systems = systems_of(labels, ["host"], name="w")
    stretches = [
        Stretch(1, 2, (("host", "y"),)),
        Stretch(3, 4, labels[0]),
        Stretch(5, 6),
    ]
    spread = list(for_channels(stretches, labels, systems))
    assert spread[:2] == [Stretch(1, 2, labels[2]), Stretch(1, 2, labels[3])]
    assert spread[2:] == stretches[1:]


# --- groups


def test_a_group_holds_whole_systems_only() -> None:
    panel = flat(named([f"h{at}" for at in range(10)], 3))
    groups, left_out = group_watch(
        panel, [], replace(LIMITS, most_series=7), group_by=["host"], name="w"
    )
    assert [len(group.panel.labels) for group in groups] == [6] * 5
    assert left_out == ()
    for group in groups:
        assert group.systems is not None
        assert np.bincount(group.systems.members).tolist() == [3, 3]


def test_series_that_lie_apart_come_together() -> None:
    labels = tuple(sorted(named(["a", "b"], 2), key=lambda one: one[1]))
    (group,), _ = group_watch(flat(labels), [], LIMITS, group_by=["host"], name="w")
    assert group.systems is not None
    assert [dict(one)["host"] for one in group.panel.labels] == ["a", "a", "b", "b"]
    assert [dict(owner)["host"] for owner in group.systems.owners()] == ["a", "a", "b", "b"]


def test_a_large_system_stays_whole_and_gets_a_shorter_window() -> None:
    limits = Limits(least_samples=10, most_series=4, most_values=800)
    groups, _ = group_watch(flat(named(["a", "b"], 8)), [], limits, group_by=["host"], name="w")
    assert [group.panel.values.shape for group in groups] == [(8, 100), (8, 100)]
    assert {group.panel.grid.end for group in groups} == {START + 199 * STEP}


def test_a_system_beyond_what_a_chunk_holds_is_left_out_with_what_to_do() -> None:
    panel = flat((*named(["big"], 1001), *named(["small"], 2)), 40)
    groups, left_out = group_watch(
        panel, [], replace(LIMITS, least_samples=20), group_by=["host"], name="w"
    )
    assert [len(group.panel.labels) for group in groups] == [2]
    assert len(left_out) == 1001
    assert {one.reason for one in left_out} == {TOO_LARGE}
    assert "a system of 1001 series, and 1000 is the most" in left_out[0].message
    assert "spec.groupBy" in left_out[0].message


def test_channels_with_too_few_samples_leave_their_system_without_them() -> None:
    panel = flat(named(["a"], 4))
    panel.values[1, :150] = np.nan
    panel.values[2, 100:] = np.nan
    (group,), left_out = group_watch(panel, [], LIMITS, group_by=["host"], name="w")
    assert group.panel.labels == (panel.labels[0], panel.labels[3])
    assert [(one.labels, one.reason) for one in left_out] == [
        (panel.labels[1], "TooFewSamples"),
        (panel.labels[2], "TooSparse"),
    ]


def test_a_system_is_learned_from_the_window_that_its_first_channel_fills() -> None:
    panel = flat(named(["late", "old"], 2), 400)
    panel.values[:2, :250] = np.nan
    panel.values[2, :250] = np.nan
    groups, _ = group_watch(panel, [], LIMITS, group_by=["host"], name="w")
    assert [(group.panel.grid.count, len(group.panel.labels)) for group in groups] == [
        (400, 2),
        (100, 2),
    ]


def test_nothing_that_can_be_learned_gives_no_group() -> None:
    panel = flat(named(["a"], 2), 20)
    systems = systems_of(panel.labels, ["host"], name="w")
    groups, left_out = group_systems(panel, systems, LIMITS)
    assert groups == ()
    assert len(left_out) == 2


def test_what_is_left_out_of_a_system_blanks_all_its_channels() -> None:
    panel = flat(named(["a", "b"], 2))
    blank = [Stretch(START + 10 * STEP, START + 20 * STEP, (("host", "b"),))]
    (group,), _ = group_watch(panel, blank, LIMITS, group_by=["host"], name="w")
    missing = np.isnan(group.panel.values)
    assert missing[2:, 10:20].all()
    assert missing.sum() == 20


def test_some_series_of_a_group_make_the_systems_they_are_of() -> None:
    (group,), _ = group_watch(
        flat(named(["a", "b", "c"], 2)), [], LIMITS, group_by=["host"], name="w"
    )
    part = group.select(np.array([0, 5]))
    assert part.systems is not None
    assert part.systems.members.tolist() == [0, 1]
    assert part.systems.labels == ((("host", "a"),), (("host", "c"),))


# --- what is learned


def test_a_chunk_of_systems_survives_being_stored() -> None:
    panel = recorded(channels(["x", "y"], 3), 300)
    chunk = learned(panel, ("host",))
    assert chunk.labels == panel.labels
    assert chunk.systems == ((("host", "x"),), (("host", "y"),))
    restored = unpack(pack(chunk))
    assert restored.systems == chunk.systems
    assert isinstance(restored.bank, SystemBank)
    assert restored.bank.members.tolist() == [0, 0, 0, 1, 1, 1]
    assert pack(restored) == pack(chunk)


def test_the_report_names_every_channel() -> None:
    panel = recorded(channels(["x"], 3), 300)
    (group,), _ = group_watch(panel, [], LIMITS, group_by=(), name="w")
    _, described = learn_group(
        group,
        LESSON,
        watch_uid="u",
        progress=lambda progress: None,
        should_stop=lambda: False,
    )
    assert [one.labels for one in described] == list(panel.labels)
    for one in described:
        assert (one.family, one.samples, one.gain, one.normal_within) == (
            "system",
            300,
            None,
            None,
        )
        assert one.rmse is not None
        assert one.rmse > 0


def test_a_system_is_calibrated_on_what_its_fit_did_not_see() -> None:
    panel = recorded(channels(["x"], 4), 400)
    (group,), _ = group_watch(panel, [], LIMITS, group_by=(), name="w")
    seen = calibrate(group, LESSON)
    assert seen.scoring.series == 1
    assert seen.residual.shape == panel.values.shape
    assert not np.isnan(seen.residual).any()


def test_all_series_are_one_system_for_who_names_none() -> None:
    panel = recorded(channels(["x"], 4), 200)
    bank = LESSON.family.fit(panel.values, panel.grid)
    assert isinstance(bank, SystemBank)
    assert bank.members.tolist() == [0, 0, 0, 0]
    assert LESSON.family.minimum_samples(None) > 0
